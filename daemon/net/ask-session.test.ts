import { expect, test } from 'vitest'
import { manyhands } from '../../proto/gen/wire.js'
import { AskSession } from './ask-session.ts'
import type { Scheduler } from './scheduler.ts'
import type { Wire, WireEvents } from './wire.ts'

/** A session over a wire that a test feeds, in a time that it moves. */
function asking() {
  let now = 0
  let due: { readonly at: number; readonly run: () => void }[] = []
  const scheduler: Scheduler = {
    now: () => now,
    soon: (run) => run(),
    after(ms, run) {
      const entry = { at: now + ms, run }
      due.push(entry)
      return () => void (due = due.filter((other) => other !== entry))
    },
  }
  const pass = async (ms: number): Promise<void> => {
    now += ms
    const over = due.filter(({ at }) => at <= now)
    due = due.filter(({ at }) => at > now)
    for (const { run } of over) run()
    await new Promise(setImmediate)
  }
  let events: WireEvents | undefined
  const wire: Wire = {
    writable: true,
    bulkRoom: () => Number.POSITIVE_INFINITY,
    send: () => true,
    attach: (to) => void (events = to),
    abort: () => undefined,
  }
  const session = new AskSession('peer', scheduler, () => undefined)
  session.bind(wire, () => undefined)
  return { session, pass, feed: (bytes: Uint8Array): void => events?.data(bytes) }
}

const reply = manyhands.Frame.encodeDelimited({ id: 1, reply: new Uint8Array(500_000) }).finish()

/** What came of the request so far. */
function outcome(answer: Promise<Uint8Array>): { result: unknown } {
  const seen: { result: unknown } = { result: 'open' }
  answer.then(
    ({ byteLength }) => (seen.result = byteLength),
    ({ code }: { code: string }) => (seen.result = code),
  )
  return seen
}

test('F11: an answer that a narrow link takes long to bring is waited for while it comes', async () => {
  const { session, pass, feed } = asking()
  const seen = outcome(session.request('list', new Uint8Array()))
  for (let at = 0; at < reply.length; at += 10_000) {
    await pass(1_000)
    feed(reply.subarray(at, at + 10_000))
  }
  await pass(0)
  expect(seen.result).toBe(500_000)
})

test('an answer that does not come, trickles, or is wanted in less time is not', async () => {
  for (const [bytesPerSecond, options] of [
    [0, {}],
    [1_000, {}],
    [10_000, { timeoutMs: 2_000 }],
  ] as const) {
    const { session, pass, feed } = asking()
    const seen = outcome(session.request('list', new Uint8Array(), options))
    for (let second = 0; second < 10; second++) {
      await pass(1_000)
      feed(reply.subarray(second * bytesPerSecond, (second + 1) * bytesPerSecond))
    }
    await pass(0)
    expect(seen.result).toBe('E_TIMEOUT')
  }
})

test('a request is not waited for longer than a frame takes over the slowest link, whatever else comes', async () => {
  const { session, pass, feed } = asking()
  const seen = outcome(session.request('list', new Uint8Array()))
  session.openChannel('any', new Uint8Array())
  for (let second = 0; second < 131; second++) {
    await pass(1_000)
    feed(manyhands.Frame.encodeDelimited({ id: 2, data: new Uint8Array(8_000) }).finish())
  }
  expect(seen.result).toBe('E_TIMEOUT')
})

test('a large request is given the time to be sent', async () => {
  const { session, pass, feed } = asking()
  const seen = outcome(session.request('deliver', new Uint8Array(500_000)))
  for (let second = 0; second < 30; second++) await pass(1_000)
  feed(manyhands.Frame.encodeDelimited({ id: 1, reply: new Uint8Array(1) }).finish())
  await pass(0)
  expect(seen.result).toBe(1)
})
