/**
 * What the events of a proposal come to. Pure; every node that holds the same events gets the same answer, in whatever order they arrived.
 *
 * Invariants
 * R1  Checks and approvals count for the commit they name alone: a new commit on the proposed branch begins the review anew.
 * R2  Nobody approves what they proposed: an actor is a node and a subject of it, and the author's approval does not count.
 * R3  Only the owner and its delegates merge; they and the author's node close. What others sign of that kind changes nothing.
 * R4  After it is merged or closed, only comments are taken.
 * R5  What is proposed is what the author's node or a merger names: a check or an approval by others may name any commit, and counts for that one alone.
 */
import type { Actor, ProposalState } from '../api.ts'
import type { ProposalAct, SealedEvent } from './proposal-event.ts'

export interface Reviewers {
  /** Node ids that may merge: the owner and its delegates */
  readonly mergers: ReadonlySet<string>
}

export interface ReviewDemands {
  readonly checks: readonly string[]
  readonly approvals: number
}

export interface Verdict {
  readonly name: string
  readonly result: 'pass' | 'fail'
  readonly text?: string
  readonly head: string
  readonly by: Actor
}

export interface Proposal {
  readonly id: string
  readonly from: string
  readonly into: string
  readonly title: string
  readonly text: string | undefined
  readonly author: Actor
  readonly state: ProposalState
  /** The newest proposed commit that an event of the author's node or of a merger names */
  readonly head: string
  readonly comments: readonly { readonly by: Actor; readonly text: string; readonly at: number }[]
  readonly checks: readonly Verdict[]
  readonly approvals: readonly { readonly by: Actor; readonly head: string }[]
  /** Commit that merged it */
  readonly merge: string | undefined
  readonly createdAt: number
  /** Highest of its events: the next has one more */
  readonly clock: number
}

/** @param events of all writers, each chain checked, in any order. @returns undefined when its creation is not among them */
export function foldProposal(id: string, events: readonly SealedEvent[], { mergers }: Reviewers): Proposal | undefined {
  const ordered = [...events].sort(byOrder)
  const creation = ordered.find(({ event, proposal }) => event.act.type === 'create' && proposal === id)
  if (creation === undefined || creation.event.act.type !== 'create') return undefined
  const { act, at } = creation.event
  let proposal: Proposal = {
    id,
    from: act.from,
    into: act.into,
    title: act.title,
    text: act.text,
    author: actorOf(creation),
    state: 'open',
    head: act.head,
    comments: [],
    checks: [],
    approvals: [],
    merge: undefined,
    createdAt: at,
    clock: Math.max(...ordered.map(({ event }) => event.clock)),
  }
  for (const sealed of ordered) if (sealed !== creation) proposal = step(proposal, sealed, mergers)
  return proposal
}

function step(proposal: Proposal, sealed: SealedEvent, mergers: ReadonlySet<string>): Proposal {
  const { act, at, writer } = sealed.event
  const by = actorOf(sealed)
  const commented = saidWith(proposal, act, by, at)
  if (proposal.state !== 'open') return act.type === 'comment' ? commented : proposal
  const isTrusted = mergers.has(writer) || writer === proposal.author.node
  const headOf = (named: string): string => (isTrusted ? named : proposal.head)
  switch (act.type) {
    case 'create':
      return proposal
    case 'comment':
      return commented
    case 'check': {
      const { name, result, text, head } = act
      const verdict = { name, result, head, by, ...(text === undefined ? {} : { text }) }
      const others = proposal.checks.filter((one) => one.name !== name || one.head !== head)
      return { ...proposal, checks: [...others, verdict], head: headOf(head) }
    }
    case 'approve': {
      const others = proposal.approvals.filter((one) => one.head !== act.head || !isSame(one.by, by))
      return { ...commented, approvals: [...others, { by, head: act.head }], head: headOf(act.head) }
    }
    case 'merge':
      return mergers.has(writer) ? { ...commented, state: 'merged', merge: act.commit, head: act.head } : proposal
    case 'close':
      return isTrusted ? { ...commented, state: 'closed' } : proposal
  }
}

/** What is said with an act is a comment too. A check's text stays with the check. */
function saidWith(proposal: Proposal, act: ProposalAct, by: Actor, at: number): Proposal {
  if (act.type === 'create' || act.type === 'check' || act.text === undefined || act.text === '') return proposal
  return { ...proposal, comments: [...proposal.comments, { by, text: act.text, at }] }
}

export interface Review {
  /** Newest of each check of this commit, by name */
  readonly checks: readonly Verdict[]
  readonly approvals: readonly Actor[]
  /** Sentences: what keeps it from being merged */
  readonly lacking: readonly string[]
}

/** How far the review of `head` is. */
export function reviewOf(proposal: Proposal, head: string, demands: ReviewDemands): Review {
  const checks = proposal.checks
    .filter((one) => one.head === head)
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  const approvals = proposal.approvals
    .filter((one) => one.head === head && !isSame(one.by, proposal.author))
    .map(({ by }) => by)
  const lacking = demands.checks.flatMap((name) => {
    const result = checks.find((one) => one.name === name)?.result
    if (result === 'pass') return []
    return [result === 'fail' ? `check ${name} failed` : `check ${name} is missing`]
  })
  const missing = demands.approvals - approvals.length
  if (missing > 0) lacking.push(`${missing} more ${missing === 1 ? 'approval' : 'approvals'} by others than the author`)
  return { checks, approvals, lacking }
}

export function isSame(one: Actor, other: Actor): boolean {
  return one.node === other.node && one.subject === other.subject
}

function actorOf({ event }: SealedEvent): Actor {
  const { writer, subject, agent, task } = event
  return {
    node: writer,
    subject,
    ...(agent === undefined ? {} : { agent }),
    ...(task === undefined ? {} : { task }),
  }
}

function byOrder({ event: a }: SealedEvent, { event: b }: SealedEvent): number {
  if (a.clock !== b.clock) return a.clock - b.clock
  if (a.writer !== b.writer) return a.writer < b.writer ? -1 : 1
  return a.sequence - b.sequence
}
