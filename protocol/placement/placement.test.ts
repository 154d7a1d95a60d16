import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { chooseForOffer, localDominates, rankBids } from './choose.ts'
import { type NodeFacts, rank, type RankContext, type Requirements, UNKNOWN_RTT_MS } from './rank.ts'

const executor = {
  kind: 'isolate',
  grade: 'jailed',
  slots: 4,
  free: 4,
  queued: 0,
  maxMemoryBytes: 1 << 28,
  maxWallMs: 60_000,
} as const
const node = (name: string, change: Partial<NodeFacts> = {}): NodeFacts => ({
  node: `id-${name}`,
  name,
  isSelf: false,
  isMember: true,
  labels: ['isolate'],
  executors: [executor],
  rttMs: 1,
  distanceMs: undefined,
  ...change,
})
const requirements: Requirements = { capability: 'isolate', grade: undefined, labels: [], on: 'any' }
const context: RankContext = { hops: 0, path: [], excluded: new Map(), salt: 's' }
const names = (ranked: readonly { name: string; score?: number }[]) =>
  ranked.filter(({ score }) => score !== undefined).map(({ name }) => name)

describe('ranking', () => {
  test('a node that calls itself "local", "other" or by the id of another is not where a task asks to run', () => {
    const self = node('other', { isSelf: true })
    const [bad, good] = [node('local'), node('good')]
    const at = (on: string, ...nodes: NodeFacts[]) => names(rank(nodes, { ...requirements, on }, context))
    expect(at('local', self, bad)).toEqual(['other'])
    expect(at('other', self, bad)).toEqual(['local'])
    expect(at('id-good', node('id-good', { node: 'id-bad' }), good)).toEqual(['good'])
    expect(at('good', self, bad, good)).toEqual(['good'])
  })

  test('the nearest free node is first; waiting counts as distance; the unknown counts as far', () => {
    const near = node('near', { rttMs: 2 })
    const far = node('far', { rttMs: 30 })
    const full = node('full', { rttMs: 1, executors: [{ ...executor, free: 0, queued: 20 }] })
    const unknown = node('unknown', { rttMs: undefined })
    const guessed = node('guessed', { rttMs: undefined, distanceMs: 10 })
    const self = node('self', { isSelf: true, rttMs: undefined })
    const ranked = rank([unknown, full, far, guessed, near, self], requirements, context)
    expect(names(ranked)).toEqual(['self', 'near', 'guessed', 'far', 'unknown', 'full'])
    expect(ranked.find(({ name }) => name === 'unknown')?.score).toBe(UNKNOWN_RTT_MS)
    expect(ranked[0]?.reason).toBe('this node, 4 of 4 slots free')
    expect(ranked[1]?.reason).toBe('2 ms away, 4 of 4 slots free')
    expect(ranked[2]?.reason).toBe('an estimated 10 ms away, 4 of 4 slots free')
  })

  test.each<[string, Partial<NodeFacts>, Partial<Requirements>, Partial<RankContext>, string]>([
    ['a stranger', { isMember: false }, {}, {}, 'does not belong'],
    ['another capability', {}, { capability: 'tool/x' }, {}, 'does not offer tool/x'],
    ['too weak a grade', {}, { grade: 'microvm' }, {}, 'grade is jailed, and microvm is demanded'],
    ['a missing label', {}, { labels: ['gpu'] }, {}, 'label gpu'],
    ['too little memory', {}, { memoryBytes: 1 << 30 }, {}, 'less memory'],
    ['too little time', {}, { wallMs: 90_000 }, {}, 'less time'],
    ['another node by name', {}, { on: 'b' }, {}, 'must run on b'],
    ['not this node', {}, { on: 'local' }, {}, 'must run on this node'],
    ['not here', { isSelf: true }, { on: 'other' }, {}, 'another node'],
    ['where it came from', {}, {}, { path: ['id-a'] }, 'came through it'],
    ['one hop too many', {}, {}, { hops: 4 }, 'passed on 4 times'],
    ['one that failed before', {}, {}, { excluded: new Map([['id-a', 'its lease ended']]) }, 'its lease ended'],
  ])('filters %s with a reason', (_what, facts, wants, circumstances, reason) => {
    const [only] = rank([node('a', facts)], { ...requirements, ...wants }, { ...context, ...circumstances })
    expect(only?.outcome).toBe('filtered')
    expect(only?.score).toBeUndefined()
    expect(only?.reason).toContain(reason)
  })

  test('a stronger grade than demanded will do, and names and ids both name a node', () => {
    const strong = node('a', { executors: [{ ...executor, grade: 'microvm' }] })
    expect(names(rank([strong], { ...requirements, grade: 'gvisor' }, context))).toEqual(['a'])
    expect(names(rank([strong, node('b')], { ...requirements, on: 'id-b' }, context))).toEqual(['b'])
  })

  test('whatever the nodes, nobody is lost, able ones come first in order of score, and equals share by salt', () => {
    const facts = fc.array(
      fc.record({
        rttMs: fc.option(fc.nat(100), { nil: undefined }),
        isMember: fc.boolean(),
        free: fc.nat(4),
        queued: fc.nat(9),
      }),
      { maxLength: 12 },
    )
    fc.assert(
      fc.property(facts, (list) => {
        const nodes = list.map(({ rttMs, isMember, free, queued }, at) =>
          node(`${at}`, { rttMs, isMember, executors: [{ ...executor, free, queued }] }),
        )
        const ranked = rank(nodes, requirements, context)
        expect(ranked.map(({ node: id }) => id).sort()).toEqual(nodes.map(({ node: id }) => id).sort())
        const scores = ranked.map(({ score }) => score ?? Infinity)
        expect(scores.every((score, at) => at === 0 || score >= (scores[at - 1] ?? 0) - 0.1)).toBe(true)
      }),
    )
    const equals = Array.from({ length: 8 }, (_, at) => node(`${at}`))
    const firsts = new Set(
      Array.from({ length: 64 }, (_, at) => rank(equals, requirements, { ...context, salt: `${at}` })[0]?.name),
    )
    expect(firsts.size).toBeGreaterThan(4)
  })
})

