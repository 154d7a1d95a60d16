import { afterEach, beforeEach, expect, test } from 'vitest'
import { MeshError } from '../../../protocol/errors.ts'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { KEEP_MS, MAX_PACKS, QUIET_MS } from './collect-policy.ts'
import { Collector } from './collector.ts'
import { ARTIFACT_RECORDS, TABLES } from './rows.ts'

const START = 1_800_000_000_000
let journal: MemoryJournal
let now: number
let packs: number
let staged: number
let left: boolean
let onLook: (tips: readonly string[]) => void
let fails: Error | undefined
let collected: string[]
let faults: string[]
let collector: Collector

beforeEach(() => {
  journal = new MemoryJournal({ types: ARTIFACT_RECORDS })
  now = 0
  packs = 1
  staged = 0
  left = false
  onLook = () => {}
  fails = undefined
  collected = []
  faults = []
  collector = open()
})
afterEach(() => collector.close())

function open(): Collector {
  return new Collector({
    journal,
    look: async () => ({ packs, loose: 0, unmapped: 0 }),
    staged: () => staged,
    isLeft: async (_id, tips) => {
      onLook(tips)
      return left
    },
    collect: async (id) => {
      collected.push(id)
      if (fails !== undefined) throw fails
    },
    onFault: (what) => faults.push(what),
    wallMs: () => START + now,
    now: () => now,
  })
}

const moved = (artifact: string, old: string | null = null) =>
  collector.changed({ artifact, type: 'moved', moves: [{ ref: 'refs/heads/main', old, new: 'b'.repeat(40) }] })

async function after(ms: number): Promise<void> {
  now += ms
  await collector.tick()
}

test('one with many packs is collected once it is quiet, and not again', async () => {
  packs = MAX_PACKS + 1
  moved('a')
  await after(QUIET_MS - 1)
  moved('a')
  await after(QUIET_MS - 1)
  expect(collected).toEqual([])
  await after(1)
  expect(collected).toEqual(['a'])
  await after(QUIET_MS)
  expect(collected).toEqual(['a'])
})

test('never while objects come in; after them it is', async () => {
  packs = MAX_PACKS + 1
  staged = 1
  moved('a')
  for (let tries = 0; tries < 5; tries++) await after(QUIET_MS)
  expect([collected, faults]).toEqual([[], []])
  staged = 0
  await after(QUIET_MS)
  expect(collected).toEqual(['a'])
})

test('what a ref moved away from is remembered over a restart and collected two weeks later', async () => {
  left = true
  moved('a', 'c'.repeat(40))
  await after(QUIET_MS)
  expect(journal.get(TABLES.left, 'a')).toBeDefined()
  await collector.close()
  collector = open()
  await after(KEEP_MS - QUIET_MS)
  expect(collected).toEqual([])
  await after(3_600_000)
  expect(collected).toEqual(['a'])
})

test('a move forward leaves nothing', async () => {
  moved('a', 'c'.repeat(40))
  await after(QUIET_MS)
  expect(journal.get(TABLES.left, 'a')).toBeUndefined()
})

test('after a failure later, and later still; others are not held up', async () => {
  packs = MAX_PACKS + 1
  fails = new Error('disk')
  moved('a')
  await after(QUIET_MS)
  expect([collected, faults]).toEqual([['a'], ['garbage of an artifact could not be collected yet']])
  await after(9 * 60_000)
  expect(collected).toEqual(['a'])
  await after(60_000)
  expect(collected).toEqual(['a', 'a'])
  fails = undefined
  await after(11 * 60_000)
  expect(collected).toHaveLength(2)
  moved('b')
  await after(QUIET_MS)
  expect(collected).toEqual(['a', 'a', 'b'])
  await after(20 * 60_000)
  expect(collected).toEqual(['a', 'a', 'b', 'a'])
})

test('what began to come in meanwhile is no failure, nor is one that was removed', async () => {
  packs = MAX_PACKS + 1
  fails = new MeshError('E_CONFLICT', 'coming in')
  moved('a')
  await after(QUIET_MS)
  fails = new MeshError('E_NOT_FOUND', 'gone')
  await after(QUIET_MS)
  await after(QUIET_MS)
  expect([collected, faults]).toEqual([['a', 'a'], []])
})

test('RES-05: one at a time, and what waits is bounded', async () => {
  packs = MAX_PACKS + 1
  for (let index = 0; index < 5_000; index++) moved(`a${index}`)
  now += QUIET_MS
  await Promise.all([collector.tick(), collector.tick()])
  expect(collected).toEqual(Array.from({ length: 64 }, (_, index) => `a${904 + index}`))
})

test('a removed one is forgotten, and nothing starts after the end', async () => {
  packs = MAX_PACKS + 1
  moved('a')
  moved('b')
  collector.changed({ artifact: 'a', type: 'removed', moves: [] })
  await after(QUIET_MS)
  expect(collected).toEqual(['b'])
  moved('c')
  await collector.close()
  await after(QUIET_MS)
  expect(collected).toEqual(['b'])
})

test('what a ref moved away from is looked for again when that failed, also after it moved once more', async () => {
  const [first, second] = ['c'.repeat(40), 'd'.repeat(40)]
  onLook = () => {
    moved('a', second)
    throw new Error('it did not end in time')
  }
  moved('a', first)
  await after(QUIET_MS)
  let looked: readonly string[] = []
  onLook = (tips) => {
    looked = tips
  }
  await after(24 * 3_600_000)
  expect(looked).toEqual([first, second])
})
