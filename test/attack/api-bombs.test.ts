/** Requests made to exhaust or confuse the daemon: THREATS API-09 and SDK-01. */
import type { Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import {
  dial,
  post,
  send,
  sendRaw,
  startTestApi,
  type TestApi,
  type TestApiOptions,
} from '../../daemon/api/testing/test-api.ts'
import { openDuplex } from '../../daemon/api/testing/duplex-client.ts'
import { connectionCap } from '../../daemon/api/connection-cap.ts'
import { LIMITS } from '../../protocol/limits.ts'

const open: TestApi[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()))
})
async function start(options?: TestApiOptions): Promise<TestApi> {
  const api = await startTestApi(options)
  open.push(api)
  return api
}
const head = (api: TestApi, more: string) =>
  `POST /v0/tasks HTTP/1.1\r\nhost: 127.0.0.1:${api.port}\r\nauthorization: Bearer ${api.token}\r\ncontent-type: application/json\r\n${more}\r\n\r\n`
const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])
const code = (answer: string) => /"code":"(\w+)"/.exec(answer)?.[1]

describe('API-09 bodies', () => {
  it('refuses 100 MB by its announced length, before it is sent', async () => {
    const api = await start()
    const answer = await sendRaw(api, head(api, 'content-length: 104857600'))
    expect([statusOf(answer), code(answer)]).toEqual([413, 'E_TOO_LARGE'])
    expect(answer.toLowerCase()).toContain('connection: close')
  })

  it('refuses an endless chunked body at the cap, holding no more than it', async () => {
    const api = await start()
    const socket = await dial(api, 'tcp')
    let answer = ''
    socket.on('data', (part: Buffer) => (answer += part.toString()))
    const path = '/v0/tasks/t1/cancel'
    socket.write(head(api, 'transfer-encoding: chunked').replace('/v0/tasks', path))
    const chunk = `4000\r\n${' '.repeat(0x4000)}\r\n`
    for (let i = 0; i < 50 && answer === ''; i++) {
      socket.write(chunk)
      await new Promise(setImmediate)
    }
    await expect.poll(() => code(answer)).toBe('E_TOO_LARGE')
    socket.destroy()
  })

  it.each([
    ['nesting of 100,000', '['.repeat(1e5) + ']'.repeat(1e5)],
    ['nesting that never closes', '{"program":'.repeat(1e5)],
    ['repeated keys', '{"program":{"source":"echo"},"program":{"source":"wait"}}'],
    ['repeated keys inside', '{"program":{"source":"echo","source":"wait"}}'],
    ['__proto__', '{"__proto__":{"program":{"source":"echo"}},"program":{"source":"echo"}}'],
    ['__proto__ in the input', '{"program":{"source":"echo"},"input":{"__proto__":{"polluted":1}}}'],
    ['__proto__ among the modules', '{"program":{"modules":{"__proto__":"x","main.js":"echo"}}}'],
    ['constructor', '{"program":{"source":"echo"},"constructor":{"prototype":{"polluted":1}}}'],
    ['no JSON', 'program=echo'],
    ['two values', '{"program":{"source":"echo"}}{}'],
    ['nothing', ''],
    ['NaN', '{"program":{"source":"echo"},"deadlineMs":NaN}'],
    ['a number beyond all', '{"program":{"source":"echo"},"deadlineMs":1e999}'],
    ['a number as text', '{"program":{"source":"echo"},"deadlineMs":"5"}'],
  ])('refuses %s with 400', async (_, body) => {
    const api = await start()
    const reply = await post(api, '/v0/tasks', body)
    expect([reply.status, reply.json['code']]).toEqual([400, 'E_BAD_REQUEST'])
    expect(api.tasks.callers).toEqual([])
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  it('takes depth, odd numbers and lone surrogates in an input as they are', async () => {
    const api = await start()
    const input = `${'['.repeat(LIMITS.jsonDepth - 1)}1e308,"\\ud800"${']'.repeat(LIMITS.jsonDepth - 1)}`
    const { json } = await post(api, '/v0/tasks', `{"program":{"source":"echo"},"input":${input}}`)
    expect(json['output']).toEqual(JSON.parse(input))
  })

  it('refuses bytes that are no UTF-8, and compressed bodies', async () => {
    const api = await start()
    const raw = Buffer.from('{"program":{"source":"\xff\xfe"}}', 'latin1')
    expect(
      code(
        await sendRaw(api, head(api, `content-length: ${raw.length}\r\nconnection: close`) + raw.toString('latin1')),
      ),
    ).toBeDefined()
    const { json } = await post(api, '/v0/tasks', '{}', { headers: { 'content-encoding': 'gzip' } })
    expect(json['code']).toBe('E_MEDIA_TYPE')
    expect(
      code(
        await sendRaw(
          api,
          `GET /v0/status HTTP/1.1\r\nhost: 127.0.0.1:${api.port}\r\nauthorization: Bearer ${api.token}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}`,
        ),
      ),
    ).toBe('E_BAD_REQUEST')
  })

  it('does not block on a large body while others are served', async () => {
    const api = await start()
    const body = JSON.stringify({
      program: { source: 'echo' },
      input: Array.from({ length: 200_000 }, (_, i) => ({ key: i, text: 'some text' })),
    })
    const [large, ...small] = await Promise.all([
      post(api, '/v0/tasks', body),
      ...Array.from({ length: 50 }, () => send(api)),
    ])
    expect(large.status).toBe(200)
    expect(small.every(({ status }) => status === 200)).toBe(true)
  })
})

describe('API-09 slow and broken clients', () => {
  it('ends headers that trickle, and bodies that do, with 408', async () => {
    const api = await start({ flags: { 'api.headersMs': '300', 'api.requestMs': '600' } })
    const slowHead = sendRaw(api, `GET /v0/status HTTP/1.1\r\nhost: 127.0.0.1:${api.port}\r\nx-a: `, 5_000)
    const slowBody = sendRaw(api, `${head(api, 'content-length: 100')}{"pro`, 5_000)
    const slowRaw = sendRaw(api, 'G', 5_000)
    for (const answer of await Promise.all([slowHead, slowBody, slowRaw]))
      expect([statusOf(answer), code(answer)]).toEqual([408, 'E_SLOW'])
    expect((await send(api)).status).toBe(200)
  })

  it.each([
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['huge headers', `GET /v0/status HTTP/1.1\r\nx: ${'a'.repeat(40_000)}\r\n\r\n`, 413],
    [
      'both lengths',
      'POST /v0/tasks HTTP/1.1\r\nhost: HOST\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    [
      'two lengths',
      'POST /v0/tasks HTTP/1.1\r\nhost: HOST\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello',
      400,
    ],
    ['a bare line feed in a header', 'GET /v0/status HTTP/1.1\nhost: HOST\n\n', 400],
    ['CONNECT', 'CONNECT evil.test:443 HTTP/1.1\r\nhost: evil.test:443\r\n\r\n', 404],
    ['an expectation', 'POST /v0/tasks HTTP/1.1\r\nhost: HOST\r\nexpect: a-miracle\r\nconnection: close\r\n\r\n', 400],
  ])('answers %s with a typed problem and closes', async (_, bytes, status) => {
    const api = await start()
    const answer = await sendRaw(api, bytes.replaceAll('HOST', `127.0.0.1:${api.port}`))
    expect(statusOf(answer)).toBe(status)
    expect(code(answer)).toMatch(/^E_/)
    expect(answer).toContain('x-content-type-options: nosniff')
    expect((await send(api)).status).toBe(200)
  })

  it('SDK-01 survives any request', async () => {
    const api = await start()
    const part = fc.oneof(
      fc.constantFrom(
        'GET ',
        'POST ',
        '/v0/tasks',
        ' HTTP/1.1',
        '\r\n',
        `host: 127.0.0.1:${api.port}\r\n`,
        'content-length: 3\r\n',
        'transfer-encoding: chunked\r\n',
        '{}',
        '\0',
        ':',
        `authorization: Bearer ${api.token}\r\n`,
      ),
      fc.string({ maxLength: 20 }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 12 }), async (parts) => {
        await sendRaw(api, `${parts.join('')}\r\n\r\n`, 15)
      }),
      { numRuns: 60 },
    )
    expect((await send(api)).status).toBe(200)
    expect(api.logged.filter((line) => line.includes('"level":"error"'))).toEqual([])
  })

  it('survives any bytes on a duplex', async () => {
    const api = await start()
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), async (chunks) => {
        const client = await openDuplex(api)
        for (const chunk of chunks) client.socket.write(chunk)
        await new Promise(setImmediate)
        client.socket.destroy()
      }),
      { numRuns: 60 },
    )
    expect((await send(api)).status).toBe(200)
    await expect.poll(() => api.server.clients().duplexes).toBe(0)
  })
})

