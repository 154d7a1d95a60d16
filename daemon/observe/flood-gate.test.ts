import { expect, test } from 'vitest'
import { FloodGate } from './flood-gate.ts'

test('twenty of a kind pass in a minute; the first of the next says how many did not', () => {
  let now = 0
  const gate = new FloodGate(() => now)
  const flood = (count: number): (number | undefined)[] => Array.from({ length: count }, () => gate.pass('a'))
  expect(flood(20)).toEqual(Array.from({ length: 20 }, () => 0))
  expect(flood(500).every((passed) => passed === undefined)).toBe(true)
  expect(gate.pass('b')).toBe(0)
  now = 60_000
  expect(gate.pass('a')).toBe(500)
  expect(gate.pass('a')).toBe(0)
})
