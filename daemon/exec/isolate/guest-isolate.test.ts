import { expect, test } from 'vitest'
import type { GuestReply } from './guest/host-ops.ts'
import { GuestIsolate } from './guest-isolate.ts'
import { linkProgram } from './link-program.ts'

const MEMORY_BYTES = 32 << 20
const NOW = 1_700_000_000_000
const CONFIG = JSON.stringify({ hostFunctions: ['ask'], outputBytes: 4096, logLineBytes: 100, hostCallBytes: 4096 })
/** Shows all that a rehearsal could have left behind. */
const SOURCE = `const names = Object.getOwnPropertyNames(globalThis)
export default (input, env) => ({
  input, names, env: Object.keys(env), now: Date.now(), elapsed: performance.now(), long: 'x'.repeat(2000),
})`

async function run(guest: GuestIsolate): Promise<readonly GuestReply[]> {
  const replies = Promise.withResolvers<readonly GuestReply[]>()
  guest.own({
    log: () => undefined,
    call: () => undefined,
    wake: () => undefined,
    results: replies.resolve,
    abuse: (what) => replies.reject(new Error(what)),
    lost: (reason) => replies.reject(new Error(reason)),
  })
  guest.enter.applySync(undefined, [NOW, 'begin', CONFIG])
  const program = { main: 'main.js', modules: [{ name: 'main.js', type: 'js' as const, source: SOURCE }] }
  expect(await linkProgram(guest, program)).toBeUndefined()
  guest.start.arm(NOW, 7, '{"a":1}')
  await guest.start.root.evaluate()
  return replies.promise
}

test('a program sees no difference between an isolate that was rehearsed and one that was not', async () => {
  const fresh = new GuestIsolate(MEMORY_BYTES)
  const rehearsed = new GuestIsolate(MEMORY_BYTES)
  rehearsed.rehearse()
  try {
    const [expected, got] = [await run(fresh), await run(rehearsed)]
    expect(expected).toMatchObject([{ id: 7, ok: true }])
    expect(got).toEqual(expected)
  } finally {
    fresh.dispose()
    rehearsed.dispose()
  }
})
