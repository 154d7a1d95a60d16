import { describe, expect, it } from 'vitest'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { Leases } from './leases.ts'
import { SANDBOX_DESK_RECORDS } from './records.ts'

const LEASE_MS = 100_000
const SILENCE_MS = 10_000

function start(journal = new MemoryJournal({ types: SANDBOX_DESK_RECORDS })) {
  /** What a removal comes to */
  const removal = { run: (): Promise<void> => Promise.resolve() }
  /** What putting one to sleep comes to */
  const sleep = { run: (): Promise<void> => Promise.resolve() }
  const happened: string[] = []
  let now = 1_000
  const leases = new Leases({
    ...{ journal, leaseMs: LEASE_MS, silenceMs: SILENCE_MS },
    onSilent: (id) => {
      happened.push(`silent ${id}`)
      return sleep.run()
    },
    onExpired: (id) => {
      happened.push(`expired ${id}`)
      return removal.run()
    },
    now: () => now,
  })
  /** Time passes in small steps, as the daemon counts it. */
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 1_000) {
      now += Math.min(left, 1_000)
      leases.tick()
      await new Promise(setImmediate)
    }
  }
  return { journal, leases, happened, removal, sleep, pass, jump: (ms: number) => (now += ms) }
}

describe('leases of sandboxes', () => {
  it('sleep once when the owner falls silent, and are over after the whole lease of silence', async () => {
    const { leases, happened, pass } = start()
    leases.add('a', 'owner')
    leases.add('b', 'owner')
    for (let n = 0; n < 50; n++) {
      await pass(SILENCE_MS / 2)
      leases.renewed('a')
      leases.renewed('b')
    }
    expect(happened).toEqual([])
    for (let n = 0; n < 10; n++) {
      await pass(SILENCE_MS / 2)
      leases.renewed('b')
    }
    expect(happened).toEqual(['silent a'])
    await pass(LEASE_MS + SILENCE_MS)
    expect(happened).toEqual(['silent a', 'silent b', 'expired a', 'expired b'])
    expect(leases.of('owner')).toEqual([])
  })

  it('sleep as soon as they can when they cannot at once, and then no more', async () => {
    const { leases, happened, sleep, pass } = start()
    leases.add('a', 'owner')
    sleep.run = () => Promise.reject(new Error('the engine does not answer'))
    await pass(SILENCE_MS + 2_000)
    expect(happened.length).toBeGreaterThan(1)
    sleep.run = () => Promise.resolve()
    await pass(1_000)
    const before = happened.length
    await pass(SILENCE_MS)
    expect(happened.length).toBe(before)
  })

  it('begin anew with every sign, and fall silent again', async () => {
    const { leases, happened, pass } = start()
    leases.add('a', 'owner')
    await pass(LEASE_MS)
    leases.renewed('a')
    await pass(LEASE_MS)
    expect(happened).toEqual(['silent a', 'silent a'])
    await pass(SILENCE_MS)
    expect(happened).toEqual(['silent a', 'silent a', 'expired a'])
  })

  it('do not count the time in which the node was off, and count on from where they were', async () => {
    const first = start()
    first.leases.add('a', 'owner')
    await first.pass(SILENCE_MS + LEASE_MS / 2)
    const second = start(first.journal)
    second.jump(10 * LEASE_MS)
    second.leases.adopt('a', 'owner')
    second.leases.tick()
    expect(second.happened).toEqual([])
    await second.pass(SILENCE_MS + LEASE_MS / 4)
    expect(second.happened).toEqual(['silent a'])
    // What was not stored yet is given again: at most a quarter of it
    await second.pass(LEASE_MS / 2)
    expect(second.happened).toEqual(['silent a', 'expired a'])
    expect(second.journal.get('sandbox-lease', 'a')).toBeUndefined()
  })

  it('end only when the sandbox is removed: what cannot be removed now is tried again, unless its owner comes back', async () => {
    const { journal, leases, happened, removal, pass } = start()
    removal.run = () => Promise.reject(new Error('the disk is full'))
    leases.add('a', 'owner')
    leases.add('b', 'owner')
    await pass(LEASE_MS + SILENCE_MS)
    expect(happened.filter((one) => one === 'expired a').length).toBeGreaterThan(1)
    expect(leases.of('owner')).toEqual(['a', 'b'])
    expect(journal.get('sandbox-lease', 'a')).toBeDefined()
    leases.renewed('b')
    removal.run = () => Promise.resolve()
    await pass(1_000)
    expect(leases.of('owner')).toEqual(['b'])
    expect(journal.get('sandbox-lease', 'a')).toBeUndefined()
    const before = happened.length
    await pass(SILENCE_MS / 2)
    expect(happened.length).toBe(before)
  })

  it('are not ended twice while the removal takes long', async () => {
    const { leases, happened, removal, pass } = start()
    const { promise, resolve } = Promise.withResolvers<void>()
    removal.run = () => promise
    leases.add('a', 'owner')
    await pass(2 * LEASE_MS)
    expect(happened).toEqual(['silent a', 'expired a'])
    resolve()
    await new Promise(setImmediate)
    expect(leases.of('owner')).toEqual([])
  })
})
