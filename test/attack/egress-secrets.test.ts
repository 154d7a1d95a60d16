/** Credentials: where they go, where they do not, and that they are found nowhere they must not be: SBX-14, 15, 17. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { OpenDoor } from '../../daemon/egress/egress.ts'
import { openEgress } from '../../daemon/egress/open-egress.ts'
import { ask, collect, EgressKit, get, httpsText, secure, tunnel } from '../support/egress-kit.ts'

const CANARY = 'canary-7f3a9c-do-not-find-me+/='
/** One that can be the name of a header */
const NAMEABLE = 'canary-7f3a9c-in-a-name'

const kit = new EgressKit()
let door: OpenDoor

beforeAll(async () => {
  await kit.start()
})
beforeEach(async () => {
  await kit.reset()
  await kit.egress.secrets.set('github', CANARY)
  door = await kit.egress.open({ agent: 'ci', sandbox: 's1' })
})
afterEach(() => door.close())
afterAll(() => kit.close())

/** The response to one request inside a tunnel that is looked into. */
async function https(
  host: string,
  port: number,
  path: string,
  headers: readonly string[] = [],
  method = 'GET',
): Promise<string> {
  const socket = await tunnel(door, `${host}:${port}`)
  if (typeof socket === 'number') throw new Error(`refused: ${socket}`)
  const tls = await secure(socket, host, door.caPem)
  tls.write(httpsText(path, `${host}:${port}`, headers, method))
  return collect(tls)
}

test('SBX-15 a placeholder becomes the secret in the named header, for the named host and method, and nowhere else', async () => {
  const seen: string[] = []
  const record = (request: { method?: string | undefined; url?: string | undefined; rawHeaders: string[] }) =>
    seen.push(JSON.stringify([request.method, request.url, request.rawHeaders]))
  const bound = await kit.https('api.test', (request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString()
    })
    request.on('end', () => {
      record(request)
      seen.push(body)
      response.end('ok')
    })
  })
  const other = await kit.https('other.test', (request, response) => {
    record(request)
    response.end('ok')
  })
  await kit.allow({
    host: 'api.test',
    ports: [bound],
    methods: ['GET'],
    replace: [{ secret: 'github', headers: ['authorization'], env: 'GITHUB_TOKEN' }],
  })
  await kit.allow({ host: 'api.test', ports: [bound], methods: ['POST'] })
  await kit.allow({ host: 'other.test', ports: [other], methods: ['GET'] })
  await door.close()
  door = await kit.egress.open({ agent: 'ci', sandbox: 's1' })
  const text = door.env['GITHUB_TOKEN'] ?? ''
  expect(text).toMatch(/^mhp_[0-9a-f]{36}$/)
  expect(door.placeholders).toEqual({ github: text })

  expect(await https('api.test', bound, '/', [`Authorization: Bearer ${text}`])).toContain('200 OK')
  expect(seen.join()).toContain(`Bearer ${CANARY}`)
  seen.length = 0
  const basic = (password: string) => Buffer.from(`x:${password}`).toString('base64')
  await https('api.test', bound, '/', [`Authorization: Basic ${basic(text)}`])
  expect(seen.join()).toContain(basic(CANARY))
  seen.length = 0
  await https('api.test', bound, `/${text}?q=${text}`, [`X-Other: ${text}`, `Cookie: a=${text}`])
  await https(
    'api.test',
    bound,
    '/',
    [`Authorization: Bearer ${text}`, `Content-Length: ${text.length}`, '', text],
    'POST',
  )
  await https('other.test', other, '/', [`Authorization: Bearer ${text}`])
  expect(seen.length).toBeGreaterThanOrEqual(3)
  expect(seen.join()).not.toContain('canary')
  await vi.waitFor(() =>
    expect(kit.entries.map(({ note }) => note).filter(Boolean)).toContain(
      'placeholder of github in the path or query; placeholder of github in x-other; placeholder of github in cookie',
    ),
  )
})

test('SBX-15 a response that could hide a credential is refused, and neither ends the proxy nor keeps a connection', async () => {
  const port = await kit.tcp((socket) =>
    socket.on('data', (bytes) => {
      const [status, encoding] = bytes.toString().includes('/switched')
        ? ['101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket', 'odd']
        : ['200 OK\r\nContent-Length: 9', bytes.toString().includes('/plain') ? 'identity' : 'odd']
      socket.write(
        `HTTP/1.1 ${status}\r\nContent-Encoding: ${encoding}\r\n\r\n${encoding === 'odd' ? '' : 'all there'}`,
      )
    }),
  )
  const rule = { host: kit.name('odd.test'), ports: [port], plain: true }
  await kit.allow({ ...rule, inject: [{ header: 'authorization', secret: 'github' }] })
  const proxy = kit.proxyPid()
  const text = (path: string, ...more: string[]): string =>
    `${[`GET http://odd.test:${port}${path} HTTP/1.1`, `Host: odd.test:${port}`, ...more].join('\r\n')}\r\n\r\n`
  for (const path of ['/switched', '/stayed'])
    expect(await ask(door, text(path, 'Connection: Upgrade', 'Upgrade: websocket'))).toMatch(/^HTTP\/1.1 502/)
  expect(kit.proxyPid()).toBe(proxy)
  // More than one guest connection has connections to a host
  const asked = [...Array.from({ length: 9 }, () => text('/hidden')), text('/plain', 'Connection: close')]
  const got = await ask(door, asked.join(''))
  expect(got.match(/HTTP\/1.1 \d+/g)).toEqual([...Array.from({ length: 9 }, () => 'HTTP/1.1 502'), 'HTTP/1.1 200'])
  expect(got).toMatch(/all there$/)
})

