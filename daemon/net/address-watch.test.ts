import { expect, test } from 'vitest'
import { AddressWatch } from './address-watch.ts'
import type { Scheduler } from './scheduler.ts'

/** Runs what is due when told to. */
class ByHand implements Scheduler {
  #due: (() => void)[] = []

  now(): number {
    return 0
  }

  after(_ms: number, run: () => void): () => void {
    this.#due.push(run)
    return () => {
      this.#due = this.#due.filter((one) => one !== run)
    }
  }

  soon(run: () => void): void {
    run()
  }

  look(): void {
    for (const run of this.#due.splice(0)) run()
  }
}

test('a change is told once, another order is none, and after the end nothing is', () => {
  const scheduler = new ByHand()
  let now = ['/ip4/10.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/1']
  let told = 0
  const watch = new AddressWatch({ scheduler, read: () => now, onChange: () => told++ })
  scheduler.look()
  now = now.toReversed()
  scheduler.look()
  expect(told).toBe(0)
  now = ['/ip4/10.0.0.2/tcp/1', '/ip4/127.0.0.1/tcp/1']
  scheduler.look()
  scheduler.look()
  expect(told).toBe(1)
  now = []
  watch.stop()
  scheduler.look()
  expect(told).toBe(1)
})
