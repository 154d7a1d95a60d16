import { expect, test } from 'vitest'
import { BulkPace } from './bulk-pace.ts'

const MOST = 2 << 20

/** A writer that always has more to send, on a link of so many bytes per millisecond; what the pace comes to. */
function settled(rate: number): number {
  const pace = new BulkPace(MOST)
  for (let n = 0; n < 20; n++) pace.took(pace.bytes / 2, pace.bytes / 2 / rate)
  return pace.bytes
}

test('F11: what may be on the way takes half a second, within bounds', () => {
  expect(settled(100_000)).toBe(MOST)
  expect(settled(125)).toBeCloseTo(62_500, -2)
  expect(settled(8)).toBe(16 << 10)
})

test('one look at a fast link is enough', () => {
  const pace = new BulkPace(MOST)
  pace.took(64 << 10, 2)
  expect(pace.bytes).toBe(MOST)
})

test('a link that becomes slow is noticed by halves, and not from a short wait', () => {
  const pace = new BulkPace(MOST)
  pace.took(64 << 10, 2)
  pace.took(0, 10)
  expect(pace.bytes).toBe(MOST)
  pace.took(1_000, 1_000)
  expect(pace.bytes).toBe(MOST / 2)
})

test('nothing on the way is no reason to stop', () => {
  const pace = new BulkPace(MOST)
  for (let n = 0; n < 50; n++) pace.took(0, 60_000)
  expect(pace.bytes).toBe(16 << 10)
})
