/** Web pages and rebound names against the local API: THREATS API-01 to API-04 and API-12. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { send, sendRaw, startTestApi, type TestApi } from '../../daemon/api/testing/test-api.ts'
import { UPGRADE } from '../../daemon/api/testing/duplex-client.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])
const noEffect = () => expect(api.tasks.callers).toEqual([])
const ACAO = 'access-control-allow-origin'
const TASK = JSON.stringify({ program: { source: 'echo' } })

describe('API-01 DNS rebinding', () => {
  it.each([
    'evil.test',
    'evil.test:80',
    '0.0.0.0:PORT',
    '127.0.0.1',
    'localhost',
    '127.0.0.1:1',
    'localhost.:PORT',
    '127.0.0.1:PORT.evil.test',
    '[::ffff:127.0.0.1]:PORT',
    '[::1]:PORT',
    '2130706433:PORT',
    'a@127.0.0.1:PORT',
  ])('refuses Host %j before it looks at the token or the path', async (host) => {
    for (const token of [api.token, 'wrong'])
      for (const path of ['/v0/status', '/none', '/v0/openapi.json']) {
        const { status, json } = await send(api, {
          over: 'tcp',
          path,
          token,
          headers: { host: host.replace('PORT', String(api.port)) },
        })
        expect([status, json['code']]).toEqual([421, 'E_MISDIRECTED'])
      }
  })

  it('refuses no Host, two Hosts, and absolute targets', async () => {
    const auth = `authorization: Bearer ${api.token}\r\nconnection: close\r\n\r\n`
    const good = `127.0.0.1:${api.port}`
    expect(statusOf(await sendRaw(api, `GET /v0/status HTTP/1.1\r\n${auth}`))).toBe(421)
    expect(statusOf(await sendRaw(api, `GET /v0/status HTTP/1.0\r\n${auth}`))).toBe(421)
    expect(statusOf(await sendRaw(api, `GET /v0/status HTTP/1.1\r\nhost:\r\n${auth}`))).toBe(421)
    for (const second of ['evil.test', good])
      expect(
        statusOf(await sendRaw(api, `GET /v0/status HTTP/1.1\r\nhost: ${good}\r\nHOST: ${second}\r\n${auth}`)),
      ).toBe(421)
    expect(statusOf(await sendRaw(api, `GET http://evil.test/v0/status HTTP/1.1\r\nhost: ${good}\r\n${auth}`))).toBe(
      421,
    )
    expect(statusOf(await sendRaw(api, `GET /v0/status HTTP/1.1\r\nhost: ${good}\r\n${auth}`))).toBe(200)
  })

  it('knows the unix socket by one name only', async () => {
    expect((await send(api, { headers: { host: 'localhost' } })).status).toBe(200)
    expect((await send(api, { headers: { host: `127.0.0.1:${api.port}` } })).status).toBe(421)
  })
})

describe('API-02 requests of other pages', () => {
  it.each([
    'http://evil.test',
    'null',
    'http://127.0.0.1',
    'http://localhost:1',
    'https://127.0.0.1:PORT',
    'file://',
    'http://127.0.0.1:PORT.evil.test',
    '',
  ])('refuses Origin %j, token or not', async (origin) => {
    for (const method of ['GET', 'POST', 'HEAD', 'DELETE', 'PUT'])
      for (const token of [api.token, null]) {
        const body = method === 'POST' ? { body: TASK } : {}
        const reply = await send(api, {
          over: 'tcp',
          method,
          path: '/v0/tasks',
          token,
          ...body,
          headers: { origin: origin.replace('PORT', String(api.port)), cookie: `token=${api.token}` },
        })
        expect(reply.status).toBe(403)
        expect(reply.headers[ACAO]).toBeUndefined()
      }
    noEffect()
  })

  it.each(['cross-site', 'same-site', 'other'])('refuses Sec-Fetch-Site %s, also without an Origin', async (site) => {
    expect(
      (
        await send(api, {
          over: 'tcp',
          method: 'POST',
          path: '/v0/tasks',
          body: TASK,
          headers: { 'sec-fetch-site': site },
        })
      ).status,
    ).toBe(403)
    noEffect()
  })

  it('refuses any Origin on the unix socket: no page can be there', async () => {
    expect((await send(api, { headers: { origin: 'http://localhost' } })).status).toBe(403)
  })

  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'text/plain; application/json',
    '',
  ])('takes no body of type %j', async (type) => {
    const { status, json } = await send(api, {
      over: 'tcp',
      method: 'POST',
      path: '/v0/tasks',
      body: TASK,
      headers: { 'content-type': type },
    })
    expect([status, json['code']]).toEqual([415, 'E_MEDIA_TYPE'])
    noEffect()
  })

  it('never takes a token from a cookie, the query or Basic', async () => {
    for (const headers of [
      { cookie: `token=${api.token}` },
      { authorization: `Basic ${Buffer.from(`:${api.token}`).toString('base64')}` },
    ])
      expect((await send(api, { over: 'tcp', token: null, headers })).status).toBe(401)
    expect((await send(api, { over: 'tcp', token: null, path: `/v0/status?token=${api.token}` })).status).toBe(401)
  })

  it('serves our own page', async () => {
    const own = { origin: `http://127.0.0.1:${api.port}`, 'sec-fetch-site': 'same-origin' }
    expect((await send(api, { over: 'tcp', headers: own })).status).toBe(200)
  })
})

describe('API-03 CORS', () => {
  it.each(['http://evil.test', 'null', `http://127.0.0.1:9`])('gives no leave to %s', async (origin) => {
    const headers = {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
      'access-control-request-private-network': 'true',
    }
    const reply = await send(api, { over: 'tcp', method: 'OPTIONS', path: '/v0/tasks', token: null, headers })
    expect(reply.status).toBe(403)
    expect(Object.keys(reply.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
  })

  it('has no CORS headers for anyone', async () => {
    const reply = await send(api, {
      over: 'tcp',
      method: 'OPTIONS',
      path: '/v0/tasks',
      headers: { origin: `http://127.0.0.1:${api.port}` },
    })
    expect(reply.status).toBe(404)
    expect(Object.keys(reply.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
  })
})

describe('API-04 upgrades', () => {
  const upgrade = (more: string, token = api.token, target = '/v0/duplex') =>
    UPGRADE(token, `127.0.0.1:${api.port}`)
      .replace('/v0/duplex', target)
      .replace('\r\n\r\n', `\r\n${more}\r\n\r\n`)
      .replace('\r\n\r\n\r\n', '\r\n\r\n')

  it.each(['origin: http://evil.test', 'origin: null', 'sec-fetch-site: cross-site'])(
    'refuses "%s" before the upgrade',
    async (header) => {
      expect(statusOf(await sendRaw(api, upgrade(header)))).toBe(403)
    },
  )

  it('refuses without a token, with a wrong one, and with one in the query', async () => {
    const bare = (target: string) => upgrade('', api.token, target).replace(/authorization: .*\r\n/, '')
    for (const target of ['/v0/duplex', `/v0/duplex?token=${api.token}`])
      expect(statusOf(await sendRaw(api, bare(target)))).toBe(401)
    expect(statusOf(await sendRaw(api, upgrade('', 'wrong'.repeat(10))))).toBe(401)
  })

  it('refuses other hosts, protocols and places', async () => {
    expect(statusOf(await sendRaw(api, UPGRADE(api.token, 'evil.test')))).toBe(421)
    expect(statusOf(await sendRaw(api, upgrade('').replace('manyhands-duplex-1', 'websocket')))).toBe(426)
    for (const target of ['/v0/status', '/v0/tasks', '/'])
      expect(statusOf(await sendRaw(api, upgrade('', api.token, target)))).toBe(404)
    expect(api.server.clients().duplexes).toBe(0)
    expect(statusOf(await sendRaw(api, upgrade(''), 100))).toBe(101)
  })
})

describe('API-12 paths that are none', () => {
  it.each([
    '/..%2f..%2fetc/passwd',
    '/../../etc/passwd',
    '/v0/tasks/..%2f..%2fstatus',
    '/v0/tasks/%00',
    '/v0/tasks/a%00b',
    '/v0/tasks/%2e%2e%2f',
    '/v0/tasks/%zz',
    '/v0/tasks/%ff',
    `/v0/tasks/${'x'.repeat(300)}`,
    '/v0/tasks/a%20b',
    '//etc/passwd',
    '/v0//status',
    '/V0/status',
    '/v0/status/',
    '/v0/status%00',
    '/v0/tasks/<img>',
    '/v0/tasks/__proto__/x',
    '/.git/config',
  ])('answers 404 for %s', async (path) => {
    const answer = await sendRaw(
      api,
      `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${api.port}\r\nauthorization: Bearer ${api.token}\r\nconnection: close\r\n\r\n`,
    )
    expect(statusOf(answer)).toBe(404)
    expect(answer).not.toContain('root:')
  })
})
