import { get as httpGet } from 'node:http'
import { createHash, createHmac } from 'node:crypto'
import { rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { ArtifactView } from '../../protocol/api.ts'
import { ERRORS, MeshError } from '../../protocol/errors.ts'
import type { ArtifactServices } from './artifact-services.ts'
import { dial, post, send, startTestApi, type TestApi, type TestApiOptions } from './testing/test-api.ts'

const open: TestApi[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()))
})
async function start(options?: TestApiOptions): Promise<TestApi> {
  const api = await startTestApi(options)
  open.push(api)
  return api
}
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const run = (source: string, more: object = {}) => ({ program: { source }, ...more })

/** Reads an event stream until `count` events came or it ended. */
function events(
  api: TestApi,
  path: string,
  count: number,
  lastEventId?: string,
): Promise<{ id: string | undefined; event: string; data: unknown }[]> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${api.token}`,
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    }
    const request = httpGet({ socketPath: api.paths.socket, path, headers, agent: false }, (response) => {
      let text = ''
      const parse = () =>
        text
          .split('\n\n')
          .slice(0, -1)
          .filter((block) => block.includes('data: '))
          .map((block) => {
            const field = (name: string) =>
              block
                .split('\n')
                .find((line) => line.startsWith(`${name}: `))
                ?.slice(name.length + 2)
            return {
              id: field('id'),
              event: field('event') ?? '',
              data: JSON.parse(field('data') ?? 'null') as unknown,
            }
          })
      response.on('data', (part: Buffer) => {
        text += part.toString()
        if (parse().length >= count) {
          request.destroy()
          resolve(parse())
        }
      })
      response.on('end', () => resolve(parse()))
      response.on('error', () => undefined)
    })
    request.on('error', reject)
  })
}

describe('the local API', () => {
  it('opens its socket anew when somebody removed it with its folder, and takes it away at its end', async () => {
    const api = await start()
    await rm(dirname(api.paths.socket), { recursive: true })
    const answer = () => send(api, { over: 'socket' }).catch(() => undefined)
    await expect.poll(answer, { timeout: 15_000 }).toMatchObject({ status: 200 })
    expect((await stat(api.paths.socket)).mode & 0o777).toBe(0o600)
    await api.close()
    await expect(stat(api.paths.socket)).rejects.toMatchObject({ code: 'ENOENT' })
  }, 30_000)

  it('answers on the unix socket and on loopback, with strict headers', async () => {
    const api = await start()
    for (const over of ['socket', 'tcp'] as const) {
      const { status, headers, json } = await send(api, { over })
      expect([status, json['name']]).toEqual([200, 'one'])
      expect(headers).toMatchObject({
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        'content-type': 'application/json',
      })
      expect(headers['content-security-policy']).toContain("frame-ancestors 'none'")
    }
  })

  it('answers clients that offer HTTP/2 with every first request, as it answers all others', async () => {
    const api = await start()
    const headers = {
      connection: 'Upgrade, HTTP2-Settings',
      upgrade: 'h2c',
      'http2-settings': 'AAMAAABkAAQAoAAAAAIAAAAA',
    }
    expect((await send(api, { headers })).status).toBe(200)
    expect((await post(api, '/v0/tasks', run('export default () => 1', { detach: true }), { headers })).status).toBe(
      200,
    )
    expect((await send(api, { headers, token: null })).status).toBe(401)
  })

  it('says of a name that cannot be one just that, and not that there is no such route', async () => {
    const api = await start()
    const { status, json } = await post(api, '/v0/tokens/My%20Token/revoke', {})
    expect([status, json['code']]).toEqual([404, 'E_NOT_FOUND'])
    expect(json['detail']).toMatch(/the name in the path/)
  })

  it('has no TCP listener unless configured', async () => {
    const api = await start({ tcp: false })
    expect(api.address.url).toBeUndefined()
    expect((await send(api)).status).toBe(200)
  })

  it('runs a task and waits for its end, or does not', async () => {
    const api = await start()
    expect((await post(api, '/v0/tasks', run('echo', { input: { a: [1] } }))).json).toMatchObject({
      state: 'completed',
      output: { a: [1] },
    })
    expect((await post(api, '/v0/tasks', run('fail'))).json).toMatchObject({
      state: 'failed',
      error: { code: 'E_GUEST' },
    })
    const detached = await post(api, '/v0/tasks', run('wait', { detach: true }))
    expect(detached.json).toMatchObject({ state: 'working' })
    const id = String(detached.json['id'])
    expect((await post(api, `/v0/tasks/${id}/cancel`, {})).json).toMatchObject({ state: 'canceled' })
    expect((await send(api, { path: `/v0/tasks/${id}` })).json).toMatchObject({ id, state: 'canceled' })
    expect((await post(api, '/v0/maps', { program: { source: 'echo' }, inputs: [1, 2] })).json).toMatchObject({
      kind: 'map',
      progress: { total: 2 },
    })
  })

  it('hands on the idempotency key and the subject', async () => {
    const api = await start()
    const first = await post(api, '/v0/tasks', run('echo'), { headers: { 'idempotency-key': 'k-1' } })
    const second = await post(api, '/v0/tasks', run('echo'), { headers: { 'idempotency-key': 'k-1' } })
    expect(second.json['id']).toBe(first.json['id'])
    expect(api.tasks.callers[0]).toEqual({ subject: 'local', key: 'k-1' })
    expect(
      (await post(api, '/v0/tasks', run('echo'), { headers: { 'idempotency-key': 'x'.repeat(201) } })).json['code'],
    ).toBe('E_BAD_REQUEST')
  })

  it('SDK-06 makes an artifact once for one key', async () => {
    let made = 0
    const services: Partial<ArtifactServices> = {
      create: () => Promise.resolve({ id: `a${++made}` } as ArtifactView),
    }
    const api = await start({ services: { artifacts: () => Promise.resolve(services as ArtifactServices) } })
    const make = async (body: object, key?: string) =>
      (await post(api, '/v0/artifacts', body, key === undefined ? {} : { headers: { 'idempotency-key': key } })).json
    expect([await make({}, 'k'), await make({}, 'k'), await make({})]).toEqual([
      { id: 'a1' },
      { id: 'a1' },
      { id: 'a2' },
    ])
    expect(await make({ name: 'other' }, 'k')).toMatchObject({ code: 'E_KEY_REUSED' })
  })

  it('says in plain words what does not fit, and does not repeat texts', async () => {
    const api = await start()
    const { json } = await post(api, '/v0/tasks', run('echo', { limits: { wallMs: 0 }, name: 'secret'.repeat(20) }))
    const message = 'at least 1 is wanted: received 0'
    expect(json).toMatchObject({
      code: 'E_BAD_REQUEST',
      detail: `Cannot read the request: limits.wallMs: ${message} (and 1 more)`,
      details: {
        issues: [
          { at: 'limits.wallMs', message },
          { at: 'name', message: 'at most 64 characters are wanted: received a text of 120 characters' },
        ],
      },
    })
    expect((await send(api, { path: '/v0/tasks?limit=501' })).json['detail']).toBe(
      'Cannot read the query: limit: at most 500 is wanted: received 501',
    )
  })

  it('SDK-06 gives fifty requests with one key one task and one answer', async () => {
    const api = await start()
    const all = await Promise.all(
      Array.from({ length: 50 }, () =>
        post(api, '/v0/tasks', run('echo', { input: 7 }), { headers: { 'idempotency-key': 'storm' } }),
      ),
    )
    expect(new Set(all.map(({ text }) => text)).size).toBe(1)
  })

  it('tells problems as problem+json, and nothing of the inside', async () => {
    const api = await start()
    const missing = await send(api, { path: '/v0/tasks/nope' })
    expect(missing.status).toBe(404)
    expect(missing.headers['content-type']).toBe('application/problem+json')
    expect(missing.json).toMatchObject({ code: 'E_NOT_FOUND', status: 404, title: ERRORS.E_NOT_FOUND.title })
    const syntax = await post(api, '/v0/tasks', run('syntax'))
    expect(syntax.json).toMatchObject({ status: 422, code: 'E_SYNTAX', failure: { code: 'E_SYNTAX', line: 3 } })
    const crash = await post(api, '/v0/tasks', run('crash'))
    expect(crash.json).toMatchObject({ status: 500, code: 'E_INTERNAL' })
    expect(crash.text).not.toContain('secret')
    expect(api.logged.join('')).toContain('secret inner detail')
  })

  it('names what does not fit in a request, and where', async () => {
    const api = await start()
    const cases: [unknown, RegExp][] = [
      [{}, /program/],
      [{ program: {} }, /exactly one of source and modules/],
      [{ program: { source: 'echo' }, limits: { wallMs: -1 } }, /limits\.wallMs/],
      [{ program: { source: 'echo' }, limits: { cpuMs: 0 } }, /limits\.cpuMs/],
      [{ program: { source: 'echo' }, limits: { memoryBytes: (8 << 20) - 1 } }, /limits\.memoryBytes/],
      [{ program: { source: 'echo' }, limits: { outputBytes: 0 } }, /limits\.outputBytes/],
      [{ program: { source: 'echo' }, inptu: 1 }, /inptu/],
      [[], /object/],
    ]
    for (const [body, message] of cases) {
      const { status, json } = await post(api, '/v0/tasks', body)
      expect([status, json['code']]).toEqual([400, 'E_BAD_REQUEST'])
      expect(String(json['detail'])).toMatch(message)
    }
    for (const path of [
      '/v0/tasks?limit=0',
      '/v0/tasks?limit=501',
      '/v0/tasks?state=x',
      '/v0/tasks?limit=1&limit=2',
      '/v0/status?x=1',
    ])
      expect((await send(api, { path })).status).toBe(400)
    expect((await send(api, { path: '/v0/tasks?limit=10&state=working' })).status).toBe(200)
  })

  it('serves metrics as text, and the challenge and the OpenAPI document without a token', async () => {
    const api = await start()
    const metrics = await send(api, { path: '/metrics' })
    expect([metrics.headers['content-type'], metrics.text]).toEqual(['text/plain; version=0.0.4', 'manyhands_up 1\n'])
    const nonce = '0123456789abcdef0123'
    const challenge = await send(api, { path: `/v0/challenge?nonce=${nonce}`, token: null })
    expect(challenge.json['proof']).toBe(
      createHmac('sha256', sha256(api.token)).update(`manyhands-daemon\0${nonce}`).digest('hex'),
    )
    const named = await api.tokens.create('ci', 'read')
    for (const token of [api.token, named]) {
      const id = sha256(sha256(token)).slice(0, 16)
      const answer = await send(api, { path: `/v0/challenge?nonce=${nonce}&token=${id}`, token: null })
      expect(answer.json['proof']).toBe(
        createHmac('sha256', sha256(token)).update(`manyhands-daemon\0${nonce}`).digest('hex'),
      )
    }
    expect((await send(api, { path: '/v0/openapi.json', token: null })).json['openapi']).toBe('3.1.1')
    expect((await send(api, { path: '/v0/challenge?nonce=short', token: null })).status).toBe(400)
  })

  it('streams the events of a task from the beginning, to the end, and resumes', async () => {
    const api = await start()
    const { json } = await post(api, '/v0/tasks', run('wait', { detach: true }))
    const path = `/v0/tasks/${String(json['id'])}/events`
    const reading = events(api, path, 10)
    api.tasks.emit(String(json['id']), { type: 'log', level: 'info', text: 'a\nb', node: 'n1' })
    await post(api, `/v0/tasks/${String(json['id'])}/cancel`, {})
    const seen = await reading
    expect(seen.map(({ event }) => event)).toEqual(['state', 'log', 'end'])
    expect(new Set(seen.map(({ id }) => id)).size).toBe(3)
    expect(seen[1]?.data).toMatchObject({ text: 'a\nb' })
    expect(await events(api, path, 10, seen[1]?.id)).toEqual(seen.slice(2))
    // Ids of another run of the daemon, which may have told more or less
    for (const id of ['9e8f-2', '9e8f-300', '3', '-', '']) expect(await events(api, path, 10, id)).toEqual(seen)
    expect((await send(api, { path: '/v0/tasks/nope/events' })).status).toBe(404)
    await expect.poll(() => api.tasks.watchers(String(json['id']))).toBe(0)
  })

  it('ends the events of a task whose end cannot be stored now, and says why', async () => {
    const api = await start()
    const { json } = await post(api, '/v0/tasks', run('wait', { detach: true }))
    const full = new MeshError('E_STORAGE', 'Cannot write the journal: its disk is full')
    const ended = vi.spyOn(api.tasks, 'ended').mockRejectedValue(full)
    const seen = await events(api, `/v0/tasks/${String(json['id'])}/events`, 10)
    expect(seen.map(({ event }) => event)).toEqual(['state', 'problem'])
    expect(seen[1]?.data).toMatchObject({ code: 'E_STORAGE' })
    ended.mockRestore()
    await expect.poll(() => api.tasks.watchers(String(json['id']))).toBe(0)
  })

  it('streams mesh events and resumes, telling when some are lost', async () => {
    const api = await start()
    const reading = events(api, '/v0/events', 2)
    await expect.poll(() => api.server.clients().streams).toBe(1)
    const up = (peer: string) => api.events.add({ type: 'peer-up', peer, name: peer })
    up('a')
    up('b')
    const [first, second] = await reading
    expect([first?.data, second?.data]).toEqual([
      { type: 'peer-up', peer: 'a', name: 'a' },
      { type: 'peer-up', peer: 'b', name: 'b' },
    ])
    await expect.poll(() => api.server.clients().streams).toBe(0)
    up('c')
    expect((await events(api, '/v0/events', 2, first?.id)).map(({ data }) => data)).toMatchObject([
      { peer: 'b' },
      { peer: 'c' },
    ])
    for (let i = 0; i < 500; i++) up(`x${i}`)
    expect((await events(api, '/v0/events', 1, first?.id))[0]?.data).toMatchObject({
      type: 'alarm',
      what: 'events-lost',
    })
    expect((await events(api, '/v0/events', 1, 'other-5'))[0]?.data).toMatchObject({
      type: 'alarm',
      what: 'events-lost',
    })
  })

  it('sends heartbeats', async () => {
    const api = await start({ flags: { 'api.heartbeatMs': '100' } })
    const socket = await dial(api)
    let text = ''
    socket.on('data', (part: Buffer) => (text += part.toString()))
    socket.write(`GET /v0/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${api.token}\r\n\r\n`)
    await expect.poll(() => text).toMatch(/:\n\n[\s\S]*:\n\n/)
    socket.destroy()
  })

  it('drops a reader of events that does not read, and tells it', async () => {
    const api = await start()
    const socket = await dial(api)
    socket.write(`GET /v0/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${api.token}\r\n\r\n`)
    socket.pause()
    await expect.poll(() => api.server.clients().streams).toBe(1)
    const name = 'n'.repeat(50_000)
    for (let i = 0; i < 400 && api.server.clients().streams > 0; i++) {
      api.events.add({ type: 'peer-up', peer: 'a', name })
      if (i % 20 === 0) await new Promise(setImmediate)
    }
    expect(api.server.clients().streams).toBe(0)
    let text = ''
    socket.on('data', (part: Buffer) => (text = (text + part.toString()).slice(-2_000)))
    socket.resume()
    await expect.poll(() => text).toContain('E_OVERLOADED')
    socket.destroy()
  })

  it('stops waiting for a client that went away, without ending its task', async () => {
    const api = await start()
    const socket = await dial(api)
    const body = JSON.stringify(run('wait'))
    socket.write(
      `POST /v0/tasks HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${api.token}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    await expect.poll(() => api.tasks.get('t1')?.state).toBe('working')
    socket.destroy()
    await expect.poll(() => api.server.clients().connections).toBe(0)
    expect(api.tasks.get('t1')?.state).toBe('working')
  })

  it('asks for the shutdown after it has answered', async () => {
    const api = await start()
    expect((await post(api, '/v0/shutdown', { drainMs: 5 })).json).toEqual({ stopping: true })
    await expect.poll(() => api.shutdowns).toEqual([5])
  })

  it('drains: lets running requests finish, refuses new ones, ends streams', async () => {
    const api = await start()
    const waiting = post(api, '/v0/tasks', run('wait'))
    const stream = events(api, '/v0/events', 99)
    await expect.poll(() => [api.tasks.get('t1')?.state, api.server.clients().streams]).toEqual(['working', 1])
    const idle = await dial(api)
    const closing = api.server.close(10_000)
    expect(await stream).toMatchObject([{ event: 'problem', data: { code: 'E_STOPPING' } }])
    idle.write(`GET /v0/status HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${api.token}\r\n\r\n`)
    await api.tasks.cancel('t1')
    expect((await waiting).json).toMatchObject({ state: 'canceled' })
    await closing
    await expect(send(api)).rejects.toThrow()
    idle.destroy()
  })

  it('answers E_STOPPING to those who still wait when the drain is over', async () => {
    const api = await start()
    const waiting = post(api, '/v0/tasks', run('wait'))
    await expect.poll(() => api.tasks.get('t1')?.state).toBe('working')
    await api.server.close(10)
    expect((await waiting).json).toMatchObject({ status: 503, code: 'E_STOPPING' })
  })
})
