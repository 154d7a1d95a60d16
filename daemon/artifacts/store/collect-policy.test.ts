import { describe, expect, test } from 'vitest'
import {
  decideCollection,
  KEEP_MS,
  MAX_LOOSE,
  MAX_PACKS,
  MAX_UNMAPPED,
  QUIET_MS,
  type RepositoryFacts,
  retryMs,
} from './collect-policy.ts'

const NOW = 1_800_000_000_000
const facts = (some: Partial<RepositoryFacts>): RepositoryFacts => ({
  ...{ packs: 1, loose: 0, unmapped: 0, leftSince: undefined, staged: 0, quietMs: QUIET_MS },
  ...some,
})

describe('a repository', () => {
  test.each([
    ['at rest', {}, { type: 'rest' }],
    ['with as many packs as it may have', { packs: MAX_PACKS }, { type: 'rest' }],
    ['with more', { packs: MAX_PACKS + 1 }, { type: 'collect', why: 'packs' }],
    ['with many loose objects', { loose: MAX_LOOSE + 1 }, { type: 'collect', why: 'loose' }],
    ['with a large pack and no bitmap', { unmapped: MAX_UNMAPPED + 1 }, { type: 'collect', why: 'unmapped' }],
    ['with a small one', { unmapped: MAX_UNMAPPED }, { type: 'rest' }],
    ['that was left something lately', { leftSince: NOW - KEEP_MS + 1 }, { type: 'rest' }],
    ['that was left something long ago', { leftSince: NOW - KEEP_MS }, { type: 'collect', why: 'left' }],
    ['of a clock that went back', { leftSince: NOW + KEEP_MS }, { type: 'rest' }],
    ['in use', { packs: 99, quietMs: 1_000 }, { type: 'later', inMs: QUIET_MS - 1_000 }],
    ['while objects come in', { packs: 99, staged: 1 }, { type: 'later', inMs: 30_000 }],
    ['at rest while objects come in', { staged: 1 }, { type: 'rest' }],
  ] as const)('%s', (_, some, decision) => {
    expect(decideCollection(facts(some), NOW)).toEqual(decision)
  })
})

test('failures are tried again ever later, at most a day', () => {
  const waits = Array.from({ length: 40 }, (_, index) => retryMs(index + 1))
  expect(waits.slice(0, 3)).toEqual([600_000, 1_200_000, 2_400_000])
  expect(waits).toEqual(waits.toSorted((a, b) => a - b))
  expect(waits.at(-1)).toBe(86_400_000)
})
