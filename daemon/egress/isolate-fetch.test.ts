import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { DOOR_CALL } from '../../protocol/egress/door-call.ts'
import { createIsolateExecutor, type IsolateExecutor } from '../exec/isolate/isolate-executor.ts'
import { EgressKit } from '../../test/support/egress-kit.ts'
import { IsolateFetch } from './isolate-fetch.ts'

const kit = new EgressKit()
let fetches: IsolateFetch
let executor: IsolateExecutor

beforeAll(async () => {
  await kit.start()
  executor = await createIsolateExecutor()
})
beforeEach(async () => {
  await kit.reset()
  fetches = new IsolateFetch(kit.egress)
})
afterEach(() => fetches.close())
afterAll(async () => {
  await executor.close()
  await kit.close()
})

const LIMITS = {
  wallMs: 20_000,
  cpuMs: 10_000,
  memoryBytes: 64 << 20,
  outputBytes: 1 << 20,
  logBytes: 1 << 16,
  hostCalls: 100,
  hostCallBytes: 16 << 20,
}

/** Runs the body of a function `(input, env)`. @param door whether it has one */
function run(body: string, door = true) {
  const source = `export default async (input, env) => { ${body} }`
  const program = { main: 'main.js', modules: [{ name: 'main.js', type: 'js' as const, source }] }
  return executor.run({ program, limits: LIMITS, domain: 'test', hostFunctions: door ? [DOOR_CALL] : [] }, 'null', {
    onHostCall: (name, args, signal) => {
      expect(name).toBe(DOOR_CALL)
      return fetches.fetch({ agent: 'ci' }, args, signal)
    },
  })
}

async function value(body: string): Promise<unknown> {
  const outcome = await run(body)
  if (!outcome.ok) throw new Error(`${outcome.error.code} ${outcome.error.message}`)
  return JSON.parse(outcome.output)
}

test('a program fetches what its rules allow, with a credential it never sees', async () => {
  const port = await kit.https('api.test', (request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () =>
      response
        .writeHead(201, { 'x-seen': `${request.headers.authorization}` })
        .end(`${request.method} ${request.url} ${Buffer.concat(parts).toString()}`),
    )
  })
  await kit.egress.secrets.set('token', 'canary-isolate-9')
  await kit.allow({ host: 'api.test', ports: [port], inject: [{ header: 'authorization', secret: 'token' }] })
  const result = await value(`
    const response = await fetch('https://api.test:${port}/a?b=1', { method: 'POST', body: 'grüße' })
    return [response.status, response.url, response.headers.get('x-seen'), await response.text(), Object.keys(env)]`)
  expect(result).toEqual([
    201,
    `https://api.test:${port}/a?b=1`,
    expect.stringMatching(/^\*+$/),
    'POST /a?b=1 grüße',
    [],
  ])
})

test('bytes go both ways as they are', async () => {
  const port = await kit.http((request, response) => void request.pipe(response))
  await kit.allow({ host: kit.name('echo.test'), ports: [port] })
  const body = `
    const bytes = Uint8Array.from({ length: 70000 }, (_, i) => i % 256)
    const back = await (await fetch('http://echo.test:${port}/', { method: 'PUT', body: bytes })).bytes()
    return back.length === bytes.length && back.every((byte, i) => byte === bytes[i])`
  expect(await value(body)).toBe(true)
})

test('closed by default: without a door, without a rule, and for addresses inside', async () => {
  const caught = (url: string) => `try { await fetch('${url}'); return 'through' } catch (error) { return error.code }`
  const closed = await run(caught('http://a.test/'), false)
  expect(closed).toMatchObject({ ok: true, output: '"E_NETWORK_CLOSED"' })
  expect(await value(caught('http://a.test/'))).toBe('E_NETWORK_CLOSED')
  await kit.egress.policy.put({ for: ['any'], effect: 'allow', host: '*' })
  for (const host of ['127.0.0.1', '2130706433', '[::ffff:127.0.0.1]', '169.254.169.254'])
    expect(await value(caught(`http://${host}/`))).toBe('E_NETWORK_CLOSED')
  expect(await value(caught('http://nobody.test/'))).toBe('E_UNREACHABLE')
  expect(await value(caught('ftp://a.test/'))).toBe('E_HOST_CALL')
})

test('redirects are judged one by one, and credentials of the program stay with their origin', async () => {
  const seen: (string | undefined)[] = []
  const port = await kit.http((request, response) => {
    seen.push(request.headers.authorization)
    if (request.url === '/go') response.writeHead(302, { location: `http://b.test:${port}/end` }).end()
    else if (request.url === '/in') response.writeHead(302, { location: 'http://169.254.169.254/' }).end()
    else if (request.url === '/loop') response.writeHead(302, { location: '/loop' }).end()
    else response.end('end')
  })
  await kit.allow({ host: kit.name('a.test'), ports: [port] })
  await kit.allow({ host: kit.name('b.test'), ports: [port] })
  expect(
    await value(
      `const r = await fetch('http://a.test:${port}/go', { headers: { authorization: 'mine' } }); return [r.redirected, r.url, await r.text()]`,
    ),
  ).toEqual([true, `http://b.test:${port}/end`, 'end'])
  expect(seen).toEqual(['mine', undefined])
  expect(await value(`return (await fetch('http://a.test:${port}/go', { redirect: 'manual' })).status`)).toBe(302)
  for (const [path, code] of [
    ['in', 'E_NETWORK_CLOSED'],
    ['loop', 'E_HOST_CALL'],
  ])
    expect(
      await value(`try { await fetch('http://a.test:${port}/${path}') } catch (error) { return error.code }`),
    ).toBe(code)
})

test('a response that breaks off is a lost connection, and no fault of the daemon', async () => {
  const port = await kit.http((_request, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('a part')
    setTimeout(() => response.destroy(), 50)
  })
  await kit.allow({ host: kit.name('a.test'), ports: [port] })
  const args = [{ method: 'GET', url: `http://a.test:${port}/`, headers: [], redirect: 'follow' }]
  const signal = new AbortController().signal
  await expect(fetches.fetch({}, JSON.stringify(args), signal)).rejects.toMatchObject({ code: 'E_UNREACHABLE' })
})

test.each([
  '',
  'null',
  '[]',
  '[{}]',
  '[{"method":"GET","url":"x","headers":[],"redirect":"follow"}]',
  '[{"method":"A B","url":"http://a/","headers":[],"redirect":"follow"}]',
  '[{"method":"GET","url":"http://a/","headers":[["a\\r\\nb","c"]],"redirect":"follow"}]',
])('a call that is no request: %j', async (args) => {
  await expect(fetches.fetch({}, args, new AbortController().signal)).rejects.toMatchObject({ code: 'E_HOST_CALL' })
})
