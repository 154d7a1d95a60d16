/** Tokens, their files, and proof of the daemon: THREATS API-05, API-06, API-10, API-14, API-15. */
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { createAccessCheck } from '../../daemon/api/access.ts'
import { openTokens } from '../../daemon/api/tokens.ts'
import { post, send, startTestApi, type TestApi } from '../../daemon/api/testing/test-api.ts'
import { openDuplex } from '../../daemon/api/testing/duplex-client.ts'

const root = mkdtempSync(join(tmpdir(), 'manyhands-token-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const open: TestApi[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()))
})
async function start(): Promise<TestApi> {
  const api = await startTestApi()
  open.push(api)
  return api
}
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
let number = 0
function files() {
  const folder = join(root, `${number++}`)
  return { folder, token: join(folder, 'data', 'token'), list: join(folder, 'data', 'tokens.json') }
}

describe('API-05 guessing', () => {
  it('answers 401 without a token or with a wrong one, and does nothing', async () => {
    const api = await start()
    const near = `${api.token.slice(0, -1)}${api.token.endsWith('A') ? 'B' : 'A'}`
    for (const token of [null, 'x', near, api.token.slice(1), `${api.token}x`, api.token.toUpperCase()]) {
      const reply = await post(api, '/v0/tasks', { program: { source: 'echo' } }, { token })
      expect([reply.status, reply.json['code']]).toEqual([401, 'E_UNAUTHENTICATED'])
      expect(reply.headers['www-authenticate']).toContain('Bearer')
      expect(reply.text).not.toContain(api.token.slice(4, 20))
    }
    expect(api.tasks.callers).toEqual([])
  })

  it('slows ten thousand tries down, and never the right token', async () => {
    const { folder, token, list } = files()
    mkdirSync(folder)
    const tokens = await openTokens(token, list)
    const right = `Bearer ${readFileSync(token, 'utf8').trim()}`
    let time = 0
    const access = createAccessCheck(tokens, () => time)
    const answers = { E_UNAUTHENTICATED: 0, E_RATE_LIMITED: 0 }
    for (let i = 0; i < 10_000; i++) {
      time += 1
      try {
        access.admit('read', `Bearer guess${i}`)
      } catch (error) {
        answers[(error as { code: keyof typeof answers }).code] += 1
      }
      if (i % 100 === 0) expect(access.admit('admin', right).name).toBe('local')
    }
    // A burst, then one a second for ten seconds
    expect(answers.E_UNAUTHENTICATED).toBeLessThanOrEqual(31)
    expect(answers.E_RATE_LIMITED).toBeGreaterThan(9_900)
  })

  it('says when to come back', async () => {
    const api = await start()
    const replies = await Promise.all(Array.from({ length: 60 }, () => send(api, { token: 'wrong-token' })))
    const limited = replies.find(({ status }) => status === 429)
    expect(Number(limited?.headers['retry-after'])).toBeGreaterThan(0)
    expect((await send(api)).status).toBe(200)
  })
})

describe('API-06 the token file', () => {
  it('is 0600 in a folder 0700, whatever the umask', async () => {
    const { token, list, folder } = files()
    const before = process.umask(0)
    try {
      await openTokens(token, list)
    } finally {
      process.umask(before)
    }
    expect(statSync(token).mode & 0o777).toBe(0o600)
    expect(statSync(join(folder, 'data')).mode & 0o777).toBe(0o700)
  })

  it('is made once, is random, and survives', async () => {
    const [a, b] = [files(), files()]
    for (const { token, list } of [a, b, a]) await openTokens(token, list)
    const text = (path: string) => readFileSync(path, 'utf8').trim()
    expect(text(a.token)).not.toBe(text(b.token))
    expect(text(a.token)).toMatch(/^mht_[\w-]{43}$/)
  })

  it.each([
    [
      'a link to a file of the attacker',
      (f: ReturnType<typeof files>) => {
        writeFileSync(join(f.folder, 'evil'), 'x'.repeat(40), { mode: 0o600 })
        symlinkSync(join(f.folder, 'evil'), f.token)
      },
      'E_INSECURE_FILE',
    ],
    [
      'a link to nowhere',
      (f: ReturnType<typeof files>) => symlinkSync(join(f.folder, 'nowhere'), f.token),
      'E_INSECURE_FILE',
    ],
    [
      'a file others can read',
      (f: ReturnType<typeof files>) => {
        writeFileSync(f.token, 'x'.repeat(40))
        chmodSync(f.token, 0o644)
      },
      'E_INSECURE_FILE',
    ],
    [
      'a folder others can use',
      (f: ReturnType<typeof files>) => chmodSync(join(f.folder, 'data'), 0o755),
      'E_INSECURE_FILE',
    ],
    ['an empty file', (f: ReturnType<typeof files>) => writeFileSync(f.token, '', { mode: 0o600 }), 'E_CONFIG'],
    ['a short token', (f: ReturnType<typeof files>) => writeFileSync(f.token, 'short', { mode: 0o600 }), 'E_CONFIG'],
    [
      'a list others can read',
      (f: ReturnType<typeof files>) => {
        writeFileSync(f.list, '{"tokens":[]}')
        chmodSync(f.list, 0o604)
      },
      'E_INSECURE_FILE',
    ],
    [
      'a list that is none',
      (f: ReturnType<typeof files>) => writeFileSync(f.list, '{"tokens":[{"name":"x"}]}', { mode: 0o600 }),
      'E_CONFIG',
    ],
  ])('stops the start when it finds %s', async (_, plant, code) => {
    const f = files()
    mkdirSync(join(f.folder, 'data'), { recursive: true, mode: 0o700 })
    plant(f)
    await expect(openTokens(f.token, f.list)).rejects.toMatchObject({ code })
  })
})

