/** Finds nodes for tasks from what the directory knows, and asks them. */
import { manyhands } from '../../proto/gen/wire.js'
import type { Candidate } from '../../protocol/api.ts'
import type { ExecutorOffer } from '../../protocol/card/card.ts'
import { decodeBounded } from '../../protocol/bounded-decode.ts'
import { MeshError } from '../../protocol/errors.ts'
import { bidScore, chooseForOffer, hasRoom, localDominates } from '../../protocol/placement/choose.ts'
import { type NodeFacts, PLACES, type RankedCandidate, rank } from '../../protocol/placement/rank.ts'
import { DOMAINS, verifyData, withDomain } from '../../protocol/signing/signing.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import type { OfferSize, Placer, Search } from './active-task.ts'
import type { Found, OfferAnswer } from './delegation-driver.ts'
import type { Hands } from './hands.ts'
import type { Requirements } from './task-spec.ts'

export interface MeshPlacerOptions {
  readonly net: MeshNet
  readonly hands: Hands
  /** Every node of the mesh that is known, this one included */
  readonly nodes: () => readonly NodeFacts[]
  /** What this node can do for itself. @default what its card says */
  readonly own?: () => ExecutorOffer
  /** Looks for nodes with a label that are not known yet. Resolves when it is worth looking again. */
  readonly discover: (label: string) => Promise<void>
  /** Numbers in [0, 1) */
  readonly random: () => number
  /** Whether members may still be unheard of because this node has just started. @default never */
  readonly isSettling?: () => boolean
  /** Nodes asked at once. @default 4 */
  readonly offers?: number
}

/** For an answer, and for the way in round trips: what was measured idle takes longer behind bulk. */
const OFFER_MS = 2_000
const OFFER_TRIPS = 3
const BID_BOUNDS = { what: 'bid', maxBytes: 1 << 10, maxFields: 16 }

export class MeshPlacer implements Placer {
  readonly #options: MeshPlacerOptions

  constructor(options: MeshPlacerOptions) {
    this.#options = options
  }

  find(requires: Requirements, search: Search): Promise<Found> | Found {
    this.#checkPlace(requires.on)
    const ranked = this.#rank(requires, search.avoid)
    if (ranked.some(isAble)) return this.#found(ranked, search)
    return this.#findFarther(requires, search)
  }

