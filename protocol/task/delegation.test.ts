import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  DELEGATION_DEFAULTS,
  type Delegation,
  type DelegationEffect,
  type DelegationInput,
  startDelegation,
  stepDelegation,
} from './delegation.ts'

const config = {
  ...DELEGATION_DEFAULTS,
  leaseMs: 10_000,
  answerMs: 2_000,
  bindMs: 5_000,
  patienceMs: 30_000,
  restMs: 50,
  maxEpochs: 4,
}

/** Feeds inputs one by one; answers grants at once, as an owner with a fast journal does. */
class Harness {
  state: Delegation
  effects: DelegationEffect[]
  now = 0

  constructor(options: Parameters<typeof startDelegation>[1] = {}) {
    const step = startDelegation(this.now, options)
    this.state = step.state
    this.effects = [...step.effects]
  }

  feed(...inputs: DelegationInput[]): this {
    for (const input of inputs) {
      const step = stepDelegation(this.state, input, this.now, config)
      this.state = step.state
      this.effects.push(...step.effects)
      for (const effect of step.effects)
        if (effect.type === 'grant') this.feed({ type: 'granted', epoch: effect.epoch })
    }
    return this
  }

  at(now: number): this {
    this.now = now
    return this
  }

  of<T extends DelegationEffect['type']>(type: T): Extract<DelegationEffect, { type: T }>[] {
    return this.effects.filter((effect): effect is Extract<DelegationEffect, { type: T }> => effect.type === type)
  }
}

const candidates = (...nodes: string[]): DelegationInput => ({ type: 'candidates', nodes })
const bid = (node: string, score: number): DelegationInput => ({ type: 'bid', bid: { node, score } })
const boundTo = (node: string): Harness =>
  new Harness().feed({ type: 'candidates', nodes: [], bindNow: node }, { type: 'bound', node, epoch: 1 })