describe('API-09 many clients', () => {
  it('caps event streams with a typed refusal', async () => {
    const api = await start({ flags: { 'api.streams': '5' } })
    const sockets: Socket[] = []
    const request = `GET /v0/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${api.token}\r\n\r\n`
    for (let i = 0; i < 5; i++) {
      const socket = await dial(api)
      socket.write(request)
      socket.resume()
      sockets.push(socket)
    }
    await expect.poll(() => api.server.clients().streams).toBe(5)
    const refused = await send(api, { path: '/v0/events' })
    expect([refused.status, refused.json['code']]).toEqual([503, 'E_OVERLOADED'])
    sockets[0]?.destroy()
    await expect.poll(() => api.server.clients().streams).toBe(4)
    for (const socket of sockets) socket.destroy()
  })

  it('caps connections, also by what the process may open', async () => {
    expect(connectionCap(512, 256)).toBe(128)
    expect(connectionCap(100, 4096)).toBe(100)
    expect(connectionCap(512, 4)).toBe(8)
    const api = await start({ flags: { 'api.connections': '8' } })
    const sockets = await Promise.all(Array.from({ length: 30 }, () => dial(api)))
    await expect.poll(() => sockets.filter((socket) => socket.closed || socket.destroyed).length).toBe(22)
    for (const socket of sockets) socket.destroy()
    await expect.poll(async () => (await send(api).catch(() => undefined))?.status).toBe(200)
  })
})
