/** The cards of others: takes them from pushes, hellos and pages, holds what verifies and is of a member, and answers those who ask. */
import { type Card, openCard } from '../../protocol/card/card.ts'
import * as pages from '../../protocol/card/card-page.ts'
import {
  type CardEntry,
  type Directory,
  EMPTY_DIRECTORY,
  isFresh,
  pruned,
  withCard,
  withoutNode,
} from '../../protocol/card/directory.ts'
import { METHODS } from '../../protocol/membership/hello.ts'
import { digestOf, type SignedBody, sameBytes } from '../../protocol/signing/signed.ts'
import type { MembershipService } from '../identity/membership-service.ts'
import type { MeshNet } from '../net/mesh-net.ts'

export interface CardBookOptions {
  readonly self: string
  readonly membership: MembershipService
  readonly now: () => number
  readonly onAlarm: (what: string, detail: string) => void
  /** A newer card of another member was taken */
  readonly onCard: (card: Card) => void
  /** Sequence of this node's own last card */
  readonly ownSequence: () => number | undefined
}

/** Peers asked for all their cards after a start; after that only when cards of members are missing. */
const FULL_EXCHANGES = 3

export class CardBook {
  readonly #options: CardBookOptions
  #directory: Directory = EMPTY_DIRECTORY
  #exchanges = 0
  /** Peers that were asked for all their cards and did not give them */
  readonly #owing = new Set<string>()

  constructor(options: CardBookOptions) {
    this.#options = options
  }

  get directory(): Directory {
    return this.#directory
  }

  entry(peer: string): CardEntry | undefined {
    return this.#directory.byNode.get(peer)
  }

  /** Card in force of a node. */
  card(peer: string): Card | undefined {
    const entry = this.entry(peer)
    return entry && isFresh(entry, this.#options.now()) ? entry.signed.card : undefined
  }

  forget(peer: string): void {
    this.#directory = withoutNode(this.#directory, peer)
  }

  prune(graceMs: number): void {
    this.#directory = pruned(this.#directory, this.#options.now(), graceMs)
  }

  /**
   * @param from set when the sender may only speak of itself
   * @param ageMs how old it was where it came from
   * @throws MeshError E_PROTOCOL, E_SIGNATURE
   */
  accept(signed: SignedBody, from: string | undefined, ageMs = 0): void {
    const { membership, onAlarm, self, now } = this.#options
    if (from !== undefined && signed.signer !== from) {
      return onAlarm('card-refused', `${from} sent a card of ${signed.signer} as its own`)
    }
    if (!membership.isMember(signed.signer)) return
    if (signed.signer === self) return this.#ownSeen(signed)
    const known = this.entry(signed.signer)
    // The card we have, once more: no need to verify it again.
    if (known && sameBytes(known.signed.digest, digestOf(signed))) return
    const opened = openCard(signed)
    const { card } = opened
    if (card.meshId !== membership.mesh.meshId) return
    const [directory, verdict] = withCard(this.#directory, opened, now(), Math.min(ageMs, card.ttlMs))
    this.#directory = directory
    if (verdict === 'equivocation') onAlarm(verdict, `${card.nodeId} signed two different cards with one sequence`)
    if (verdict === 'new' || verdict === 'newer') this.#options.onCard(card)
  }

  /** As `accept`; a card that does not verify is an alarm. */
  take(signed: SignedBody, from: string | undefined, ageMs = 0): void {
    try {
      this.accept(signed, from, ageMs)
    } catch {
      this.#options.onAlarm('card-refused', `A card of ${signed.signer} does not verify`)
    }
  }

  /** A card of ours that others hold: one that we did not make shows that someone else uses our key, or that our journal went back. */
  #ownSeen(signed: SignedBody): void {
    const own = this.#options.ownSequence()
    if (own === undefined || openCard(signed).card.sequence <= own) return
    this.#options.onAlarm('two-instances', 'Another process signs cards with the identity of this node')
  }

  /** Answers a request for a page. @throws MeshError E_PROTOCOL */
  answerPage(body: Uint8Array): Uint8Array {
    const { membership, now } = this.#options
    const query = pages.decodeCardsQuery(body)
    return pages.encodeCardsPage(pages.pageOf(this.#directory, query, (node) => membership.isMember(node), now()))
  }

  /** Takes all cards a peer knows, page by page, unless enough peers were asked and no card is missing. */
  async exchange(net: MeshNet, peer: string, signal: AbortSignal): Promise<void> {
    if (this.#exchanges >= FULL_EXCHANGES && !this.#isMissingCards()) return
    this.#exchanges++
    try {
      await this.#takePages(net, peer, signal)
    } catch {
      // It went away, or does not serve this node yet
      this.#exchanges--
      this.#owing.add(peer)
    }
  }

  /** Asks those once more that did not give their cards; to be called now and then, since a node may know one peer alone. */
  exchangeAgain(net: MeshNet, connected: readonly string[], signal: AbortSignal): void {
    const owing = connected.filter((peer) => this.#owing.has(peer))
    this.#owing.clear()
    for (const peer of owing) void this.exchange(net, peer, signal)
  }

  async #takePages(net: MeshNet, peer: string, signal: AbortSignal): Promise<void> {
    const maxPages = 2 + Math.ceil((2 * this.#options.membership.members().size) / pages.PAGE_CARDS)
    let after: string | undefined
    for (let count = 0; count < maxPages; count++) {
      const query = pages.encodeCardsQuery({ label: undefined, max: pages.PAGE_CARDS, after })
      const page = pages.decodeCardsPage(await net.request(peer, METHODS.cards, query, { signal }))
      for (const { signed, ageMs } of page.cards) this.take(signed, undefined, ageMs)
      // A page must lead on, or a hostile answerer could keep us for ever.
      if (page.next === undefined || page.next <= (after ?? '')) return
      after = page.next
    }
  }

  #isMissingCards(): boolean {
    const { membership, self } = this.#options
    return [...membership.members().keys()].some((nodeId) => nodeId !== self && !this.card(nodeId))
  }
}