describe('delegation', () => {
  test('binds to the best of the first half of the answers', () => {
    const run = new Harness().feed(candidates('a', 'b', 'c', 'd'), bid('b', 9), bid('c', 3))
    expect(run.of('bind')).toEqual([{ type: 'bind', node: 'c', epoch: 1 }])
  })

  test('a refused bind goes to the next best bid under a new epoch', () => {
    const run = new Harness()
      .feed(candidates('a', 'b', 'c'), bid('a', 1), bid('b', 2))
      .feed({ type: 'refused', node: 'a', epoch: 1 })
    expect(run.of('bind').map(({ node, epoch }) => [node, epoch])).toEqual([
      ['a', 1],
      ['b', 2],
    ])
  })

  test('when all refuse it rests and searches anew, and gives up after its patience', () => {
    const run = new Harness().feed(candidates('a'), { type: 'refused', node: 'a', epoch: 0 })
    expect(run.state.phase).toMatchObject({ kind: 'resting', until: 50 })
    run.at(50).feed({ type: 'tick' })
    expect(run.of('find')).toHaveLength(2)
    run.at(40_000).feed(candidates('a'), { type: 'refused', node: 'a', epoch: 0 })
    expect(run.of('settle')).toMatchObject([{ ending: { state: 'failed', code: 'E_OVERLOADED' } }])
  })

  test('hopeless work fails at once with the reason', () => {
    const run = new Harness().feed({
      type: 'candidates',
      nodes: [],
      hopeless: { code: 'E_GRADE', message: 'no microvm here' },
    })
    expect(run.of('settle')).toMatchObject([{ ending: { state: 'failed', code: 'E_GRADE' } }])
  })

  test('a lost connection is a suspicion: the next epoch is given only when the lease has run out', () => {
    const run = boundTo('a').at(4_000).feed({ type: 'lost', node: 'a' })
    run.at(9_999).feed({ type: 'tick' })
    expect(run.of('find')).toHaveLength(1)
    run.at(10_000).feed({ type: 'tick' })
    expect(run.of('find').at(-1)).toEqual({ type: 'find', avoid: ['a'] })
  })

  test('F11: nodes so far away that no bid comes in time are waited for, and the first that answers is bound', () => {
    const far = new Harness()
      .feed(candidates('a', 'b', 'c'))
      .at(2_000)
      .feed({ type: 'tick' })
    expect(far.state.phase.kind).toBe('offering')
    far.at(2_600).feed(bid('b', 9))
    expect(far.of('bind')).toEqual([{ type: 'bind', node: 'b', epoch: 1 }])
    const silent = new Harness()
      .feed(candidates('a', 'b', 'c'))
      .at(2_000)
      .feed({ type: 'tick' })
    silent.at(8_000).feed({ type: 'tick' })
    expect(silent.state.phase.kind).toBe('resting')
  })

  test('a renewal keeps the lease; the holder is answered', () => {
    const run = boundTo('a').at(6_000).feed({ type: 'renew', node: 'a', epoch: 1, number: 2 })
    expect(run.of('renewed')).toEqual([{ type: 'renewed', node: 'a', epoch: 1, number: 2 }])
    run.at(15_999).feed({ type: 'tick' })
    expect(run.state.phase.kind).toBe('held')
  })

  test('P2P-13: a zombie that comes back after its lease ran out is refused, and the new holder wins', () => {
    const run = boundTo('a').at(10_000).feed({ type: 'tick' })
    run.feed({ type: 'candidates', nodes: [], bindNow: 'b' }, { type: 'bound', node: 'b', epoch: 2 })
    run.feed({ type: 'result', node: 'a', epoch: 1, verdict: 'completed' })
    expect(run.of('accept')).toEqual([])
    expect(run.of('refuse')).toEqual([{ type: 'refuse', node: 'a', epoch: 1, code: 'E_STALE_LEASE' }])
    run.feed({ type: 'result', node: 'b', epoch: 2, verdict: 'completed' })
    expect(run.of('accept')).toEqual([{ type: 'accept', node: 'b', epoch: 2 }])
  })

  test('a result of a node that never held the task is refused', () => {
    const run = boundTo('a').feed({ type: 'result', node: 'mallory', epoch: 1, verdict: 'completed' })
    expect(run.of('accept')).toEqual([])
    expect(run.of('refuse')).toMatchObject([{ node: 'mallory' }])
  })

  test('the holder of a suspected lease may still hand its result in', () => {
    const run = boundTo('a').feed({ type: 'lost', node: 'a' }).at(5_000)
    run.feed({ type: 'result', node: 'a', epoch: 1, verdict: 'completed' })
    expect(run.of('accept')).toHaveLength(1)
  })

  test('P2P-17: revocation voids a lease at once', () => {
    const run = boundTo('a').at(100).feed({ type: 'fenced', node: 'a' })
    expect(run.of('find').at(-1)).toEqual({ type: 'find', avoid: ['a'] })
    run.feed({ type: 'result', node: 'a', epoch: 1, verdict: 'completed' })
    expect(run.of('accept')).toEqual([])
  })

  test('cancel tells the holder and ends the task', () => {
    const run = boundTo('a').feed({ type: 'cancel' })
    expect(run.of('withdraw')).toEqual([{ type: 'withdraw', node: 'a', epoch: 1 }])
    expect(run.of('settle')).toMatchObject([{ ending: { state: 'canceled' } }])
  })

  test('a deadline ends a task in any phase', () => {
    const run = new Harness({ deadline: 1_000 }).feed(candidates('a', 'b', 'c'))
    run.at(1_000).feed({ type: 'tick' })
    expect(run.of('settle')).toMatchObject([{ ending: { code: 'E_DEADLINE' } }])
  })

  test('work given back too often is not chance any more', () => {
    const run = new Harness()
    for (let epoch = 1; epoch <= config.maxEpochs; epoch++) {
      run.feed({ type: 'candidates', nodes: [], bindNow: 'a' }, { type: 'bound', node: 'a', epoch })
      run.feed({ type: 'result', node: 'a', epoch, verdict: 'again' })
    }
    expect(run.of('settle')).toMatchObject([{ ending: { state: 'failed', code: 'E_EXECUTOR_LOST' } }])
  })

  test('nodes that had no room have not lost the work, nor have the pieces before it', () => {
    const run = new Harness({ epoch: 20 })
    for (let epoch = 21; epoch <= 30; epoch++) {
      run.feed({ type: 'candidates', nodes: [], bindNow: 'a' }, { type: 'refused', node: 'a', epoch })
      run.at(run.now + 1_000).feed({ type: 'tick' })
    }
    run.feed({ type: 'candidates', nodes: [], bindNow: 'a' }, { type: 'bound', node: 'a', epoch: 31 })
    run.feed({ type: 'result', node: 'a', epoch: 31, verdict: 'again' })
    expect(run.of('settle')).toEqual([])
    expect(run.state.phase.kind).toBe('finding')
  })

  test('a bind is waited for as long as the node goes on taking it', () => {
    const run = new Harness().feed({ type: 'candidates', nodes: [], bindNow: 'a' })
    for (const now of [4_000, 8_000, 12_000])
      run.at(now).feed({ type: 'taking', node: 'a', epoch: 1 }, { type: 'tick' })
    run
      .at(16_999)
      .feed({ type: 'taking', node: 'b', epoch: 1 }, { type: 'taking', node: 'a', epoch: 0 }, { type: 'tick' })
    expect(run.state.phase).toEqual({ kind: 'binding', node: 'a', until: 17_000 })
    run.at(17_000).feed({ type: 'tick' }, { type: 'taking', node: 'a', epoch: 1 })
    expect(run.state.phase).toEqual({ kind: 'suspect', node: 'a', leaseEnds: 27_000 })
    expect(run.of('withdraw')).toHaveLength(1)
  })

  test('what a bind takes to arrive is no part of the patience: refused then, it is offered to others', () => {
    const run = new Harness().feed({ type: 'candidates', nodes: [], bindNow: 'a' })
    for (let now = 4_000; now <= 60_000; now += 4_000) run.at(now).feed({ type: 'taking', node: 'a', epoch: 1 })
    run.at(61_000).feed({ type: 'refused', node: 'a', epoch: 1 })
    expect(run.of('settle')).toEqual([])
    run.at(62_000).feed({ type: 'tick' }, { type: 'candidates', nodes: [], bindNow: 'b' })
    expect(run.of('bind')).toMatchObject([{ node: 'a' }, { node: 'b' }])
    run.at(95_000).feed({ type: 'refused', node: 'b', epoch: 2 })
    expect(run.of('settle')).toMatchObject([{ ending: { code: 'E_OVERLOADED' } }])
  })

  test('after a restart the lease that may be held elsewhere is waited for', () => {
    const run = new Harness({ epoch: 3, heldUntil: 10_000, holder: 'a' })
    expect(run.of('find')).toEqual([])
    run.at(10_000).feed({ type: 'tick' }, { type: 'candidates', nodes: [], bindNow: 'b' })
    expect(run.of('bind')).toEqual([{ type: 'bind', node: 'b', epoch: 4 }])
  })
})

