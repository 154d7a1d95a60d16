import { afterEach, describe, expect, it } from 'vitest'
import { DUPLEX } from '../../../protocol/api.ts'
import { FrameBatch } from '../../../protocol/duplex-frame.ts'
import { openDuplex } from '../testing/duplex-client.ts'
import { dial, startTestApi, type TestApi, type TestApiOptions } from '../testing/test-api.ts'
import { DUPLEX_LIMITS } from './limits.ts'

const { type } = DUPLEX
const open: TestApi[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()))
})
async function start(options: TestApiOptions = {}): Promise<TestApi> {
  const api = await startTestApi({ tcp: false, ...options })
  open.push(api)
  return api
}
const json = (frame: { text: string } | undefined): unknown => JSON.parse(frame?.text ?? 'null')

describe('the duplex', () => {
  it('runs a program with host functions', async () => {
    const client = await openDuplex(await start())
    client.send(1, type.run, { program: { source: 'host' }, input: 'add', hostFunctions: ['add'], key: 'k' })
    const call = await client.frame(1, type.hostCall)
    expect(json(call)).toEqual({ name: 'add', args: [1] })
    client.sendId(1, type.hostResult, call?.id ?? 0, '{"sum":2}')
    expect(json(await client.frame(1, type.end))).toMatchObject({ state: 'completed', output: { sum: 2 } })
    expect(json(await client.frame(1, type.opened))).toEqual({ task: 't1', lease: { node: 'n1', epoch: 1 } })
    client.socket.destroy()
  })

  it('passes on that a host function failed, and logs', async () => {
    const client = await openDuplex(await start())
    client.send(1, type.run, { program: { source: 'host' }, input: 'f', hostFunctions: ['f'] })
    client.sendId(
      1,
      type.hostFailed,
      (await client.frame(1, type.hostCall))?.id ?? 0,
      '{"code":"ENOENT","message":"none"}',
    )
    expect(json(await client.frame(1, type.end))).toMatchObject({
      state: 'failed',
      error: { code: 'E_HOST_CALL', message: 'none' },
    })
    client.send(2, type.run, { program: { source: 'log' }, hostFunctions: [] })
    expect(json(await client.frame(2, type.log))).toEqual({ type: 'log', level: 'info', text: 'a line', node: 'n1' })
    client.socket.destroy()
  })

  it('refuses a run as a problem and stays usable', async () => {
    const client = await openDuplex(await start())
    client.send(1, type.run, { program: { source: 'syntax' }, hostFunctions: [] })
    client.send(2, type.run, { program: {}, hostFunctions: [] })
    client.send(3, type.run, '{"__proto__":1}')
    client.send(4, type.session, { program: { source: 'echo' } })
    expect(json(await client.frame(1, type.problem))).toMatchObject({ code: 'E_SYNTAX', failure: { line: 3 } })
    for (const channel of [2, 3])
      expect(json(await client.frame(channel, type.problem))).toMatchObject({ code: 'E_BAD_REQUEST' })
    expect(await client.frame(4, type.opened)).toBeDefined()
    client.socket.destroy()
  })

  it('passes thousands of calls of a session through, also those sent before it is open', async () => {
    const client = await openDuplex(await start())
    client.send(1, type.session, { program: { source: 'echo' } })
    for (let id = 0; id < 5_000; id++) client.sendId(1, type.call, id, `{"n": ${id}, "é": "€"}`)
    client.send(1, type.finish, '')
    expect(json(await client.frame(1, type.end))).toMatchObject({ state: 'completed', kind: 'session' })
    const replies = client.frames.filter((frame) => frame.type === type.reply)
    expect(replies.map(({ id, text }) => `${id} ${text}`)).toEqual(
      Array.from({ length: 5_000 }, (_, id) => `${id} {"n": ${id}, "é": "€"}`),
    )
    client.socket.destroy()
  })

  it('serves host calls and failures of a session, and cancels it', async () => {
    const client = await openDuplex(await start())
    client.send(1, type.session, { program: { source: 'host' }, hostFunctions: ['f'] })
    client.sendId(1, type.call, 7, '"f"')
    client.sendId(1, type.hostResult, (await client.frame(1, type.hostCall))?.id ?? 0, '42')
    expect(await client.frame(1, type.reply)).toMatchObject({ id: 7, text: '42' })
    client.send(1, type.cancel, '')
    expect(json(await client.frame(1, type.end))).toMatchObject({ state: 'canceled' })
    client.send(2, type.session, { program: { source: 'fail' } })
    client.sendId(2, type.call, 1, '1')
    expect(json(await client.frame(2, type.callFailed))).toMatchObject({ code: 'E_GUEST' })
    client.socket.destroy()
  })

  it('ends what has host functions when the client goes away, and lets other runs go on', async () => {
    const api = await start()
    const client = await openDuplex(api)
    client.send(1, type.run, { program: { source: 'host' }, input: 'f', hostFunctions: ['f'] })
    client.send(2, type.run, { program: { source: 'wait' }, hostFunctions: [] })
    client.send(3, type.session, { program: { source: 'echo' } })
    for (const channel of [1, 2, 3]) await client.frame(channel, type.opened)
    client.socket.destroy()
    await expect
      .poll(() => ['t1', 't2', 't3'].map((id) => api.tasks.get(id)?.state))
      .toEqual(['canceled', 'working', 'canceled'])
    expect(api.server.clients().duplexes).toBe(0)
  })

  it('answers pings, sends its own, and drops a client that is silent', async () => {
    const api = await start({ flags: { 'api.heartbeatMs': '100' } })
    const client = await openDuplex(api)
    client.send(0, type.ping, '')
    expect(await client.frame(0, type.pong)).toBeDefined()
    expect(await client.frame(0, type.ping)).toBeDefined()
    await client.closed
    expect(api.server.clients().duplexes).toBe(0)
  })

  it.each([
    [
      'a frame on a channel that is not open',
      (client: Awaited<ReturnType<typeof openDuplex>>) => client.sendId(5, type.call, 1, '1'),
    ],
    [
      'a frame only the daemon sends',
      (client: Awaited<ReturnType<typeof openDuplex>>) => client.send(1, type.opened, '{}'),
    ],
    [
      'no frame at all',
      (client: Awaited<ReturnType<typeof openDuplex>>) => client.socket.write(Buffer.alloc(64, 0xff)),
    ],
    ['a call without an id', (client: Awaited<ReturnType<typeof openDuplex>>) => client.send(1, type.call, 'x')],
    [
      'a channel number used twice',
      (client: Awaited<ReturnType<typeof openDuplex>>) => {
        client.send(2, type.run, { program: { source: 'syntax' }, hostFunctions: [] })
        client.send(2, type.run, {})
      },
    ],
  ])('API-09 ends the connection at %s', async (_, act) => {
    const client = await openDuplex(await start())
    client.send(1, type.session, { program: { source: 'echo' } })
    act(client)
    expect(json(await client.frame(0, type.problem))).toMatchObject({ code: 'E_PROTOCOL' })
    await client.closed
  })

  it('API-09 looks at nothing that came behind what ended the connection', async () => {
    const api = await start()
    const client = await openDuplex(api)
    const batch = new FrameBatch()
    batch.idText(9, type.call, 1, '1')
    batch.text(10, type.run, '{"program":{"source":"host"},"input":"f","hostFunctions":["f"]}')
    for (const part of batch.take()) client.socket.write(part)
    await client.closed
    expect(json(await client.frame(0, type.problem))).toMatchObject({ code: 'E_PROTOCOL' })
    expect(api.tasks.callers).toEqual([])
  })

  it('API-09 bounds channels, open calls and their bytes with typed refusals', async () => {
    const client = await openDuplex(await start())
    client.send(1, type.session, { program: { source: 'wait' } })
    for (let id = 0; id <= DUPLEX_LIMITS.openCalls; id++) client.sendId(1, type.call, id, '1')
    expect(await client.frame(1, type.callFailed)).toMatchObject({
      id: DUPLEX_LIMITS.openCalls,
      text: expect.stringContaining('E_OVERLOADED') as string,
    })
    for (let channel = 2; channel <= DUPLEX_LIMITS.channels + 1; channel++)
      client.send(channel, type.session, { program: { source: 'echo' } })
    expect(json(await client.frame(DUPLEX_LIMITS.channels + 1, type.problem))).toMatchObject({ code: 'E_OVERLOADED' })
    client.socket.destroy()
  })

  it('stops reading from a client that does not read, and goes on when it does', async () => {
    const api = await start()
    const client = await openDuplex(api)
    client.send(1, type.session, { program: { source: 'echo' } })
    await client.frame(1, type.opened)
    client.socket.pause()
    const input = JSON.stringify('x'.repeat(100_000))
    const calls = 200
    for (let id = 0; id < calls; id++) client.sendId(1, type.call, id, input)
    await new Promise((resolve) => setTimeout(resolve, 200))
    // What was not read lies with the client: the daemon took little more than it could hand back
    expect(client.socket.writableLength).toBeGreaterThan(1 << 20)
    client.socket.resume()
    await expect
      .poll(() => client.frames.filter((frame) => frame.type === type.reply).length, { timeout: 10_000 })
      .toBe(calls)
    client.socket.destroy()
  })

  it('fails the calls whose results a client does not take, and ends its runs once it does, on a connection that lives on', async () => {
    const client = await openDuplex(await start())
    client.send(1, type.session, { program: { source: 'large' } })
    await client.frame(1, type.opened)
    client.socket.pause()
    const calls = 100
    for (let id = 0; id < calls; id++) client.sendId(1, type.call, id, '1')
    const runs = Array.from({ length: 100 }, (_, index) => index + 2)
    for (const channel of runs) client.send(channel, type.run, { program: { source: 'large' }, hostFunctions: [] })
    const answers = () => client.frames.filter((frame) => frame.type === type.reply || frame.type === type.callFailed)
    // The daemon has taken all of it long before
    await new Promise((resolve) => setTimeout(resolve, 500))
    client.socket.resume()
    await expect.poll(() => answers().length, { timeout: 10_000 }).toBe(calls)
    const refused = answers().filter((frame) => frame.type === type.callFailed)
    expect(refused.length).toBeLessThan(calls)
    for (const frame of refused) expect(json(frame)).toMatchObject({ code: 'E_OVERLOADED' })
    for (const channel of runs) expect(await client.frame(channel, type.end)).toBeDefined()
    client.sendId(1, type.call, calls, '1')
    await expect.poll(() => answers().at(-1)).toMatchObject({ id: calls, type: type.reply })
    client.socket.destroy()
  })

  it('drains: channels may end, then learn that the daemon stops', async () => {
    const api = await start()
    const client = await openDuplex(api)
    const idle = await openDuplex(api)
    client.send(1, type.session, { program: { source: 'echo' } })
    await client.frame(1, type.opened)
    const closing = api.server.close(300)
    client.sendId(1, type.call, 1, '"still here"')
    expect((await client.frame(1, type.reply))?.text).toBe('"still here"')
    client.send(2, type.session, { program: { source: 'echo' } })
    expect(json(await client.frame(2, type.problem))).toMatchObject({ code: 'E_STOPPING' })
    expect(json(await idle.frame(0, type.problem))).toMatchObject({ code: 'E_STOPPING' })
    expect(json(await client.frame(0, type.problem))).toMatchObject({ code: 'E_STOPPING' })
    await closing
    await client.closed
  })

  it('needs the upgrade', async () => {
    const api = await start()
    const socket = await dial(api)
    let text = ''
    socket.on('data', (part: Buffer) => (text += part.toString()))
    socket.write(`GET /v0/duplex HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${api.token}\r\n\r\n`)
    await expect.poll(() => text).toContain('426')
    socket.destroy()
  })
})
