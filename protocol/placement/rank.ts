/**
 * Which node should do a piece of work: filter by what it needs, then order by how soon it would be done. Pure, so that the same inputs always explain themselves.
 *
 * score = round trip + time until a slot is free + price, all in milliseconds; lower is better. Before bids, waiting is estimated from the card.
 */
import type { Candidate } from '../api.ts'
import type { ExecutorOffer } from '../card/card.ts'
import { GRADES, type Grade } from '../job.ts'
import { LIMITS } from '../limits.ts'

/** What a task says of its place instead of a node. */
export const PLACES: ReadonlySet<string> = new Set(['any', 'local', 'other'])

/** What is known of a node that might do it. */
export interface NodeFacts {
  readonly node: string
  readonly name: string
  /** The node that decides */
  readonly isSelf: boolean
  /** Belongs to the mesh now */
  readonly isMember: boolean
  readonly labels: readonly string[]
  readonly executors: readonly ExecutorOffer[]
  /** Measured */
  readonly rttMs: number | undefined
  /** Estimated from coordinates, where not measured */
  readonly distanceMs: number | undefined
}

export interface Requirements {
  readonly capability: string
  readonly grade: Grade | undefined
  readonly labels: readonly string[]
  /** "any", "local", "other", or a node's name or id */
  readonly on: string
  readonly memoryBytes?: number
  readonly wallMs?: number
}

export interface RankContext {
  /** Delegations already made */
  readonly hops: number
  /** Nodes it came through: never back to one of them */
  readonly path: readonly string[]
  /** Nodes not to use again, with the reason as a clause, e.g. "its lease ended without a result" */
  readonly excluded: ReadonlyMap<string, string>
  /** Orders equals: different for each task, so that equals share the work */
  readonly salt: string
}

export interface RankedCandidate extends Candidate {
  readonly isSelf: boolean
  /** Slots free now by its card */
  readonly free: number
}

/** What an unmeasured node without a coordinate counts as: farther than a LAN, nearer than another continent. */
export const UNKNOWN_RTT_MS = 50
/** What one queued job ahead costs when nothing better is known, milliseconds. */
export const QUEUED_JOB_MS = 20

/** All nodes, able ones first and best first; the others after them as `filtered` with the reason. */
export function rank(
  nodes: readonly NodeFacts[],
  requirements: Requirements,
  context: RankContext,
): readonly RankedCandidate[] {
  const { on } = requirements
  // Nodes choose their names: none takes the work that was meant for another by being called like its id.
  const isId = nodes.some(({ node }) => node === on)
  const keyed = nodes.map((facts) => {
    const named = isId ? facts.node : facts.name
    const candidate = judge(facts, requirements, context, misplaced(facts, on, named))
    return { candidate, order: order(candidate), tie: spread(context.salt + candidate.node) }
  })
  keyed.sort((a, b) => compare(a.order, b.order) || b.candidate.free - a.candidate.free || a.tie - b.tie)
  return keyed.map(({ candidate }) => candidate)
}

/** Of two filtered ones neither is first: their difference is no number. */
function compare(a: number, b: number): number {
  return a === b ? 0 : a - b
}

function order(candidate: RankedCandidate): number {
  // A microsecond more or less is no reason to prefer one of two neighbours.
  return candidate.score === undefined ? Infinity : Math.round(candidate.score * 10)
}

/** FNV-1a, 32 bit. */
function spread(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193) >>> 0
  return hash
}

