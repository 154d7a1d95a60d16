/** A session whose node answers with anything: the calls it lies about fail, the others do not. */
import { beforeEach, describe, expect, it } from 'vitest'
import { type Channel, type ChannelListener, type Duplex, FRAME } from './duplex.ts'
import { ManyhandsError } from './errors.ts'
import { Session } from './session.ts'

let listener: ChannelListener
let sent: { readonly type: number; readonly id: number; readonly text: string }[]
const channel: Channel = {
  send: (type, text) => void sent.push({ type, id: 0, text }),
  sendWithId: (type, id, text) => void sent.push({ type, id, text }),
  sendData: () => undefined,
  sendCredit: () => undefined,
  release: () => undefined,
}
/** Never answers */
const silent: Duplex = {
  open: (_type, _body, given: ChannelListener) => {
    listener = given
    return channel
  },
}
const duplex: Duplex = {
  open: (_type, _body, given: ChannelListener) => {
    listener = given
    queueMicrotask(() => listener.onFrame(FRAME.opened, 0, '{"task":"t1"}'))
    return channel
  },
}
const program = { source: 'export default (n, env) => env.double(n)' }
const double = (n: number): number => n * 2

beforeEach(() => {
  sent = []
})

describe('SDK-07 a session on a hostile node', () => {
  it.each([
    ['an output that is not JSON', FRAME.reply, '{"a":'],
    ['no output', FRAME.reply, ''],
    ['a failure that is not JSON', FRAME.callFailed, 'oops'],
    ['a failure of another shape', FRAME.callFailed, '{"code":5}'],
  ])('fails the call that is answered with %s, and no other', async (_, type, text) => {
    const session = await Session.open<number, number>(duplex, program, {})
    const [bad, good] = [session.call(1), session.call(2)]
    listener.onFrame(type, 1, text)
    listener.onFrame(FRAME.reply, 2, '4')
    await expect(bad).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    expect(await good).toBe(4)
    const later = session.call(3)
    listener.onFrame(FRAME.reply, 3, '6')
    expect(await later).toBe(6)
  })

  it.each(['{', '', 'null', '[]', '{"name":5,"args":[]}'])(
    'refuses the host call %j and serves others',
    async (text) => {
      await Session.open(duplex, program, { host: { double } })
      listener.onFrame(FRAME.hostCall, 1, text)
      listener.onFrame(FRAME.hostCall, 2, '{"name":"double","args":[21]}')
      await expect.poll(() => sent.length).toBe(2)
      expect(sent[0]).toMatchObject({ type: FRAME.hostFailed, id: 1 })
      expect(JSON.parse(sent[0]?.text ?? '')).toMatchObject({ code: 'E_PROTOCOL' })
      expect(sent[1]).toEqual({ type: FRAME.hostResult, id: 2, text: '42' })
    },
  )
})

describe('Session.open()', () => {
  it('rejects with the reason of its signal, also while no node has taken it, and has it canceled', async () => {
    const stop = new AbortController()
    const opening = Session.open(silent, program, { signal: stop.signal })
    stop.abort(new Error('enough'))
    await expect(opening).rejects.toThrow('enough')
    expect(sent.map(({ type }) => type)).toEqual([FRAME.cancel])
  })
})

describe('what a caller hands in', () => {
  it('ends the session whose onLog throws, with what it threw, and not the connection', async () => {
    const onLog = (): void => {
      throw new Error('no paper')
    }
    const session = await Session.open(duplex, program, { onLog })
    const call = session.call(1)
    listener.onFrame(FRAME.log, 0, '{"type":"log","level":"info","text":"a line","node":"n1"}')
    await expect(call).rejects.toThrow('no paper')
    await expect(session.ended).rejects.toThrow('no paper')
    expect(sent.map(({ type }) => type)).toEqual([FRAME.call, FRAME.cancel])
  })

  it('answers the guest also when a host function fails with more than fits in a frame', async () => {
    const complain = (): never => {
      throw new ManyhandsError('E_CONFLICT', 'no '.repeat(10 << 20))
    }
    await Session.open(duplex, program, { host: { complain } })
    listener.onFrame(FRAME.hostCall, 1, '{"name":"complain","args":[]}')
    await expect.poll(() => sent.length).toBe(1)
    expect(sent[0]).toMatchObject({ type: FRAME.hostFailed, id: 1 })
    expect(JSON.parse(sent[0]?.text ?? '')).toMatchObject({ code: 'E_CONFLICT' })
    expect(sent[0]?.text.length).toBeLessThan(64 << 10)
  })
})
