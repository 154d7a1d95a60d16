import { expect, test, vi } from 'vitest'
import type { Channel } from '../net/mesh-net.ts'
import { ServedOrder } from './served-order.ts'
import { TaskChannel, type TaskMessage } from './task-channel.ts'

/** Two ends in one: what is sent arrives, but after each message the window is used up until `open` is called. */
class NarrowChannel implements Channel {
  readonly peer = 'peer'
  readonly ended: Promise<Error | undefined>
  #end: (error: Error | undefined) => void = () => undefined
  #handler: ((bytes: Uint8Array) => unknown) | undefined
  #waiting: (() => void)[] = []

  constructor() {
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }
  onTaken(): void {}
  onMessage(handler: (bytes: Uint8Array) => unknown): void {
    this.#handler = handler
  }
  send(bytes: Uint8Array): boolean {
    this.#handler?.(bytes)
    return false
  }
  sendAhead(bytes: Uint8Array): void {
    this.send(bytes)
  }
  drained(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }
  close(): void {
    this.#end(undefined)
  }
  abort(error: Error): void {
    this.#end(error)
  }
  /** Until nobody waits for more than a turn. */
  async open(): Promise<void> {
    await new Promise(setImmediate)
    while (this.#waiting.length > 0) {
      for (const resolve of this.#waiting.splice(0)) resolve()
      await new Promise(setImmediate)
    }
  }
}

const kindOf = (message: TaskMessage): string => message.body ?? '?'

test('messages keep their order when one goes in parts; what concerns the lease goes ahead', async () => {
  const narrow = new NarrowChannel()
  const got: string[] = []
  const channel = new TaskChannel(narrow, (message) => void got.push(kindOf(message)))
  channel.send({ reply: { id: 1, output: new Uint8Array(700_000) } })
  channel.send({ reply: { id: 2, output: new Uint8Array(5) } })
  channel.send({ result: { again: true } })
  channel.send({ renew: { epoch: 1, number: 1 } })
  channel.close()
  await narrow.open()
  expect(got).toEqual(['renew', 'reply', 'reply', 'result'])
  expect(await narrow.ended).toBeUndefined()
})

test('a bind that comes slowly is waited for; one that stops coming is not', async () => {
  vi.useFakeTimers()
  try {
    const narrow = new NarrowChannel()
    const error = narrow.ended
    let refused: Error | undefined
    void error.then((reason) => (refused = reason))
    const unused = (): never => {
      throw new Error('there is no bind')
    }
    const served = new ServedOrder(narrow, {
      accept: unused,
      take: unused,
      resume: unused,
      tenure: unused,
      hold: () => undefined,
      ended: () => undefined,
    })
    const part = new Uint8Array((16 << 10) + 1).fill(1)
    for (let time = 0; time < 5; time++) {
      await vi.advanceTimersByTimeAsync(15_000)
      narrow.send(part)
    }
    await vi.advanceTimersByTimeAsync(19_000)
    expect(refused).toBeUndefined()
    await vi.advanceTimersByTimeAsync(2_000)
    expect(refused).toMatchObject({ code: 'E_TIMEOUT' })
    expect(served.boundOrder).toBeUndefined()
  } finally {
    vi.useRealTimers()
  }
})

test('what waits is bounded: the sender can ask, and one that does not ask loses the channel', async () => {
  const narrow = new NarrowChannel()
  const channel = new TaskChannel(narrow, () => undefined)
  const output = new Uint8Array(8 << 20)
  expect(channel.roomy()).toBeUndefined()
  while (channel.takes(output.length + 32)) channel.send({ reply: { id: 1, output } })
  const roomy = channel.roomy()
  expect(roomy).toBeInstanceOf(Promise)
  await narrow.open()
  await roomy
  expect(channel.takes(output.length)).toBe(true)
  for (let i = 0; i < 8; i++) channel.send({ reply: { id: 1, output } })
  expect(await narrow.ended).toMatchObject({ code: 'E_OVERLOADED' })
})

test('a message in parts comes in parts of their size: a peer cannot send it byte by byte', async () => {
  for (const bytes of [0, 1]) {
    const narrow = new NarrowChannel()
    void new TaskChannel(narrow, () => undefined)
    narrow.send(Uint8Array.of(1, ...new Uint8Array(bytes)))
    narrow.close()
    expect(await narrow.ended).toMatchObject({ code: 'E_PROTOCOL' })
  }
})