test('SBX-15 a status that is none is refused, and keeps no connection from the next request', async () => {
  const port = await kit.tcp((socket) =>
    socket.on('data', (bytes) =>
      socket.write(
        `HTTP/1.1 ${bytes.toString().includes('/none') ? '099 None' : '200 OK'}\r\nContent-Length: 0\r\n\r\n`,
      ),
    ),
  )
  await kit.allow({ host: kit.name('none.test'), ports: [port] })
  const text = (path: string, ...more: string[]): string =>
    `${[`GET http://none.test:${port}${path} HTTP/1.1`, `Host: none.test:${port}`, ...more].join('\r\n')}\r\n\r\n`
  expect(await ask(door, text('/none', 'Connection: Upgrade', 'Upgrade: websocket'))).toMatch(/^HTTP\/1.1 502/)
  // More than one guest connection has connections to a host
  const asked = [...Array.from({ length: 9 }, () => text('/none')), text('/', 'Connection: close')]
  const got = await ask(door, asked.join(''))
  expect(got.match(/HTTP\/1.1 \d+/g)).toEqual([...Array.from({ length: 9 }, () => 'HTTP/1.1 502'), 'HTTP/1.1 200'])
})

test('SBX-17 what a host repeats in the head of its answer is not shown either: names, and the protocol of a handshake', async () => {
  const port = await kit.tcp((socket) =>
    socket.once('data', (bytes) => {
      const got = /authorization: (Bearer \S+)/i.exec(bytes.toString())?.[1] ?? 'nothing'
      const status = bytes.toString().includes('/ws')
        ? `101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket, ${got}`
        : `200 ${got}\r\nContent-Length: 0\r\nX-${NAMEABLE}: ${got}`
      socket.end(`HTTP/1.1 ${status}\r\nSec-WebSocket-Protocol: ${got}\r\n\r\n`)
    }),
  )
  await kit.egress.secrets.set('nameable', NAMEABLE)
  const rule = { host: kit.name('head.test'), ports: [port], plain: true }
  await kit.allow({ ...rule, inject: [{ header: 'authorization', secret: 'nameable' }] })
  const text = (path: string, more: string): string =>
    `GET http://head.test:${port}${path} HTTP/1.1\r\nHost: head.test:${port}\r\n${more}\r\n\r\n`
  for (const [path, more, status] of [
    ['/ws', 'Connection: Upgrade\r\nUpgrade: websocket', 101],
    ['/', 'Connection: close', 200],
  ] as const) {
    const got = await ask(door, text(path, more))
    expect(got).toContain(`HTTP/1.1 ${status}`)
    expect(got).toMatch(/sec-websocket-protocol: \*+\r/i)
    expect(got).not.toContain(NAMEABLE)
  }
  await kit.egress.secrets.remove('nameable')
})

test('SBX-15 a credential does not travel over plain HTTP unless its rule says so', async () => {
  const seen: (string | undefined)[] = []
  const port = await kit.http((request, response) => {
    seen.push(request.headers.authorization)
    response.end('ok')
  })
  const rule = await kit.allow({
    host: kit.name('plain.test'),
    ports: [port],
    inject: [{ header: 'authorization', secret: 'github', as: 'basic', user: 'me' }],
  })
  expect((await get(door, `http://plain.test:${port}/`)).status).toBe(403)
  await kit.allow({ ...rule, plain: true })
  expect((await get(door, `http://plain.test:${port}/`, ['Authorization: Bearer mine'])).status).toBe(200)
  expect(seen).toEqual([`Basic ${Buffer.from(`me:${CANARY}`).toString('base64')}`])
})

test('SBX-17 a host that repeats what it got does not show it to the guest: headers, body, compressed, in pieces, later', async () => {
  let stored = ''
  const port = await kit.https('echo.test', (request, response) => {
    const got = request.headers.authorization ?? stored
    stored = got
    switch (request.url) {
      case '/gzip':
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(`<<${got}>>`))
        break
      case '/odd':
        response.writeHead(200, { 'content-encoding': 'x-odd' }).end(got)
        break
      case '/pieces':
        response.writeHead(200, { 'content-length': String(got.length + 4) })
        for (const letter of `<<${got}>>`) response.write(letter)
        response.end()
        break
      case '/base64':
        response.end(`<<${Buffer.from(CANARY).toString('base64')}>>`)
        break
      default:
        response.writeHead(200, { 'x-echo': got, location: `/?t=${encodeURIComponent(CANARY)}` }).end(`<<${got}>>`)
    }
  })
  await kit.allow({
    host: 'echo.test',
    ports: [port],
    methods: ['GET'],
    inject: [{ header: 'authorization', secret: 'github' }],
  })
  await kit.allow({ host: 'echo.test', ports: [port], methods: ['PUT'] })
  for (const path of ['/', '/gzip', '/pieces', '/base64']) {
    const text = await https('echo.test', port, path)
    expect(text).toContain('200 OK')
    expect(text).toMatch(/<<[^]*\*{20,}[^]*>>/)
    expect(text).not.toContain('canary')
    expect(text).not.toContain(Buffer.from(CANARY).toString('base64').slice(0, 20))
  }
  expect(await https('echo.test', port, '/odd')).toContain('502')
  const later = await https('echo.test', port, '/', [], 'PUT')
  expect(later).toContain('200 OK')
  expect(later).not.toContain('canary')
})

