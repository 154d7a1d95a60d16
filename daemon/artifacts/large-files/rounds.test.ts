import { expect, it } from 'vitest'
import { Rounds } from './rounds.ts'

const nothing = { last: undefined, isHopeful: false, failed: [] }

it('asks for a part after the other, leaves out who failed, and begins anew with the next round', () => {
  const rounds = new Rounds()
  expect(rounds.next('a')).toBeUndefined()
  rounds.renew('a')
  expect(rounds.next('a')).toEqual({ after: undefined, failed: new Set() })
  expect(rounds.asked('a', { last: 'm', isHopeful: false, failed: ['bad'] })).toBe(true)
  expect(rounds.next('a')).toEqual({ after: 'm', failed: new Set(['bad']) })
  expect(rounds.asked('a', nothing)).toBe(false)
  expect(rounds.next('a')).toBeUndefined()
  rounds.renew('a')
  expect(rounds.next('a')).toEqual({ after: undefined, failed: new Set() })
})

it('makes another round for news that came when one was under way, and for those before it began none', () => {
  const rounds = new Rounds()
  for (let news = 0; news < 3; news++) rounds.renew('a')
  rounds.next('a')
  rounds.asked('a', { ...nothing, last: 'm' })
  rounds.renew('a')
  rounds.next('a')
  expect(rounds.asked('a', nothing)).toBe(true)
  expect(rounds.next('a')?.after).toBeUndefined()
  expect(rounds.asked('a', nothing)).toBe(false)
})

/** Ticks until the next round. */
function pauseOf(rounds: Rounds): number {
  for (let ticks = 1; ticks < 100; ticks++) if (rounds.tick().includes('a')) return ticks
  throw new Error('never')
}

it('pauses twice as long after each round in vain, also with news between, and for the shortest time after hope', () => {
  const rounds = new Rounds()
  rounds.renew('a')
  const round = (isHopeful: boolean): number => {
    rounds.next('a')
    rounds.asked('a', { ...nothing, isHopeful })
    return pauseOf(rounds)
  }
  expect([1, 2, 3, 4, 5, 6, 7].map(() => round(false))).toEqual([1, 2, 4, 8, 16, 32, 32])
  expect([round(true), round(false), round(false)]).toEqual([1, 2, 4])
  rounds.next('a')
  rounds.asked('a', nothing)
  rounds.renew('a')
  expect(round(false)).toBe(16)
})

it('a round that could not be made counts as one in vain; what is whole is forgotten', () => {
  const rounds = new Rounds()
  rounds.rest('a')
  expect(pauseOf(rounds)).toBe(1)
  rounds.rest('a')
  expect(pauseOf(rounds)).toBe(2)
  rounds.end('a')
  expect([rounds.next('a'), rounds.tick()]).toEqual([undefined, []])
})