describe('choosing', () => {
  const ranked = rank(
    [...Array.from({ length: 20 }, (_, at) => node(`${at}`, { rttMs: at + 1 })), node('out', { isMember: false })],
    requirements,
    context,
  )

  test('offers go to the nearest three and two others, never twice and never to one that is filtered', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 2, maxLength: 2 }),
        (numbers) => {
          const rolls = [...numbers]
          const chosen = chooseForOffer(ranked, () => rolls.shift() ?? 0)
          expect(chosen.slice(0, 3).map(({ name }) => name)).toEqual(['0', '1', '2'])
          expect(new Set(chosen.map(({ name }) => name)).size).toBe(5)
          expect(chosen.every(({ score }) => score !== undefined)).toBe(true)
        },
      ),
    )
    expect(chooseForOffer(ranked.slice(0, 2), Math.random)).toHaveLength(2)
  })

  test('what a node says now counts for more than its card', () => {
    const bids = [
      { node: 'id-0', etaMs: 500, queued: 9, price: 0 },
      { node: 'id-5', etaMs: 0, queued: 0, price: 0 },
      { node: 'id-9', etaMs: 0, queued: 0, price: 100 },
      { node: 'id-unasked', etaMs: 0, queued: 0, price: 0 },
    ]
    const order = rankBids(ranked, bids)
    expect(order.map(({ name }) => name)).toEqual(['5', '9', '0'])
    expect(order[0]).toMatchObject({ outcome: 'bid', score: 6 })
    expect(order[0]?.reason).toContain('would start in 0 ms')
  })

  test('an able and idle local node takes it without asking', () => {
    const self = (change: Partial<NodeFacts>) =>
      rank([node('self', { isSelf: true, ...change }), node('b')], requirements, context)
    expect(localDominates(self({}))).toBe(true)
    expect(localDominates(self({ executors: [{ ...executor, free: 0 }] }))).toBe(false)
    expect(localDominates(self({ executors: [{ ...executor, queued: 3 }] }))).toBe(false)
    expect(localDominates(self({ labels: [] }))).toBe(false)
  })
})
