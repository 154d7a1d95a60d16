import { describe, expect, it } from 'vitest'
import { holdFirst } from './hold-first.ts'
import type { OpLink, OpSink } from './op-link.ts'

/** An asker that sends when told to. */
function asker() {
  const gone = new AbortController()
  const given: { sink?: OpSink } = {}
  const link: OpLink = {
    send: async () => undefined,
    finish: () => undefined,
    receive: (sink) => void (given.sink = sink),
    signal: gone.signal,
  }
  return { link, gone, send: (text: string) => given.sink?.data(Buffer.from(text)), finish: () => given.sink?.finish() }
}

function taker() {
  const seen: string[] = []
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  const sink: OpSink = {
    data: (bytes) => void seen.push(Buffer.from(bytes).toString()),
    finish() {
      seen.push('end')
      resolve()
    },
    control: () => undefined,
  }
  return { seen, sink, ended }
}

describe('what an asker sends first', () => {
  it('is held until its end when it is little', async () => {
    const { link, send, finish } = asker()
    const held = holdFirst(link, 6)
    for (const text of ['abc', 'def']) void send(text)
    finish()
    const { whole, link: rest } = await held
    const { seen, sink, ended } = taker()
    rest.receive(sink)
    await ended
    expect([whole, seen]).toEqual([true, ['abc', 'def', 'end']])
  })

  it('is given on with what follows once it is more', async () => {
    const { link, send, finish } = asker()
    const held = holdFirst(link, 5)
    for (const text of ['abc', 'def', 'ghi']) void send(text)
    const { whole, link: rest } = await held
    const { seen, sink, ended } = taker()
    rest.receive(sink)
    void send('jkl')
    finish()
    await ended
    expect([whole, seen]).toEqual([false, ['abc', 'def', 'ghi', 'jkl', 'end']])
  })

  it('does not grow while nobody takes it: the asker waits, and goes on as fast as it is taken', async () => {
    const { link, send, finish } = asker()
    const held = holdFirst(link, 5)
    let sent = 0
    const sending = (async () => {
      for (; sent < 100; sent++) await send('abc')
      finish()
    })()
    const { whole, link: rest } = await held
    await new Promise(setImmediate)
    expect([whole, sent]).toEqual([false, 1])
    const { seen, sink, ended } = taker()
    let most = 0
    let taking = 0
    rest.receive({
      ...sink,
      data: async (bytes) => {
        most = Math.max(most, ++taking)
        await new Promise(setImmediate)
        taking--
        await sink.data(bytes)
      },
    })
    await Promise.all([sending, ended])
    expect([seen.length, most]).toEqual([101, 1])
  })

  it('lets the asker go when it leaves while it waits', async () => {
    const { link, gone, send } = asker()
    const held = holdFirst(link, 2)
    const waiting = Promise.resolve(send('abc'))
    await held
    gone.abort(new Error('gone'))
    await expect(waiting).rejects.toThrow('gone')
  })

  it('is nothing at all', async () => {
    const { link, finish } = asker()
    const held = holdFirst(link, 5)
    finish()
    expect((await held).whole).toBe(true)
  })

  it('is dropped when the asker goes', async () => {
    const { link, gone, send } = asker()
    const held = holdFirst(link, 5)
    void send('abc')
    gone.abort(new Error('gone'))
    await expect(held).rejects.toThrow('gone')
  })
})
