import { expect, test } from 'vitest'
import { FreshCopies, MAX_ASKED, MAX_COPIES } from './fresh-copies.ts'

test('a peer is asked once about a copy that came lately, and never about others', () => {
  const fresh = new FreshCopies()
  expect(fresh.asks('notes', 'south')).toBe(false)
  fresh.came('notes')
  expect(fresh.asks('notes', 'south')).toBe(true)
  expect(fresh.asks('notes', 'south')).toBe(false)
  expect(fresh.asks('notes', 'east')).toBe(true)
  expect(fresh.asks('other', 'east')).toBe(false)
})

test('a copy that came anew is asked about anew', () => {
  const fresh = new FreshCopies()
  fresh.came('notes')
  fresh.asks('notes', 'south')
  fresh.came('notes')
  expect(fresh.asks('notes', 'south')).toBe(true)
})

test('however many copies come and peers tell: only so many are kept', () => {
  const fresh = new FreshCopies()
  for (let n = 0; n <= MAX_COPIES; n++) fresh.came(`copy ${n}`)
  expect(fresh.asks('copy 0', 'south')).toBe(false)
  expect(fresh.asks('copy 1', 'south')).toBe(true)
  const asked = Array.from({ length: 2 * MAX_ASKED }, (_, n) => fresh.asks('copy 2', `peer ${n}`))
  expect(asked.filter(Boolean)).toHaveLength(MAX_ASKED)
})
