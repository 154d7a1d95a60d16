/** What goes through the door, judged by name, address, method and path: SBX-10, 11, 12, 13, 16, 20, F14. */
import { connect, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { OpenDoor } from '../../daemon/egress/egress.ts'
import { ask, collect, EgressKit, get, httpsText, secure, tunnel, WORLD } from '../support/egress-kit.ts'

const kit = new EgressKit()
let door: OpenDoor

beforeAll(async () => {
  await kit.start()
})
beforeEach(async () => {
  await kit.reset()
  door = await kit.egress.open({ agent: 'ci' })
})
afterEach(() => door.close())
afterAll(() => kit.close())

const reasons = () =>
  kit.entries.filter(({ kind }) => kind !== 'end').map(({ decision, reason }) => `${decision} ${reason}`)

test('closed by default, open by a rule, closed again when it goes; every decision is a line', async () => {
  const port = await kit.http((request, response) => response.end(`hello ${request.url}`))
  const url = `http://${kit.name('a.test')}:${port}/x?q=1`
  expect((await get(door, url)).status).toBe(403)
  const rule = await kit.allow({ host: 'a.test', ports: [port], for: ['agent/ci'] })
  expect(await get(door, url)).toMatchObject({ status: 200, text: expect.stringContaining('hello /x?q=1') as string })
  await kit.egress.policy.remove(rule.id)
  expect((await get(door, url)).status).toBe(403)
  await vi.waitFor(() => expect(reasons()).toEqual(['deny no-rule', 'allow allowed', 'deny no-rule']))
  expect(kit.entries[1]).toMatchObject({
    subject: { agent: 'ci' },
    rule: rule.id,
    host: 'a.test',
    port,
    method: 'GET',
    path: '/x',
  })
})

test('SBX-10 metadata addresses are refused, directly and by name, though a rule allows every host', async () => {
  await kit.egress.policy.put({ for: ['any'], effect: 'allow', host: '*', addresses: ['0.0.0.0/0', '::/0'] })
  for (const host of ['169.254.169.254', '168.63.129.16', '100.100.100.200', '[fd00:ec2::254]', '169.254.170.2']) {
    const { status, text } = await get(door, `http://${host}/latest/meta-data/`)
    expect([host, status], text).toEqual([host, 403])
    expect(await tunnel(door, `${host}:443`)).toBe(403)
  }
  kit.name('meta.test', '169.254.169.254')
  expect((await get(door, 'http://meta.test/')).status).toBe(403)
  await vi.waitFor(() => expect(reasons()).toEqual(Array.from({ length: 11 }, () => 'deny metadata-address')))
})

test('SBX-12 this host in every spelling is refused, and text that is no host is not a request', async () => {
  const port = await kit.http((_request, response) => response.end('inside'))
  await kit.egress.policy.put({ for: ['any'], effect: 'allow', host: '*', ports: [port] })
  kit.name('localhost')
  kit.name('127.0.0.1.nip.test')
  const spellings = [
    '127.0.0.1',
    '2130706433',
    '0x7f.1',
    '0177.1',
    '017700000001',
    '127.1',
    '[::ffff:127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    '[::1]',
    '[::]',
    'localhost',
    'localhost.',
    '0.0.0.0',
    '0',
    '127.0.0.1.nip.test',
  ]
  for (const host of spellings) {
    const { status, text } = await get(door, `http://${host}:${port}/`)
    expect([host, status], text).toEqual([host, 403])
    expect([host, await tunnel(door, `${host}:${port}`)]).toEqual([host, 403])
  }
  for (const target of [
    `http://a@127.0.0.1:${port}/`,
    'http:///x',
    `http://a:b@c.test:${port}/`,
    '/',
    `http://127.0.0.1%20:${port}/`,
    `ftp://127.0.0.1:${port}/`,
  ])
    expect(await ask(door, `GET ${target} HTTP/1.1\r\nHost: a.test\r\n\r\n`)).toMatch(/^HTTP\/1.1 400/)
  for (const authority of ['a@127.0.0.1:80', '127.0.0.1', ':80', 'a.test:99999', '127.0.0.1:80/'])
    expect(await tunnel(door, authority, [])).toBe(400)
})

test('SBX-11 a name that changes, or leads both out and in, is looked up once and judged whole', async () => {
  const port = await kit.http((_request, response) => response.end('inside'))
  await kit.egress.policy.put({ for: ['any'], effect: 'allow', host: '*', ports: [port] })
  kit.name('turns.test', '192.0.2.1', '|', '127.0.0.1')
  expect((await get(door, `http://turns.test:${port}/`)).status).toBe(403)
  expect(kit.lookups.filter((asked) => asked === 'turns.test 1').length).toBe(1)
  kit.name('mixed.test', '93.184.216.34', '127.0.0.1')
  kit.name('both.test', '93.184.216.34', '::1')
  kit.name('mapped.test', '::ffff:7f00:1')
  for (const host of ['mixed.test', 'both.test', 'mapped.test', 'turns.test'])
    expect((await get(door, `http://${host}:${port}/`)).status).toBe(403)
  expect((await get(door, `http://nobody.test:${port}/`)).status).toBe(502)
})

test('SBX-11 the address that was judged is the one dialed: a name allowed at first leads nowhere else within its request', async () => {
  let served = 0
  const port = await kit.http((_request, response) => {
    served += 1
    response.end('first')
  })
  kit.name('turns.test', '127.0.0.1', '|', '127.0.0.2')
  await kit.allow({ host: 'turns.test', ports: [port] })
  expect((await get(door, `http://turns.test:${port}/`)).text).toContain('first')
  expect((await get(door, `http://turns.test:${port}/`)).status).toBe(403)
  expect(served).toBe(1)
})

test('F14 with a name server that is silent, answers nonsense or lies, what needs no name goes on and what needs one is refused in time', async () => {
  const port = await kit.http((_request, response) => response.end('inside'))
  await kit.allow({ host: '*', ports: [port] })
  await kit.egress.policy.put({ for: ['any'], effect: 'allow', host: 'lies.test', ports: [port] })
  const bad = ['silence', 'garbage', 'forged'].map((how) => kit.name(`${how}.test`, how))
  const slow = bad.map((host) => get(door, `http://${host}:${port}/`))
  for (let n = 0; n < 20; n++) expect((await get(door, `http://127.0.0.1:${port}/`)).text).toContain('inside')
  expect((await get(door, `http://${kit.name('good.test')}:${port}/`)).text).toContain('inside')
  expect((await get(door, `http://${kit.name('lies.test', '169.254.169.254')}:${port}/`)).status).toBe(403)
  expect((await Promise.all(slow)).map(({ status }) => status)).toEqual([502, 502, 502])
  await vi.waitFor(() =>
    expect(
      kit.entries.filter(({ host = '' }) => bad.includes(host)).map(({ decision, reason }) => `${decision} ${reason}`),
    ).toEqual(bad.map(() => 'failed unknown-host')),
  )
})

test('SBX-13 a redirect is a request of its own: judged again, and without the credential', async () => {
  const seen: (string | undefined)[] = []
  const port = await kit.http((request, response) => {
    seen.push(request.headers.authorization)
    if (request.url === '/go') response.writeHead(302, { location: 'http://169.254.169.254/latest/' }).end()
    else if (request.url === '/other') response.writeHead(302, { location: `http://b.test:${port}/` }).end()
    else response.end('end')
  })
  await kit.egress.secrets.set('token', 'canary-value-13')
  await kit.allow({
    host: kit.name('a.test'),
    ports: [port],
    inject: [{ header: 'authorization', secret: 'token' }],
    plain: true,
  })
  await kit.allow({ host: kit.name('b.test'), ports: [port] })
  expect((await get(door, `http://a.test:${port}/go`)).text).toContain('169.254.169.254')
  expect((await get(door, 'http://169.254.169.254/latest/')).status).toBe(403)
  await get(door, `http://a.test:${port}/other`)
  await get(door, `http://b.test:${port}/`)
  expect(seen).toEqual(['Bearer canary-value-13', 'Bearer canary-value-13', undefined])
})

test('SBX-16 a request says one thing about its host', async () => {
  const seen: string[] = []
  const port = await kit.https('a.test', (request, response) => {
    seen.push(`${request.headers.host}`)
    response.end('ok')
  })
  await kit.egress.secrets.set('token', 'canary-value-16')
  await kit.allow({
    host: 'a.test',
    ports: [port],
    inject: [{ header: 'authorization', secret: 'token' }],
    plain: true,
  })
  await kit.allow({ host: kit.name('p.test'), ports: [port] })
  const status = async (text: string) => (await ask(door, text)).slice(9, 12)
  expect(await status(`GET http://a.test:${port}/ HTTP/1.1\r\nHost: evil.test:${port}\r\n\r\n`)).toBe('421')
  expect(await status(`GET http://a.test:${port}/ HTTP/1.1\r\nHost: a.test:${port}\r\nHost: evil.test\r\n\r\n`)).toBe(
    '400',
  )
  expect(await status(`GET http://a.test:${port}/ HTTP/1.1\r\n\r\n`)).toBe('400')
  expect(await tunnel(door, `a.test:${port}`, [`Host: evil.test:${port}`])).toBe(421)
  expect(await tunnel(door, `a.test:${port}`, ['Host: a.test', 'Host: evil.test'])).toBe(400)
  // the name inside TLS: another for a tunnel that is passed on, another for one that is looked into
  for (const host of ['p.test', 'a.test']) {
    const socket = await tunnel(door, `${host}:${port}`)
    if (typeof socket === 'number') throw new Error(`refused: ${socket}`)
    await expect(secure(socket, 'evil.test', door.caPem)).rejects.toThrow()
  }
  const inside = async (text: string) => {
    const socket = await tunnel(door, `a.test:${port}`)
    if (typeof socket === 'number') throw new Error(`refused: ${socket}`)
    const tls = await secure(socket, 'a.test', door.caPem)
    tls.write(text)
    return (await collect(tls)).slice(9, 12)
  }
  expect(await inside(httpsText('/', 'evil.test'))).toBe('421')
  expect(await inside(httpsText('/', `a.test:${port}`, [`Host: a.test:${port}`]))).toBe('400')
  expect(await inside(`GET https://evil.test/ HTTP/1.1\r\nHost: a.test:${port}\r\n\r\n`)).toBe('400')
  expect(await inside(httpsText('/', `a.test:${port}`, ['X-A: b\r\n folded: c']))).toBe('400')
  expect(
    await inside(httpsText('/', `a.test:${port}`, ['Content-Length: 3', 'Transfer-Encoding: chunked'], 'POST')),
  ).toBe('400')
  expect(seen).toEqual([])
  expect(await inside(httpsText('/', `a.test:${port}`))).toBe('200')
  expect(seen).toEqual([`a.test:${port}`])
})

test('SBX-20 a tunnel is for TLS to its host; other bytes and other ports need a rule that says so', async () => {
  const got: string[] = []
  const port = await kit.tcp((socket) =>
    socket.on('data', (chunk) => got.push(chunk.toString())).end('SSH-2.0-server\r\n'),
  )
  kit.name('git.test')
  await kit.egress.policy.put({ for: ['any'], effect: 'allow', host: '*' })
  expect(await tunnel(door, 'git.test:22')).toBe(403)
  expect(await tunnel(door, 'git.test:25')).toBe(403)
  const rule = await kit.allow({ host: 'git.test', ports: [port] })
  const closed = await tunnel(door, `git.test:${port}`)
  if (typeof closed === 'number') throw new Error('refused')
  closed.write('SSH-2.0-client\r\n')
  expect(await collect(closed)).not.toContain('SSH-2.0-server')
  expect(got).toEqual([])
  await kit.allow({ ...rule, opaque: true })
  const open = await tunnel(door, `git.test:${port}`)
  if (typeof open === 'number') throw new Error('refused')
  open.write('SSH-2.0-client\r\n')
  expect(await collect(open)).toBe('SSH-2.0-server\r\n')
  await vi.waitFor(() => expect(got).toEqual(['SSH-2.0-client\r\n']))
})

test('SBX-20 a WebSocket is judged by its path, and HTTP in a tunnel by every request', async () => {
  const port = await kit.http((_request, response) => response.end('plain'))
  const ws = await kit.tcp((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
      socket.on('data', (chunk) => socket.write(`echo ${chunk.toString()}`))
    })
  })
  await kit.allow({ host: kit.name('ws.test'), ports: [ws, port], path: '/open*' })
  const upgrade = (path: string) =>
    `GET http://ws.test:${ws}${path} HTTP/1.1\r\nHost: ws.test:${ws}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`
  expect(await ask(door, upgrade('/closed'))).toMatch(/^HTTP\/1.1 403/)
  const socket = connect(door.socketPath)
  socket.write(upgrade('/open'))
  socket.once('data', () => socket.write('hi'))
  expect(await collect(socket, 300)).toMatch(/^HTTP\/1.1 101[^]*echo hi$/)
  const inside = await tunnel(door, `ws.test:${port}`)
  if (typeof inside === 'number') throw new Error('refused')
  inside.write(httpsText('/closed', `ws.test:${port}`))
  expect(await collect(inside)).toMatch(/^HTTP\/1.1 403/)
})

