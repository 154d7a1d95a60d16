import { expect, test } from 'vitest'
import { Keeper } from './keeper.ts'

/** A scheduler whose time a test moves. */
function clock() {
  let now = 0
  const due: { at: number; run: () => void }[] = []
  return {
    now: () => now,
    soon: (run: () => void) => queueMicrotask(run),
    after(ms: number, run: () => void) {
      const entry = { at: now + ms, run }
      due.push(entry)
      return () => void due.splice(due.indexOf(entry), due.includes(entry) ? 1 : 0)
    },
    async pass(ms: number) {
      const end = now + ms
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve))
        const next = due.sort((a, b) => a.at - b.at)[0]
        if (next === undefined || next.at > end) break
        due.shift()
        now = next.at
        next.run()
      }
      now = end
    },
  }
}

test('a peer that closes each connection as soon as it is there is dialed with pauses that grow', async () => {
  const scheduler = clock()
  let dials = 0
  const keeper: Keeper = new Keeper({
    scheduler,
    isConnected: () => false,
    random: () => 1,
    dial: async ({ peer }) => {
      dials++
      keeper.peerUp(peer)
      keeper.peerDown(peer)
    },
  })
  keeper.keep([{ peer: 'p', addresses: [] }])
  await scheduler.pass(120_000)
  expect(dials).toBeLessThan(15)
  keeper.stop()
})

test('a connection that lasted starts the pauses anew', async () => {
  const scheduler = clock()
  const dialedAt: number[] = []
  let isUp = false
  const keeper: Keeper = new Keeper({
    scheduler,
    isConnected: () => isUp,
    random: () => 1,
    dial: async () => void dialedAt.push(scheduler.now()),
  })
  keeper.keep([{ peer: 'p', addresses: [] }])
  await scheduler.pass(60_000)
  isUp = true
  keeper.peerUp('p')
  await scheduler.pass(60_000)
  isUp = false
  keeper.peerDown('p')
  dialedAt.length = 0
  await scheduler.pass(1_000)
  expect(dialedAt[0]).toBe(120_300)
  keeper.stop()
})
