import { expect, test } from 'vitest'
import { RoundTrip } from './round-trip.ts'

test('is the shortest of the last few measurements', () => {
  const trip = new RoundTrip()
  expect(trip.ms).toBeUndefined()
  trip.add(480)
  expect(trip.ms).toBe(480)
  for (const ms of [2, 40, 3]) trip.add(ms)
  expect(trip.ms).toBe(2)
  // a way that became longer is believed once nothing shorter was seen for a while
  for (let n = 0; n < 6; n++) trip.add(90)
  expect(trip.ms).toBe(90)
})