test('SBX-14 the secret is in no file, environment, command line, audit line or answer; only sealed, and in the memory of daemon and proxy', async () => {
  const port = await kit.https('api.test', (request, response) =>
    response.end(request.headers.authorization === `Bearer ${CANARY}` ? 'with' : 'without'),
  )
  await kit.allow({ host: 'api.test', ports: [port], inject: [{ header: 'authorization', secret: 'github' }] })
  await kit.allow({
    host: 'api.test',
    ports: [port],
    methods: ['POST'],
    replace: [{ secret: 'github', headers: ['x-token'], env: 'TOKEN' }],
  })
  await door.close()
  door = await kit.egress.open({ agent: 'ci', sandbox: 's1' })
  expect(await https('api.test', port, '/')).toContain('with')
  await vi.waitFor(() => expect(kit.entries.length).toBeGreaterThan(1))
  const forms = [
    CANARY,
    Buffer.from(CANARY).toString('base64').replace(/=+$/, ''),
    Buffer.from(CANARY).toString('hex'),
    encodeURIComponent(CANARY),
  ]
  const clean = (what: string, text: string) => {
    for (const form of forms) expect(text.includes(form), what).toBe(false)
  }
  const files = readdirSync(kit.folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(kit.folder, name))
    .filter((path) => statSync(path).isFile())
  expect(files.map((path) => path.split('/').at(-1))).toEqual(
    expect.arrayContaining(['secrets.json', 'secrets.key', 'egress-rules.json', 'egress.log']),
  )
  for (const path of files) {
    clean(path, readFileSync(path, 'latin1'))
    expect(statSync(path).mode & 0o077, path).toBe(0)
  }
  const child = kit.proxyPid()
  for (const name of ['environ', 'cmdline']) clean(name, readFileSync(`/proc/${child}/${name}`, 'latin1'))
  expect(readFileSync(`/proc/${child}/environ`, 'latin1')).not.toContain('HOME=')
  clean(
    'door',
    JSON.stringify([door, kit.egress.secrets.list(), kit.egress.policy.list(), kit.entries, kit.egress.state()]),
  )
  clean(
    'explanation',
    JSON.stringify(kit.egress.policy.explain({ agent: 'ci' }, { scheme: 'https', host: 'api.test', port })),
  )
})

test('SBX-14 sealed values open with their key and under their name only, and survive a restart', async () => {
  const data = join(kit.folder, 'data')
  const init = { dataDir: data, stateDir: join(kit.folder, 'state2'), runDir: join(kit.folder, 'run2'), self: 'self' }
  await kit.egress.secrets.set('other', 'another-value')
  const again = await openEgress(init)
  expect(again.secrets.list().map(({ name }) => name)).toEqual(['github', 'other'])
  await again.close()
  const file = join(data, 'secrets.json')
  const stored = JSON.parse(readFileSync(file, 'utf8')) as { secrets: Record<string, object> }
  const { writeFileSync } = await import('node:fs')
  writeFileSync(file, JSON.stringify({ version: 1, secrets: { github: stored.secrets['other'] } }))
  await expect(openEgress(init)).rejects.toMatchObject({ code: 'E_CONFIG' })
  writeFileSync(file, '{')
  await expect(openEgress(init)).rejects.toMatchObject({ code: 'E_CONFIG' })
  // the one that runs writes its own again
  await kit.egress.secrets.remove('other')
})

test.each(['', 'line\nbreak', 'x'.repeat(20_000)])('no secret: %#', async (value) => {
  await expect(kit.egress.secrets.set('a', value)).rejects.toMatchObject({
    code: expect.stringMatching(/E_BAD_REQUEST|E_TOO_LARGE/) as string,
  })
})

test('changed and removed secrets reach doors that are open', async () => {
  const seen: (string | undefined)[] = []
  const port = await kit.https('api.test', (request, response) => {
    seen.push(request.headers.authorization)
    response.end('ok')
  })
  await kit.allow({ host: 'api.test', ports: [port], inject: [{ header: 'authorization', secret: 'github' }] })
  await https('api.test', port, '/')
  await kit.egress.secrets.set('github', 'second-value')
  await https('api.test', port, '/')
  await kit.egress.secrets.remove('github')
  await https('api.test', port, '/')
  expect(seen).toEqual([`Bearer ${CANARY}`, 'Bearer second-value', undefined])
})
