import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MeshError } from '../errors.ts'
import { GRADES } from '../job.ts'
import { signBody } from '../signing/signed.ts'
import { DOMAINS, signerFromSeed } from '../signing/signing.ts'
import { type Card, cardSequence, decodeCard, encodeCard, isLabel, openCard, signCard } from './card.ts'
import { decodeCardsPage, decodeCardsQuery, encodeCardsPage, encodeCardsQuery, pageOf } from './card-page.ts'
import {
  cardsWith,
  type Directory,
  dueForRefresh,
  EMPTY_DIRECTORY,
  pruned,
  withCard,
  withoutNode,
} from './directory.ts'

const signer = (index: number) => signerFromSeed(new Uint8Array(32).fill(index + 1))
const me = signer(0)
const count = fc.nat({ max: 2 ** 31 })
const offer = fc
  .record({
    kind: fc.constantFrom('isolate', 'sandbox'),
    grade: fc.constantFrom(...GRADES),
    slots: fc.nat(64),
    queued: count,
    maxMemoryBytes: count,
    maxWallMs: count,
  })
  .chain((base) => fc.nat(base.slots).map((free) => ({ ...base, free })))
const card: fc.Arbitrary<Card> = fc.record({
  nodeId: fc.constant(me.nodeId),
  meshId: fc.constant('ab'.repeat(16)),
  name: fc.constantFrom('', 'Werk 3', '手'),
  sequence: fc.integer({ min: 1, max: 2 ** 52 }),
  ttlMs: fc.integer({ min: 1_000, max: 600_000 }),
  issuedAtMs: fc.nat({ max: 2 ** 44 }),
  executors: fc.array(offer, { maxLength: 4 }),
  labels: fc.uniqueArray(fc.constantFrom('isolate', 'tool/search', 'model/q-1.5b', 'gpu'), { maxLength: 4 }),
  coordinate: fc.option(
    fc.record({ x: fc.integer({ min: -9, max: 9 }), y: fc.nat(9), height: fc.nat(9), error: fc.constant(0.5) }),
    { nil: undefined },
  ),
  addresses: fc.array(fc.constantFrom('/ip4/10.0.0.1/tcp/1', 'memory://x'), { maxLength: 16 }),
  version: fc.constantFrom('', '1.0.0'),
  listEpoch: count,
})
const base: Card = {
  nodeId: me.nodeId,
  meshId: 'ab'.repeat(16),
  name: 'n',
  sequence: 1,
  ttlMs: 10_000,
  issuedAtMs: 0,
  executors: [],
  labels: ['isolate'],
  coordinate: undefined,
  addresses: [],
  version: '1',
  listEpoch: 1,
}

describe('cards', () => {
  test('a card reads back as it was made', () => {
    fc.assert(
      fc.property(card, (value) => {
        expect(decodeCard(encodeCard(value))).toEqual(value)
        expect(openCard(signCard(me, value).signed).card).toEqual(value)
      }),
      { numRuns: 60 },
    )
  })

  test('any bytes are a card or a typed error', () => {
    const sample = encodeCard(base)
    const mutated = fc
      .tuple(fc.nat(sample.length - 1), fc.nat(255))
      .map(([at, value]) => sample.map((byte, index) => (index === at ? value : byte)))
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), mutated), (bytes) => {
        try {
          decodeCard(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(MeshError)
        }
      }),
    )
  })

  test('P2P-11 a card about another node than its signer is refused', () => {
    const signed = signBody(signer(1), DOMAINS.card, encodeCard(base))
    expect(() => openCard(signed)).toThrow(expect.objectContaining({ code: 'E_SIGNATURE' }))
  })

  test.each<[string, Partial<Card>]>([
    [
      'more free slots than slots',
      {
        executors: [
          { kind: 'isolate', grade: 'jailed', slots: 1, free: 2, queued: 0, maxMemoryBytes: 0, maxWallMs: 0 },
        ],
      },
    ],
    ['a label twice', { labels: ['a', 'a'] }],
    ['a name that drives a terminal', { name: '\u001b[2J' }],
    ['too many addresses', { addresses: Array.from({ length: 17 }, () => '/ip4/1.1.1.1/tcp/1') }],
    ['a life without end', { ttlMs: 2 ** 31 }],
    ['a coordinate out of this world', { coordinate: { x: Number.NaN, y: 0, height: 0, error: 1 } }],
  ])('refuses %s, when made and when read', (_what, change) => {
    const bad = { ...base, ...change }
    expect(() => signCard(me, bad)).toThrow(MeshError)
    expect(() => decodeCard(encodeCard(bad))).toThrow(MeshError)
  })

  test('sequences grow over restarts and stay exact', () => {
    expect(cardSequence(2, 1)).toBeGreaterThan(cardSequence(1, 2 ** 32 - 1))
    expect(Number.isSafeInteger(cardSequence(2 ** 20 - 1, 2 ** 32 - 1))).toBe(true)
    expect(() => cardSequence(2 ** 20, 1)).toThrow(MeshError)
  })

  test('labels', () => {
    for (const good of ['isolate', 'tool/search', 'model/qwen3-0.6b', 'agent/A1']) expect(isLabel(good)).toBe(true)
    for (const bad of ['', 'Tool', '/x', 'a/', 'a b', 'a/b/c', `a/${'x'.repeat(64)}`]) expect(isLabel(bad)).toBe(false)
  })
})