describe('API-10 another program on the daemon’s address', () => {
  it('cannot answer the challenge without the token', async () => {
    const api = await start()
    const squatter = createServer((_request, response) =>
      response.end(JSON.stringify({ proof: 'ab'.repeat(32), version: '1' })),
    )
    await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve))
    const address = squatter.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const nonce = 'fresh-nonce-0123456789'
    const fake = (await (await fetch(`http://127.0.0.1:${port}/v0/challenge?nonce=${nonce}`)).json()) as {
      proof: string
    }
    const real = await send(api, { path: `/v0/challenge?nonce=${nonce}`, token: null })
    expect(real.json['proof']).toBe(api.tokens.prove(nonce))
    expect(fake.proof).not.toBe(api.tokens.prove(nonce))
    squatter.closeAllConnections()
    squatter.close()
  })

  it('gets proofs that say nothing about the token or other nonces', async () => {
    const api = await start()
    const proofs = new Set<unknown>()
    for (const nonce of ['0123456789abcdef', '0123456789abcdeg', '0123456789abcdef0'])
      proofs.add((await send(api, { path: `/v0/challenge?nonce=${nonce}`, token: null })).json['proof'])
    expect(proofs.size).toBe(3)
    for (const nonce of ['', 'short', 'x'.repeat(300), '%00'.repeat(20), 'a b c d e f g h i j k l'])
      expect((await send(api, { path: `/v0/challenge?nonce=${encodeURI(nonce)}`, token: null })).status).toBe(400)
  })

  it('gets no proof for a token that is not there, was revoked, or is named badly, and no word more', async () => {
    const api = await start()
    const revoked = await api.tokens.create('ci', 'run')
    const idOf = (token: string): string => sha256(sha256(token)).slice(0, 16)
    const ask = (id: string) => send(api, { path: `/v0/challenge?nonce=0123456789abcdef&token=${id}`, token: null })
    expect((await ask(idOf(revoked))).status).toBe(200)
    await api.tokens.revoke('ci')
    const answers = [await ask(idOf(revoked)), await ask('0123456789abcdef')]
    for (const { status, json } of answers) expect([status, json['code']]).toEqual([401, 'E_UNAUTHENTICATED'])
    expect(answers[0]?.json).toEqual(answers[1]?.json)
    for (const id of ['', idOf(api.token).slice(1), sha256(api.token), 'ci', 'local'])
      expect((await ask(id)).status).toBe(400)
  })
})

