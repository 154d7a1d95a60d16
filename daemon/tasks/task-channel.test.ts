import { expect, test } from 'vitest'
import type { Channel } from '../net/mesh-net.ts'
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
  onMessage(handler: (bytes: Uint8Array) => unknown): void {
    this.#handler = handler
  }
  send(bytes: Uint8Array): boolean {
    this.#handler?.(bytes)
    return false
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
