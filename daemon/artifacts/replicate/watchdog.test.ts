import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Watchdog } from './watchdog.ts'

const IDLE = 1_000
let dog: Watchdog
beforeEach(() => {
  vi.useFakeTimers()
  dog = new Watchdog('Testing', IDLE)
})
afterEach(() => {
  dog.stop()
  vi.useRealTimers()
})

function moves(bytes: number, periods: number): void {
  for (let period = 0; period < periods; period++) {
    dog.moved(bytes)
    vi.advanceTimersByTime(IDLE)
  }
}

test('ends what is silent', () => {
  moves(1, 2)
  expect(dog.signal.aborted).toBe(false)
  vi.advanceTimersByTime(IDLE)
  expect(dog.signal.reason).toMatchObject({ code: 'E_TIMEOUT' })
})

test('a peer that trickles bytes is ended, one that is only slow is not', () => {
  moves(4_096, 60)
  expect(dog.signal.aborted).toBe(false)
  moves(1, 20)
  expect(dog.signal.reason).toMatchObject({ code: 'E_TIMEOUT', message: 'Testing: 20 bytes moved in 20000 ms' })
})

test("this node's own work may take longer than a peer may be silent, but not for ever", () => {
  dog.ownWork()
  vi.advanceTimersByTime(29 * IDLE)
  expect(dog.signal.aborted).toBe(false)
  vi.advanceTimersByTime(IDLE)
  expect(dog.signal.reason).toMatchObject({ code: 'E_TIMEOUT' })
})