describe('directory', () => {
  const known = (index: number, change: Partial<Card> = {}) =>
    signCard(signer(index), { ...base, nodeId: signer(index).nodeId, ...change })

  test('whatever order cards come in, the newest of each node is held, and the label index says the same as the cards', () => {
    const arrivals = fc.array(
      fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 6 }), fc.subarray(['isolate', 'gpu', 'tool/a'])),
      { maxLength: 30 },
    )
    fc.assert(
      fc.property(arrivals, (cards) => {
        let directory: Directory = EMPTY_DIRECTORY
        const newest = new Map<string, number>()
        for (const [index, sequence, labels] of cards) {
          const item = known(index, { sequence, labels })
          directory = withCard(directory, item, 0)[0]
          newest.set(item.card.nodeId, Math.max(sequence, newest.get(item.card.nodeId) ?? 0))
        }
        for (const [node, sequence] of newest) expect(directory.byNode.get(node)?.signed.card.sequence).toBe(sequence)
        for (const label of ['isolate', 'gpu', 'tool/a']) {
          const held = [...directory.byNode]
            .filter(([, { signed }]) => signed.card.labels.includes(label))
            .map(([node]) => node)
          expect([...(directory.byLabel.get(label) ?? [])].sort()).toEqual(held.sort())
        }
      }),
      { numRuns: 40 },
    )
  })

  test('two cards with one sequence are told once', () => {
    const [one] = withCard(EMPTY_DIRECTORY, known(1), 0)
    const [two, verdict] = withCard(one, known(1, { name: 'other' }), 0)
    expect(verdict).toBe('equivocation')
    expect(withCard(two, known(1, { name: 'third' }), 0)[1]).toBe('older')
  })

  test('a card counts for its life from its receipt, and passing it on does not lengthen it', () => {
    const [directory] = withCard(EMPTY_DIRECTORY, known(1), 1_000, 4_000)
    expect(cardsWith(directory, 'isolate', 6_999)).toHaveLength(1)
    expect(cardsWith(directory, 'isolate', 7_000)).toHaveLength(0)
    expect(dueForRefresh(directory, [signer(1).nodeId, signer(2).nodeId], 4_600, 9)).toEqual([
      signer(2).nodeId,
      signer(1).nodeId,
    ])
    expect(pruned(directory, 12_001, 5_000).byNode.size).toBe(0)
    expect(withoutNode(directory, signer(1).nodeId)).toEqual(EMPTY_DIRECTORY)
  })

  test('pages bring all cards of members once, in bounded steps', () => {
    let directory: Directory = EMPTY_DIRECTORY
    for (let index = 1; index <= 12; index++) directory = withCard(directory, known(index), 0)[0]
    const seen: string[] = []
    let after: string | undefined
    for (let steps = 0; steps < 9; steps++) {
      const query = decodeCardsQuery(encodeCardsQuery({ label: 'isolate', max: 5, after }))
      const page = decodeCardsPage(encodeCardsPage(pageOf(directory, query, (node) => node !== signer(3).nodeId, 100)))
      seen.push(...page.cards.map(({ signed }) => signed.signer))
      expect(page.cards.every(({ ageMs }) => ageMs === 100)).toBe(true)
      after = page.next
      if (after === undefined) break
    }
    const expected = [...directory.byNode.keys()].filter((node) => node !== signer(3).nodeId)
    expect(seen).toEqual(expected.sort())
  })

  test('P2P-15 a page with too many cards or without ages is refused', () => {
    const cards = Array.from({ length: 129 }, () => ({ signed: known(1).signed, ageMs: 0 }))
    expect(() => decodeCardsPage(encodeCardsPage({ cards, next: undefined }))).toThrow(MeshError)
  })
})