  async offer(node: string, task: string, size: OfferSize, requires: Requirements): Promise<OfferAnswer> {
    const [ranked] = this.#rank(requires, [], (facts) => facts.node === node)
    if (ranked === undefined) throw new MeshError('E_UNREACHABLE', 'The node is not known any more')
    if (ranked.isSelf) return this.#ownBid(ranked, requires)
    const body = manyhands.Offer.encode({
      taskId: task,
      requires: { capability: requires.capability, grade: requires.grade ?? '', labels: [...requires.labels] },
      count: 1,
      ...size,
      path: [this.#options.net.self],
      hops: 1,
    }).finish()
    const { net } = this.#options
    await net.connect(node)
    const timeoutMs = OFFER_MS + OFFER_TRIPS * (net.rttMs(node) ?? 0)
    const answer = await net.request(node, 'offer', body, { timeoutMs })
    const bid = readBid(answer, node, task)
    const facts = { node, etaMs: bid.etaMs, queued: bid.queued, price: bid.price }
    return {
      score: bidScore(ranked, facts),
      candidate: {
        outcome: 'bid',
        etaMs: bid.etaMs,
        queued: bid.queued,
        reason: `bids: starts in ${bid.etaMs} ms; ${ranked.reason}`,
      },
    }
  }

  async able(requires: Requirements): ReturnType<Placer['able']> {
    this.#checkPlace(requires.on)
    const ranked = this.#rank(requires, [])
    const nodes = ranked.filter(isAble).filter(({ isSelf, node }) => isSelf || this.#options.net.isConnected(node))
    const slots = new Map(this.#options.nodes().map((facts) => [facts.node, slotsOf(facts, requires.capability)]))
    if (nodes.length === 0) await this.#options.discover(requires.capability)
    return { nodes: nodes.map(({ node }) => ({ node, slots: slots.get(node) ?? 1 })), candidates: ranked.map(shown) }
  }

  /** Members are known from the list alone: a place that is none of theirs will not come up. @throws MeshError E_NOT_FOUND */
  #checkPlace(on: string): void {
    if (PLACES.has(on) || this.#options.nodes().some(({ node, name }) => node === on || name === on)) return
    throw new MeshError('E_NOT_FOUND', `No node of the mesh is called "${on}"`, {
      hint: 'See those there are with: manyhands peers',
    })
  }

  /** Nobody known is able: ask the label index before giving up, unless the task names its place. */
  async #findFarther(requires: Requirements, search: Search): Promise<Found> {
    const { avoid } = search
    if (requires.on !== 'local') await this.#options.discover(requires.capability)
    const ranked = this.#rank(requires, avoid)
    if (ranked.some(isAble)) return this.#found(ranked, search)
    // Nodes that were only tried and failed may be able again, and others not heard of yet: no reason to give up.
    const candidates = ranked.map(shown)
    const isEarly = this.#options.isSettling?.() ?? false
    if (isEarly || (avoid.length > 0 && this.#rank(requires, []).some(isAble)))
      return { input: { type: 'candidates', nodes: [] }, candidates }
    return { input: { type: 'candidates', nodes: [], hopeless: hopeless(requires, ranked) }, candidates }
  }

  #found(ranked: readonly RankedCandidate[], { isFirst }: Search): Found {
    if (localDominates(ranked)) {
      const { net } = this.#options
      const candidates = ranked.map((candidate) =>
        candidate.node === net.self || candidate.outcome === 'filtered'
          ? shown(candidate)
          : { ...shown(candidate), reason: `${candidate.reason}; not asked, since this node is able and idle` },
      )
      return { input: { type: 'candidates', nodes: [], bindNow: net.self }, candidates }
    }
    const only = isFirst ? this.#onlyAble(ranked) : undefined
    if (only !== undefined) {
      const reason = `${only.reason}; not asked first, since no other node can take it`
      const candidates = ranked.map((candidate) => (candidate === only ? { ...shown(only), reason } : shown(candidate)))
      return { input: { type: 'candidates', nodes: [], bindNow: only.node }, candidates }
    }
    const chosen = new Set(
      chooseForOffer(ranked, this.#options.random, offerCounts(this.#options.offers ?? 4)).map(({ node }) => node),
    )
    const candidates = ranked.map((candidate) => ({
      ...shown(candidate),
      ...(chosen.has(candidate.node) ? { outcome: 'silent' as const } : {}),
    }))
    return { input: { type: 'candidates', nodes: [...chosen] }, candidates }
  }

  /**
   * The one node that can take it, if it has room as far as is known: there is nothing to choose, and asking would only cost a round trip. When it refuses
   * all the same, it is asked the next time: a bind costs an epoch, and the payload.
   */
  #onlyAble(ranked: readonly RankedCandidate[]): RankedCandidate | undefined {
    const [only, ...others] = ranked.filter(isAble)
    if (only === undefined || only.isSelf || others.length > 0 || !hasRoom(only)) return undefined
    return this.#options.net.isConnected(only.node) ? only : undefined
  }

  /** What this node says of itself is measured now, not read from its card. */
  #rank(
    requires: Requirements,
    avoid: readonly string[],
    only?: (facts: NodeFacts) => boolean,
  ): readonly RankedCandidate[] {
    const excluded = new Map(avoid.map((node) => [node, 'it refused or lost this task before']))
    const { net, nodes, hands } = this.#options
    const { own } = this.#options
    const asked = only === undefined ? nodes() : nodes().filter(only)
    const facts = asked.map((node) => (node.node === net.self ? withLiveState(node, hands, own?.()) : node))
    const { capability, grade, labels, on } = requires
    return rank(facts, { capability, grade, labels, on }, { hops: 0, path: [], excluded, salt: net.self })
  }

  #ownBid(ranked: RankedCandidate, requires: Requirements): OfferAnswer {
    const { hands, net } = this.#options
    hands.check('run', net.self, requires.grade)
    const { etaMs, queued } = hands.state()
    const facts = { node: net.self, etaMs, queued, price: 0 }
    return {
      score: bidScore(ranked, facts),
      candidate: { outcome: 'bid', etaMs, queued, reason: `this node, starts in ${etaMs} ms` },
    }
  }
}

/** Most of the offers go to the best, the others are spread so that load and stale cards even out. */
function offerCounts(offers: number): { near: number; random: number } {
  const near = Math.ceil(offers * 0.6)
  return { near, random: offers - near }
}

function isAble(candidate: RankedCandidate): boolean {
  return candidate.score !== undefined
}

function shown(candidate: RankedCandidate): Candidate {
  const { isSelf: _self, free: _free, ...rest } = candidate
  return rest
}

function withLiveState(facts: NodeFacts, hands: Hands, own: ExecutorOffer | undefined): NodeFacts {
  const { slots, busy, queued } = hands.state()
  const offers = own === undefined ? facts.executors : [own]
  const executors = offers.map((offer) => ({ ...offer, slots, free: Math.max(0, slots - busy), queued }))
  return { ...facts, executors, labels: [...new Set([...facts.labels, ...offers.map(({ kind }) => kind)])] }
}

function slotsOf(facts: NodeFacts, capability: string): number {
  return facts.executors.find((offer) => offer.kind === capability)?.slots ?? 1
}

function hopeless(
  requires: Requirements,
  ranked: readonly RankedCandidate[],
): { code: 'E_GRADE' | 'E_NO_CANDIDATE'; message: string; hint: string } {
  const onlyGrade = requires.grade !== undefined && ranked.some(({ reason }) => reason.includes('isolation grade'))
  const message = `No node of the mesh can take this task: ${reasonsOf(ranked)}`
  return { code: onlyGrade ? 'E_GRADE' : 'E_NO_CANDIDATE', message, hint: NO_NODE_HINT }
}

/** For a task that nobody takes. */
export const NO_NODE_HINT =
  'Ask for less (grade, label, node), or see what there is with: manyhands capabilities, manyhands peers'

/** Why none of them takes it, for people. */
export function reasonsOf(candidates: readonly { readonly name: string; readonly reason: string }[]): string {
  const reasons = candidates.map(({ name, reason }) => `${name}: ${reason}`).slice(0, 5)
  return reasons.length === 0 ? 'no node is known' : reasons.join('; ')
}

/** @throws MeshError E_PROTOCOL, E_SIGNATURE */
function readBid(answer: Uint8Array, node: string, task: string): { etaMs: number; queued: number; price: number } {
  const signed = decodeBounded(manyhands.SignedBid, answer, BID_BOUNDS)
  if (!verifyData(node, withDomain(DOMAINS.bid, signed.body), signed.signature))
    throw new MeshError('E_SIGNATURE', 'The signature of the bid does not match its node')
  const bid = decodeBounded(manyhands.Bid, signed.body, BID_BOUNDS)
  if (bid.nodeId !== node || bid.taskId !== task)
    throw new MeshError('E_PROTOCOL', 'The bid is for another task or of another node')
  const price = Number.isFinite(bid.price) && bid.price >= 0 ? bid.price : 0
  return { etaMs: bid.etaMs, queued: bid.queued, price }
}
