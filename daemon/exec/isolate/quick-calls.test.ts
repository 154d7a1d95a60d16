import { expect, test } from 'vitest'
import { QuickCalls } from './quick-calls.ts'

const after = (...milliseconds: number[]): QuickCalls => {
  const quick = new QuickCalls()
  for (const ms of milliseconds) quick.elsewhere(ms)
  return quick
}
const short = Array.from({ length: 16 }, () => 0.1)

test('a session is trusted with this thread after a row of short entries, and not before', () => {
  expect(new QuickCalls().allowed).toBe(false)
  expect(after(...short.slice(1)).allowed).toBe(false)
  expect(after(...short).allowed).toBe(true)
})

test('a long entry begins the row anew', () => {
  expect(after(...short.slice(1), 50, 0.1).allowed).toBe(false)
  expect(after(...short.slice(1), 50, ...short).allowed).toBe(true)
})

test('one long entry on this thread is enough to lose it for a long time', () => {
  const quick = after(...short)
  quick.here(0.1)
  expect(quick.allowed).toBe(true)
  quick.here(5)
  for (const ms of short) quick.elsewhere(ms)
  expect(quick.allowed).toBe(false)
  for (let entry = 0; entry < 1_024; entry++) quick.elsewhere(0.1)
  expect(quick.allowed).toBe(true)
})
