import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { startTenure, stepTenure, type TenureEffect, type TenureInput } from './tenure.ts'

const config = { leaseMs: 10_000, renewMs: 3_000, marginMs: 1_000 }

function play(...moves: readonly (readonly [now: number, input: TenureInput])[]): {
  effects: TenureEffect[]
  phase: string
} {
  let { state } = startTenure(1, 0, config)
  const effects: TenureEffect[] = []
  for (const [now, input] of moves) {
    const step = stepTenure(state, input, now, config)
    state = step.state
    effects.push(...step.effects)
  }
  return { effects, phase: state.phase }
}

const tick: TenureInput = { type: 'tick' }

describe('tenure', () => {
  test('renews every term and counts the lease from when it asked', () => {
    const { effects, phase } = play([3_000, tick], [5_000, { type: 'renewed', number: 1 }], [9_500, tick])
    expect(effects.filter(({ type }) => type === 'renew')).toEqual([
      { type: 'renew', number: 1 },
      { type: 'renew', number: 2 },
    ])
    expect(phase).toBe('running')
  })

  test('stops the work a margin before an unrenewed lease ends', () => {
    const { effects, phase } = play([3_000, tick], [6_000, tick], [9_000, tick])
    expect(effects).toContainEqual({ type: 'stop', code: 'E_STALE_LEASE' })
    expect(phase).toBe('over')
  })

  test('F06: waking from a long stop, it stops the work before anything else', () => {
    const { effects } = play([60_000, tick])
    expect(effects).toEqual([{ type: 'stop', code: 'E_STALE_LEASE' }, { type: 'forget' }])
  })

  test('offers a result until it is accepted', () => {
    const { effects, phase } = play([1_000, { type: 'finished' }], [1_100, { type: 'accepted' }])
    expect(effects).toEqual([{ type: 'offer-result' }, { type: 'forget' }])
    expect(phase).toBe('over')
  })

  test('an answer to a renewal it never sent is ignored', () => {
    const { phase } = play([4_000, { type: 'renewed', number: 7 }], [9_000, tick])
    expect(phase).toBe('over')
  })
})

test('T1: it never believes in a lease beyond the last answered request plus its length, and never works into the margin', () => {
  const input: fc.Arbitrary<TenureInput> = fc.oneof(
    fc.constant(tick),
    fc.record({ type: fc.constant('renewed' as const), number: fc.nat(20) }),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(input, fc.nat(3_000)), { maxLength: 80 }), (moves) => {
      let now = 0
      let { state } = startTenure(1, 0, config)
      const sentAt = new Map<number, number>([[0, 0]])
      let answered = 0
      for (const [move, pause] of moves) {
        now += pause
        const step = stepTenure(state, move, now, config)
        for (const effect of step.effects) if (effect.type === 'renew') sentAt.set(effect.number, now)
        if (move.type === 'renewed' && sentAt.has(move.number))
          answered = Math.max(answered, sentAt.get(move.number) ?? 0)
        state = step.state
        expect(state.leaseEnds).toBeLessThanOrEqual(answered + config.leaseMs)
        if (move.type === 'tick' && state.phase === 'running')
          expect(now).toBeLessThan(state.leaseEnds - config.marginMs)
      }
    }),
    { numRuns: 1_000 },
  )
})