describe('API-14 scopes', () => {
  const CALLS = {
    read: [
      ['GET', '/v0/status'],
      ['GET', '/v0/tasks'],
      ['GET', '/v0/config'],
      ['GET', '/metrics'],
    ],
    run: [
      ['POST', '/v0/tasks', { program: { source: 'echo' } }],
      ['POST', '/v0/maps', { program: { source: 'echo' }, inputs: [] }],
      ['POST', '/v0/tasks/t1/cancel', {}],
    ],
    admin: [
      ['POST', '/v0/invites', {}],
      ['POST', '/v0/members/n2/revoke', {}],
      ['POST', '/v0/shutdown', {}],
      ['GET', '/v0/tokens'],
      ['POST', '/v0/tokens', { name: 'more', access: 'admin' }],
      ['POST', '/v0/tokens/x/revoke', {}],
    ],
  } as const
  const LEVELS = ['read', 'run', 'admin'] as const

  it.each(['read', 'run'] as const)('a token that may "%s" may no more', async (access) => {
    const api = await start()
    const { json } = await post(api, '/v0/tokens', { name: `only-${access}`, access })
    const token = String(json['token'])
    for (const level of LEVELS)
      for (const [method, path, body] of CALLS[level] as readonly (readonly [string, string, unknown?])[]) {
        const allowed = LEVELS.indexOf(level) <= LEVELS.indexOf(access)
        const { status } = await send(api, { method, path, token, ...(body === undefined ? {} : { body }) })
        if (allowed) expect([200, 404], `${method} ${path}`).toContain(status)
        else expect(status, `${method} ${path}`).toBe(403)
      }
    expect(api.shutdowns).toEqual([])
    if (access === 'read') {
      expect(api.tasks.callers).toEqual([])
      await expect(openDuplex(api, token)).rejects.toThrow(/403/)
    } else {
      expect(api.tasks.callers[0]?.subject).toBe('only-run')
      ;(await openDuplex(api, token)).socket.destroy()
    }
  })

  it('every route has a level, and only liveness and the document are open', async () => {
    const api = await start()
    const { json } = await send(api, { path: '/v0/openapi.json', token: null })
    const routes = Object.entries(json['paths'] as Record<string, Record<string, { 'x-access': string }>>).flatMap(
      ([path, methods]) => Object.entries(methods).map(([method, row]) => [`${method} ${path}`, row['x-access']]),
    )
    expect(routes.filter(([, access]) => access === 'open').map(([name]) => name)).toEqual([
      'get /v0/challenge',
      'get /v0/openapi.json',
    ])
    for (const [name] of routes.filter(([, access]) => access !== 'open')) {
      const [method = '', path = ''] = String(name).split(' ')
      const reply = await send(api, {
        method: method.toUpperCase(),
        path: path.replaceAll(/\{\w+\}/g, 'x'),
        token: null,
      })
      expect(reply.status, String(name)).toBe(401)
    }
  })

  it('a revoked token is worth nothing, is stored as a hash only, and outlives a restart until then', async () => {
    const api = await start()
    const token = String((await post(api, '/v0/tokens', { name: 'ci', access: 'run' })).json['token'])
    expect(readFileSync(api.paths.tokensFile, 'utf8')).not.toContain(token)
    expect((await post(api, '/v0/tokens', { name: 'ci', access: 'read' })).status).toBe(409)
    const again = await openTokens(api.paths.tokenFile, api.paths.tokensFile)
    expect(again.check(token)).toEqual({ name: 'ci', access: 'run' })
    expect((await post(api, '/v0/tokens/ci/revoke', {})).json).toEqual({ tokens: [] })
    expect((await send(api, { token })).status).toBe(401)
    expect((await post(api, '/v0/tokens', { name: 'local', access: 'run' })).status).toBe(409)
  })

  it('API-15: what a token opened ends when it is revoked, and nothing else does', async () => {
    const api = await start()
    const token = await api.tokens.create('leaked', 'run')
    const other = await api.tokens.create('other', 'run')
    const [mine, theirs] = [await openDuplex(api, token), await openDuplex(api, other)]
    const stream = send(api, { path: '/v0/events', token })
    const staying = send(api, { path: '/v0/events', token: other }).then(({ text }) => text)
    await vi.waitFor(() => expect(api.server.clients()).toMatchObject({ streams: 2, duplexes: 2 }))
    await api.tokens.revoke('leaked')
    await mine.closed
    expect(mine.frames.at(-1)?.text).toContain('E_UNAUTHENTICATED')
    expect((await stream).text).toContain('E_UNAUTHENTICATED')
    expect(api.server.clients()).toMatchObject({ streams: 1, duplexes: 1 })
    theirs.socket.destroy()
    await api.server.close(0)
    expect(await staying).not.toContain('E_UNAUTHENTICATED')
  })

  it('API-15: a token revoked while its event stream is looked for opens none', async () => {
    const asked = Promise.withResolvers<undefined>()
    const found = Promise.withResolvers<never>()
    const egress = (): Promise<never> => {
      asked.resolve(undefined)
      return found.promise
    }
    const api = await startTestApi({ services: { egress } })
    open.push(api)
    const token = await api.tokens.create('leaked', 'admin')
    const stream = send(api, { path: '/v0/egress/log', token })
    await asked.promise
    await api.tokens.revoke('leaked')
    found.resolve({ audit: { recent: () => [], on: () => () => undefined } } as never)
    expect((await stream).status).toBe(401)
  })
})
