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
  const sink: OpSink = {
    data: (bytes) => void seen.push(Buffer.from(bytes).toString()),
    finish: () => void seen.push('end'),
    control: () => undefined,
  }
  return { seen, sink }
}

describe('what an asker sends first', () => {
  it('is held until its end when it is little', async () => {
    const { link, send, finish } = asker()
    const held = holdFirst(link, 6)
    for (const text of ['abc', 'def']) void send(text)
    finish()
    const { whole, link: rest } = await held
    const { seen, sink } = taker()
    rest.receive(sink)
    expect([whole, seen]).toEqual([true, ['abc', 'def', 'end']])
  })

  it('is given on with what follows once it is more', async () => {
    const { link, send, finish } = asker()
    const held = holdFirst(link, 5)
    for (const text of ['abc', 'def', 'ghi']) void send(text)
    const { whole, link: rest } = await held
    const { seen, sink } = taker()
    rest.receive(sink)
    void send('jkl')
    finish()
    expect([whole, seen]).toEqual([false, ['abc', 'def', 'ghi', 'jkl', 'end']])
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