const node = fc.constantFrom('a', 'b', 'c')
const epoch = fc.integer({ min: 0, max: 5 })
const anyInput: fc.Arbitrary<DelegationInput> = fc.oneof(
  fc.record({ type: fc.constant('candidates' as const), nodes: fc.uniqueArray(node) }),
  fc.record({ type: fc.constant('candidates' as const), nodes: fc.constant([]), bindNow: node }),
  fc.record({ type: fc.constant('bid' as const), bid: fc.record({ node, score: fc.nat(100) }) }),
  fc.record({ type: fc.constant('refused' as const), node, epoch }),
  fc.record({ type: fc.constant('granted' as const), epoch }),
  fc.record({ type: fc.constant('taking' as const), node, epoch }),
  fc.record({ type: fc.constant('bound' as const), node, epoch }),
  fc.record({ type: fc.constant('renew' as const), node, epoch, number: fc.nat(9) }),
  fc.record({
    type: fc.constant('result' as const),
    node,
    epoch,
    verdict: fc.constantFrom('completed' as const, 'failed' as const, 'again' as const),
  }),
  fc.record({ type: fc.constant('lost' as const), node }),
  fc.record({ type: fc.constant('fenced' as const), node }),
  fc.constant({ type: 'cancel' as const }),
  fc.constant({ type: 'tick' as const }),
)

test('for any inputs: epochs grow by one with each grant, one end, at most one acceptance, and no bind without its grant', () => {
  const script = fc.array(fc.tuple(anyInput, fc.nat(4_000)), { maxLength: 60 })
  fc.assert(
    fc.property(script, (steps) => {
      let now = 0
      let { state, effects } = startDelegation(now)
      const all: DelegationEffect[] = [...effects]
      for (const [input, pause] of steps) {
        now += pause
        ;({ state, effects } = stepDelegation(state, input, now, config))
        all.push(...effects)
      }
      const granted = all.flatMap((effect) => (effect.type === 'grant' ? [effect.epoch] : []))
      expect(granted).toEqual(granted.map((_, index) => index + 1))
      const bound = all.flatMap((effect) => (effect.type === 'bind' ? [effect.epoch] : []))
      expect(new Set(bound).size).toBe(bound.length)
      expect(bound.every((each) => granted.includes(each))).toBe(true)
      expect(all.filter(({ type }) => type === 'settle').length).toBe(state.phase.kind === 'ended' ? 1 : 0)
      expect(all.filter(({ type }) => type === 'accept').length).toBeLessThanOrEqual(1)
    }),
    { numRuns: 2_000 },
  )
})

test('D2: whatever happens, two nodes never hold a lease that both may believe in', () => {
  const script = fc.array(fc.tuple(anyInput, fc.nat(4_000)), { maxLength: 60 })
  fc.assert(
    fc.property(script, (steps) => {
      let now = 0
      let { state } = startDelegation(now)
      /** Until when the last holder may believe in its lease: from the last thing that gave it one. */
      let believed: { node: string; epoch: number; until: number } | undefined
      for (const [input, pause] of steps) {
        now += pause
        const before = state
        const step = stepDelegation(state, input, now, config)
        state = step.state
        const gaveUp =
          (input.type === 'result' || input.type === 'refused' || input.type === 'fenced') &&
          input.node === believed?.node
        if (gaveUp) believed = undefined
        for (const effect of step.effects) {
          if (effect.type === 'grant' && believed !== undefined) expect(now).toBeGreaterThanOrEqual(believed.until)
          if (effect.type === 'bind') believed = { node: effect.node, epoch: effect.epoch, until: now + config.leaseMs }
          if (effect.type === 'renewed')
            believed = { node: effect.node, epoch: effect.epoch, until: now + config.leaseMs }
        }
        if (state.phase.kind === 'ended') return
        expect(state.epoch).toBeGreaterThanOrEqual(before.epoch)
      }
    }),
    { numRuns: 2_000 },
  )
})
