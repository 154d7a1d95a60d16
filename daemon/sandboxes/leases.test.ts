import { describe, expect, it } from 'vitest'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { Leases } from './leases.ts'
import { SANDBOX_DESK_RECORDS } from './records.ts'

const LEASE_MS = 100_000
const SILENCE_MS = 10_000

function start(journal = new MemoryJournal({ types: SANDBOX_DESK_RECORDS })) {
  const happened: string[] = []
  let now = 1_000
  const leases = new Leases({
    ...{ journal, leaseMs: LEASE_MS, silenceMs: SILENCE_MS },
    onSilent: (id) => happened.push(`silent ${id}`),
    onExpired: (id) => happened.push(`expired ${id}`),
    now: () => now,
  })
  /** Time passes in small steps, as the daemon counts it. */
  const pass = (ms: number): void => {
    for (let left = ms; left > 0; left -= 1_000) {
      now += Math.min(left, 1_000)
      leases.tick()
    }
  }
  return { journal, leases, happened, pass, jump: (ms: number) => (now += ms) }
}

describe('leases of sandboxes', () => {
  it('sleep once when the owner falls silent, and are over after the whole lease of silence', () => {
    const { leases, happened, pass } = start()
    leases.add('a', 'owner')
    leases.add('b', 'owner')
    for (let n = 0; n < 50; n++) {
      pass(SILENCE_MS / 2)
      leases.renewed('a')
      leases.renewed('b')
    }
    expect(happened).toEqual([])
    for (let n = 0; n < 10; n++) {
      pass(SILENCE_MS / 2)
      leases.renewed('b')
    }
    expect(happened).toEqual(['silent a'])
    pass(LEASE_MS + SILENCE_MS)
    expect(happened).toEqual(['silent a', 'silent b', 'expired a', 'expired b'])
    expect(leases.of('owner')).toEqual([])
  })

  it('begin anew with every sign, and fall silent again', () => {
    const { leases, happened, pass } = start()
    leases.add('a', 'owner')
    pass(LEASE_MS)
    leases.renewed('a')
    pass(LEASE_MS)
    expect(happened).toEqual(['silent a', 'silent a'])
    pass(SILENCE_MS)
    expect(happened).toEqual(['silent a', 'silent a', 'expired a'])
  })

  it('do not count the time in which the node was off, and count on from where they were', () => {
    const first = start()
    first.leases.add('a', 'owner')
    first.pass(SILENCE_MS + LEASE_MS / 2)
    const second = start(first.journal)
    second.jump(10 * LEASE_MS)
    second.leases.adopt('a', 'owner')
    second.leases.tick()
    expect(second.happened).toEqual([])
    second.pass(SILENCE_MS + LEASE_MS / 4)
    expect(second.happened).toEqual(['silent a'])
    // What was not stored yet is given again: at most a quarter of it
    second.pass(LEASE_MS / 2)
    expect(second.happened).toEqual(['silent a', 'expired a'])
    expect(second.journal.get('sandbox-lease', 'a')).toBeUndefined()
  })
})
