import { expect, test } from 'vitest'
import { lasting } from './event-stream.ts'

test('events that are listened to for good wait without end, also when no other time is given in so many words', () => {
  expect(lasting({}).reconnectMs).toBe(Number.POSITIVE_INFINITY)
  expect(lasting({ reconnectMs: undefined }).reconnectMs).toBe(Number.POSITIVE_INFINITY)
  expect(lasting({ reconnectMs: 5 }).reconnectMs).toBe(5)
})
