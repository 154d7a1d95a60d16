import { describe, expect, test } from 'vitest'
import { dueAt } from './task-row.ts'

const DAY_MS = 24 * 3600 * 1000

describe('F24 the deadline of a task', () => {
  test('is its whole time after it was created', () => {
    expect(dueAt({ createdAtMs: 1_000, deadlineMs: 500 }, 70, 1_000)).toBe(570)
    expect(dueAt({ createdAtMs: 1_000, deadlineMs: undefined }, 70, 1_000)).toBeUndefined()
  })

  test('is what was left of it when the daemon comes back', () => {
    expect(dueAt({ createdAtMs: 1_000, deadlineMs: 500 }, 70, 1_200)).toBe(370)
    expect(dueAt({ createdAtMs: 1_000, deadlineMs: 500 }, 70, 9_000)).toBe(70)
  })

  test('never grows because the wall clock was set back meanwhile', () => {
    expect(dueAt({ createdAtMs: 1_000 + 3 * DAY_MS, deadlineMs: 500 }, 70, 1_000)).toBe(570)
  })
})
