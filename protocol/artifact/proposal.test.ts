import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { signerFromSeed } from '../signing/signing.ts'
import { artifactId } from './genesis.ts'
import { foldProposal, isSame, reviewOf } from './proposal.ts'
import { chainFault, isProposalId, openEvent, type ProposalAct, type SealedEvent, sealEvent } from './proposal-event.ts'

const signers = [1, 2, 3].map((fill) => signerFromSeed(new Uint8Array(32).fill(fill)))
const [owner, helper] = signers
if (owner === undefined || helper === undefined) throw new Error('no signers')
const artifact = artifactId({ v: 1, owner: owner.nodeId, nonce: 'ab'.repeat(16), defaultBranch: 'main', createdAt: 0 })
const heads = ['a', 'b'].map((digit) => digit.repeat(40))
const [head = '', later = ''] = heads
const mergers = new Set([owner.nodeId])

/** Builds events as nodes do: each continues its own chain and knows all before it. */
class History {
  readonly events: SealedEvent[] = []
  id = ''

  add(by: number, subject: string, act: ProposalAct): SealedEvent {
    const signer = signers[by] ?? owner
    if (signer === undefined) throw new Error('no signer')
    const own = this.events.filter(({ event }) => event.writer === signer.nodeId)
    const clock = 1 + Math.max(0, ...this.events.map(({ event }) => event.clock))
    const sealed = sealEvent(signer, {
      v: 1,
      artifact,
      ...(act.type === 'create' ? {} : { proposal: this.id }),
      writer: signer.nodeId,
      sequence: own.length + 1,
      previous: own.at(-1)?.digest ?? null,
      clock,
      subject,
      act,
      at: 1_700_000_000_000 + clock,
    })
    if (this.id === '') this.id = sealed.proposal
    this.events.push(sealed)
    return sealed
  }
}

function opened(): History {
  const history = new History()
  history.add(1, 'bot', { type: 'create', from: 'agent/fix', into: 'main', title: 'Fix it', head })
  return history
}

const actArb: fc.Arbitrary<ProposalAct> = fc.oneof(
  fc.record({ type: fc.constant('comment' as const), text: fc.string({ maxLength: 20 }) }),
  fc.record({
    type: fc.constant('check' as const),
    name: fc.constantFrom('lint', 'test'),
    result: fc.constantFrom('pass' as const, 'fail' as const),
    head: fc.constantFrom(...heads),
  }),
  fc.record({ type: fc.constant('approve' as const), head: fc.constantFrom(...heads) }),
  fc.record({
    type: fc.constant('merge' as const),
    head: fc.constantFrom(...heads),
    commit: fc.constantFrom(...heads),
  }),
  fc.record({ type: fc.constant('close' as const) }),
)
const historyArb = fc
  .array(fc.tuple(fc.nat(2), fc.constantFrom('local', 'bot', 'carol'), actArb), { maxLength: 12 })
  .map((steps) => {
    const history = opened()
    for (const [by, subject, act] of steps) history.add(by, subject, act)
    return history
  })

