/** Whom to ask, and whom of those that answered to choose. */
import type { RankedCandidate } from './rank.ts'

/** What a node answered to an offer. */
export interface BidFacts {
  readonly node: string
  /** Until a job would start there, milliseconds */
  readonly etaMs: number
  readonly queued: number
  readonly price: number
}

/** Nodes offered to at once: the nearest few, and some at random so that load and stale cards even out. */
export const NEAR_OFFERS = 3
export const RANDOM_OFFERS = 2
/** What one unit of price weighs, milliseconds. */
export const PRICE_MS = 1

/**
 * Whether this node itself takes it without asking anyone: it is able, has a free slot, and any other would first cost a round trip. The others are recorded as
 * not asked.
 */
export function localDominates(ranked: readonly RankedCandidate[]): boolean {
  return ranked.some((candidate) => candidate.isSelf && candidate.score !== undefined && hasRoom(candidate))
}

/** Whether it would start work at once, as far as is known. */
export function hasRoom({ free, queued }: RankedCandidate): boolean {
  return free > 0 && queued === 0
}

/**
 * Whom to offer to, best first.
 * @param random gives numbers in [0, 1)
 */
export function chooseForOffer(
  ranked: readonly RankedCandidate[],
  random: () => number,
  counts: { near: number; random: number } = { near: NEAR_OFFERS, random: RANDOM_OFFERS },
): readonly RankedCandidate[] {
  const able = ranked.filter((candidate) => candidate.score !== undefined)
  const rest = able.slice(counts.near)
  const chosen = able.slice(0, counts.near)
  for (let left = Math.min(counts.random, rest.length); left > 0; left--) {
    chosen.push(...rest.splice(Math.floor(random() * rest.length), 1))
  }
  return chosen
}

/** The score after a bid, milliseconds: what the node says now counts for more than its card. */
export function bidScore(candidate: RankedCandidate, bid: BidFacts): number {
  const distance = (candidate.score ?? 0) - (candidate.etaMs ?? 0)
  return Math.round((distance + bid.etaMs + bid.price * PRICE_MS) * 1000) / 1000
}

/** The candidate with what its bid says, and the best of them first. */
export function rankBids(
  candidates: readonly RankedCandidate[],
  bids: readonly BidFacts[],
): readonly RankedCandidate[] {
  const answered = candidates.flatMap((candidate): RankedCandidate[] => {
    const bid = bids.find(({ node }) => node === candidate.node)
    if (!bid) return []
    const { etaMs, queued } = bid
    const reason = `it would start in ${Math.round(etaMs)} ms with ${queued} waiting; ${candidate.reason}`
    return [{ ...candidate, etaMs, queued, score: bidScore(candidate, bid), outcome: 'bid', reason }]
  })
  return answered.sort((a, b) => (a.score ?? Infinity) - (b.score ?? Infinity) || b.free - a.free)
}
