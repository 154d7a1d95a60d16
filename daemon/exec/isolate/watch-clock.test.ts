import { expect, test } from 'vitest'
import { WatchClock } from './watch-clock.ts'

test('counts the time between looks, but a long absence only as a second', () => {
  let raw = 5_000
  const clock = new WatchClock(() => raw)
  raw += 20
  expect([clock.now(), clock.look(), clock.now()]).toEqual([20, 20, 20])
  raw += 30
  expect(clock.now()).toBe(50)
  raw += 60_000
  expect(clock.now()).toBe(1_020)
  expect(clock.look()).toBe(1_020)
  raw += 20
  expect(clock.look()).toBe(1_040)
})