function judge(
  facts: NodeFacts,
  requirements: Requirements,
  context: RankContext,
  elsewhere: string | undefined,
): RankedCandidate {
  const base = { node: facts.node, name: facts.name, isSelf: facts.isSelf, free: 0 }
  const rttMs = facts.isSelf ? 0 : facts.rttMs
  const known = rttMs === undefined ? base : { ...base, rttMs }
  const reason = unable(facts, requirements, context, elsewhere)
  if (reason !== undefined) return { ...known, outcome: 'filtered', reason }
  const offers = facts.executors.filter((offer) => offerFault(offer, requirements) === undefined)
  // A capability that needs no executor (a tool, a service) is taken as free at once.
  const best = offers.sort((a, b) => waitMs(a) - waitMs(b))[0]
  const distance = rttMs ?? facts.distanceMs ?? UNKNOWN_RTT_MS
  const etaMs = best ? waitMs(best) : 0
  const found = { ...known, free: best?.free ?? 1, queued: best?.queued ?? 0, etaMs, score: round(distance + etaMs) }
  return { ...found, outcome: 'not-asked', reason: describe(facts, distance, best) }
}

function describe(facts: NodeFacts, distance: number, offer: ExecutorOffer | undefined): string {
  const measured = facts.rttMs === undefined ? 'an estimated ' : ''
  const where = facts.isSelf ? 'this node' : `${measured}${round(distance)} ms away`
  if (!offer) return where
  return `${where}, ${offer.free} of ${offer.slots} slots free${offer.queued > 0 ? `, ${offer.queued} waiting` : ''}`
}

/** Time until a slot is free, milliseconds. */
function waitMs(offer: ExecutorOffer): number {
  if (offer.free > 0 && offer.queued === 0) return 0
  return ((offer.queued + 1) * QUEUED_JOB_MS) / Math.max(1, offer.slots)
}

/** Why a node cannot do it; undefined when it can. */
function unable(
  facts: NodeFacts,
  requirements: Requirements,
  context: RankContext,
  elsewhere: string | undefined,
): string | undefined {
  if (!facts.isMember) return 'it does not belong to the mesh'
  if (elsewhere) return elsewhere
  if (!facts.isSelf && context.path.includes(facts.node)) return 'the task came through it'
  if (!facts.isSelf && context.hops >= LIMITS.hops)
    return `the task was passed on ${context.hops} times, which is the most`
  const excluded = context.excluded.get(facts.node)
  if (excluded !== undefined) return excluded
  if (!facts.labels.includes(requirements.capability)) return `it does not offer ${requirements.capability}`
  const missing = requirements.labels.find((label) => !facts.labels.includes(label))
  if (missing !== undefined) return `it does not carry the label ${missing}`
  return executorFault(facts, requirements)
}

/** @param named what `on` has to be to mean the node */
function misplaced(facts: NodeFacts, on: string, named: string): string | undefined {
  if (on === 'local') return facts.isSelf ? undefined : 'the task must run on this node'
  if (on === 'other') return facts.isSelf ? 'the task must run on another node' : undefined
  return on === 'any' || on === named ? undefined : `the task must run on ${on}`
}

/** Executors count for the capability of their kind; for any other only a demanded grade needs one. */
function executorFault(facts: NodeFacts, requirements: Requirements): string | undefined {
  const ofKind = facts.executors.filter((offer) => offer.kind === requirements.capability)
  if (ofKind.length === 0)
    return requirements.grade === undefined ? undefined : 'it has no executor for that capability'
  const faults = ofKind.map((offer) => offerFault(offer, requirements))
  return faults.includes(undefined) ? undefined : faults[0]
}

function offerFault(
  offer: ExecutorOffer,
  { capability, grade, memoryBytes, wallMs }: Requirements,
): string | undefined {
  if (offer.kind !== capability) return 'it is another kind of executor'
  if (grade !== undefined && GRADES.indexOf(offer.grade) < GRADES.indexOf(grade)) {
    return `its isolation grade is ${offer.grade}, and ${grade} is demanded`
  }
  if (offer.slots < 1) return 'it has no slots'
  if (memoryBytes !== undefined && memoryBytes > offer.maxMemoryBytes) return 'it gives less memory than demanded'
  if (wallMs !== undefined && wallMs > offer.maxWallMs) return 'it gives less time than demanded'
  return undefined
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