describe('foldProposal()', () => {
  it('gives every node the same, whatever order the events came in', () => {
    fc.assert(
      fc.property(historyArb, fc.infiniteStream(fc.nat(1000)), (history, numbers) => {
        const shuffled = history.events
          .map((event) => ({ event, at: numbers.next().value as number }))
          .sort((a, b) => a.at - b.at)
          .map(({ event }) => event)
        expect(foldProposal(history.id, shuffled, { mergers })).toEqual(
          foldProposal(history.id, history.events, { mergers }),
        )
      }),
      { numRuns: 60 },
    )
  })

  it('R1-R4 whatever is signed: no foreign merge, no own approval, no verdict for another commit, nothing after the end', () => {
    fc.assert(
      fc.property(historyArb, (history) => {
        const found = foldProposal(history.id, history.events, { mergers })
        if (found === undefined) throw new Error('no proposal')
        const ends = history.events.filter(({ event }) => event.act.type === 'merge' || event.act.type === 'close')
        const allowed = ends.filter(
          ({ event }) =>
            event.writer === owner.nodeId || (event.act.type === 'close' && event.writer === found.author.node),
        )
        const first = allowed[0]?.event.act.type
        expect(found.state).toBe(first === undefined ? 'open' : first === 'merge' ? 'merged' : 'closed')
        for (const one of heads) {
          const review = reviewOf(found, one, { checks: ['lint'], approvals: 1 })
          expect(review.approvals.some((actor) => isSame(actor, found.author))).toBe(false)
          expect(review.checks.every((check) => check.head === one)).toBe(true)
          const passed = review.checks.some((check) => check.name === 'lint' && check.result === 'pass')
          expect(review.lacking.length === 0).toBe(passed && review.approvals.length > 0)
        }
      }),
      { numRuns: 60 },
    )
  })

  it('begins the review anew with a new commit', () => {
    const history = opened()
    history.add(0, 'local', { type: 'approve', head })
    history.add(0, 'ci', { type: 'check', name: 'test', result: 'pass', head })
    const found = foldProposal(history.id, history.events, { mergers })
    if (found === undefined) throw new Error('no proposal')
    const demands = { checks: ['test'], approvals: 1 }
    expect(reviewOf(found, head, demands).lacking).toEqual([])
    expect(reviewOf(found, later, demands).lacking).toEqual([
      'check test is missing',
      '1 more approval by others than the author',
    ])
  })

  it('R5 takes what is proposed from the author and the mergers: others name commits of their own', () => {
    const history = opened()
    history.add(2, 'mallory', { type: 'approve', head: later })
    history.add(2, 'mallory', { type: 'check', name: 'test', result: 'pass', head: later })
    expect(foldProposal(history.id, history.events, { mergers })?.head).toBe(head)
    history.add(1, 'bot', { type: 'check', name: 'test', result: 'pass', head: later })
    expect(foldProposal(history.id, history.events, { mergers })?.head).toBe(later)
    history.add(0, 'local', { type: 'approve', head })
    expect(foldProposal(history.id, history.events, { mergers })?.head).toBe(head)
  })

  it('is nothing without its creation', () => {
    const history = opened()
    history.add(0, 'local', { type: 'comment', text: 'hm' })
    expect(foldProposal(history.id, history.events.slice(1), { mergers })).toBeUndefined()
    expect(foldProposal('p0000000000123456789ab', history.events, { mergers })).toBeUndefined()
  })
})

describe('openEvent()', () => {
  it('gives back what was sealed, and refuses what was changed', () => {
    const sealed = opened().events[0]
    if (sealed === undefined) throw new Error('no event')
    expect(openEvent(sealed.text)).toEqual(sealed)
    expect(isProposalId(sealed.proposal)).toBe(true)
    const envelope = JSON.parse(sealed.text) as { payload: string }
    const payload = Buffer.from(envelope.payload, 'base64').toString()
    const forged = (from: string, to: string): string =>
      sealed.text.replace(envelope.payload, Buffer.from(payload.replace(from, to)).toString('base64'))
    expect(() => openEvent(forged('Fix it', 'Fix me'))).toThrow(/signature/)
    expect(() => openEvent(forged(helper.nodeId, owner.nodeId))).toThrow()
    expect(() => openEvent(`${sealed.text} `)).toThrow(/spelling/)
    expect(() => openEvent('{}')).toThrow()
  })
})

describe('chainFault()', () => {
  it('finds gaps, foreign events and a second creation', () => {
    const history = opened()
    history.add(1, 'bot', { type: 'comment', text: 'one' })
    history.add(1, 'bot', { type: 'comment', text: 'two' })
    const of = { artifact, proposal: history.id, writer: helper.nodeId }
    const [first, second, third] = history.events
    if (first === undefined || second === undefined || third === undefined) throw new Error('no events')
    expect(chainFault(history.events, of)).toBeUndefined()
    expect(chainFault([first, third], of)).toMatch(/follow/)
    expect(chainFault([second, third], of)).toMatch(/follow/)
    expect(chainFault(history.events, { ...of, writer: owner.nodeId })).toMatch(/another writer/)
    expect(chainFault(history.events, { ...of, proposal: 'p1' })).toMatch(/another proposal/)
  })
})