test('a change of rules reaches what is only being opened: a tunnel before its first bytes, a protocol before it is agreed', async () => {
  const port = await kit.https('slow.test', (_request, response) => response.end('inside'))
  const asked = Promise.withResolvers<Socket>()
  const ws = await kit.tcp((socket) => socket.once('data', () => asked.resolve(socket)))
  await kit.allow({ host: 'slow.test', ports: [port, ws], opaque: false })
  const before = await tunnel(door, `slow.test:${port}`)
  if (typeof before === 'number') throw new Error('refused')
  const upgrading = connect(door.socketPath)
  const got = collect(upgrading)
  upgrading.write(
    `GET http://slow.test:${ws}/ HTTP/1.1\r\nHost: slow.test:${ws}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  )
  const host = await asked.promise
  await kit.egress.policy.put({ for: ['agent/ci'], effect: 'deny', host: 'slow.test' })
  await vi.waitFor(async () => expect(await tunnel(door, `slow.test:${port}`)).toBe(403))
  await expect(secure(before, 'slow.test', WORLD.certificatePem)).rejects.toThrow()
  host.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi')
  expect(await got).not.toContain('hi')
  await vi.waitFor(() => expect(reasons()).toContain('deny changed'))
  expect(reasons()).not.toContain('allow pass')
})

test('a change of rules reaches open tunnels at once', async () => {
  const port = await kit.https('a.test', (_request, response) => response.write('first'))
  const rule = await kit.allow({ host: 'a.test', ports: [port] })
  const socket = await tunnel(door, `a.test:${port}`)
  if (typeof socket === 'number') throw new Error('refused')
  const tls = await secure(socket, 'a.test', WORLD.certificatePem)
  tls.write(httpsText('/', `a.test:${port}`))
  await new Promise((resolve) => tls.once('data', resolve))
  const closed = new Promise((resolve) => tls.once('close', resolve))
  await kit.egress.policy.put({ for: ['agent/ci'], effect: 'deny', host: 'a.test' })
  await closed
  await vi.waitFor(() => {
    const end = kit.entries.find(({ kind, rule: id }) => kind === 'end' && id === rule.id)
    expect(end?.bytesDown).toBeGreaterThan(0)
  })
})
