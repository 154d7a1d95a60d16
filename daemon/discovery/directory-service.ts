/**
 * Who offers what. Cards travel with hellos, by push when they change, and in pages to whoever asks, so that a node learns every provider from any peer it meets;
 * nothing here depends on gossip or on the label index, which is asked only for what no known card offers. Authority comes from membership alone: whatever a peer
 * answers, only cards signed by members about themselves count, and pinned peers are dialed whatever anybody says.
 */
import type { CapabilityView, ExecutorView, PeerView } from '../../protocol/api.ts'
import type { Card, SignedCard } from '../../protocol/card/card.ts'
import { cardsWith, dueForRefresh } from '../../protocol/card/directory.ts'
import { type Coordinate, distanceMs, moved, ORIGIN } from '../../protocol/card/vivaldi.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { METHODS } from '../../protocol/membership/hello.ts'
import type { NodeFacts } from '../../protocol/placement/rank.ts'
import { decodeSigned, encodeSigned, type SignedBody } from '../../protocol/signing/signed.ts'
import type { Signer } from '../../protocol/signing/signing.ts'
import type { MembershipService } from '../identity/membership-service.ts'
import type { Journal } from '../journal/journal.ts'
import type { MeshNet, NetEvent } from '../net/mesh-net.ts'
import { AddressBook } from './address-book.ts'
import { CardBook } from './card-book.ts'
import { chooseContacts } from './contacts.ts'
import { OtherNodes } from './other-nodes.ts'
import { countBoot, type Offer, OwnCard } from './own-card.ts'
import { capabilityViews, executorView, type Holder, peerView } from './views.ts'

export interface DirectoryOptions {
  readonly journal: Journal
  readonly membership: MembershipService
  readonly signer: Signer
  readonly version: string
  /** What this node can do at this moment */
  readonly offer: () => Offer
  /** @default 120,000 */
  readonly cardTtlMs?: number
  /** Members to stay connected to. @default 64 */
  readonly maxContacts?: number
  /** Peers to dial whatever others say: node id and addresses. @default those of the invite */
  readonly bootstrap?: readonly { readonly peer: string; readonly addresses: readonly string[] }[]
  /** Publish labels in the label index, and look there for what no card offers. @default true */
  readonly labelIndex?: boolean
  readonly onAlarm?: (what: string, detail: string) => void
  /** Monotonic milliseconds. @default performance.now */
  readonly now?: () => number
  /** For display in cards. @default Date.now */
  readonly wallMs?: () => number
}

type Defaults = Required<Pick<DirectoryOptions, 'cardTtlMs' | 'maxContacts' | 'labelIndex' | 'onAlarm'>>
const DEFAULTS: Defaults = { cardTtlMs: 120_000, maxContacts: 64, labelIndex: true, onAlarm: () => undefined }
const TICK_MS = 1_000
/** A change of capacity is told at most this often; running out of slots, or having one again, sooner. */
const PUSH_MS = 2_000
const URGENT_PUSH_MS = 100
const REFRESHES_PER_TICK = 16
const REPUBLISH_MS = 10 * 60_000
/** A label that the index does not have yet, because it is new or nobody answered, is told at most this often. */
const PUBLISH_MS = 15_000
const FIRST_DIAL_MS = 3_000
/** Providers from the label index that are asked in one search, and for how long. */
const MAX_PROVIDERS = 16
const SEARCH_MS = 3_000

export class DirectoryService {
  readonly #options: DirectoryOptions & Defaults
  readonly #now: () => number
  readonly #addresses: AddressBook
  /** Where members that have not said it themselves were found, which anybody can claim: dialed, never stored. By node id, so at most as many as members. */
  readonly #found = new Map<string, readonly string[]>()
  readonly #maker: OwnCard
  readonly #book: CardBook
  readonly #stopping = new AbortController()
  #net: MeshNet | undefined
  #coordinate: Coordinate = ORIGIN
  #own: SignedCard | undefined
  #ownMadeAt = 0
  #timer: NodeJS.Timeout | undefined
  #pushTimer: NodeJS.Timeout | undefined
  #pushAt = Infinity
  /** Peers that our newest card has not reached */
  readonly #untold = new Set<string>()
  #publishedAt = -Infinity
  #republishedAt = -Infinity
  /** Labels that the label index was told since then */
  readonly #published = new Set<string>()
  #keepTimer: NodeJS.Timeout | undefined
  readonly #others: OtherNodes

  private constructor(options: DirectoryOptions, boot: number) {
    this.#options = { ...DEFAULTS, ...options }
    this.#now = options.now ?? (() => performance.now())
    this.#addresses = new AddressBook(options.journal, this.#now)
    this.#maker = new OwnCard(options.signer, boot)
    const { membership, signer } = options
    this.#book = new CardBook({
      self: signer.nodeId,
      membership,
      now: this.#now,
      onAlarm: this.#options.onAlarm,
      onCard: ({ nodeId, addresses }) => {
        if (this.#addresses.learn(nodeId, addresses)) this.#keepSoon()
        this.#found.delete(nodeId)
      },
      ownSequence: () => this.#own?.card.sequence,
    })
    const { bootstrap } = options.membership.mesh
    this.#others = new OtherNodes({
      self: signer.nodeId,
      now: this.#now,
      card: (peer) => this.card(peer),
      rttMs: (peer) => this.#net?.rttMs(peer),
      distanceMs: (peer) => this.distanceMs(peer),
    })
    for (const { peer, addresses } of [...bootstrap, ...(options.bootstrap ?? [])]) this.#addresses.pin(peer, addresses)
  }

  /** @throws MeshError E_STORAGE */
  static async open(options: DirectoryOptions): Promise<DirectoryService> {
    const service = new DirectoryService(options, await countBoot(options.journal))
    await service.#addresses.load()
    return service
  }

  /** Answers from now on. Call once, before the network starts. */
  attach(net: MeshNet): void {
    this.#net = net
    net.handle(METHODS.cards, (body) => this.#book.answerPage(body))
    net.handle(METHODS.card, () => encodeSigned(this.ownCard()))
    net.handle(METHODS.pushCard, (body, { peer }) => {
      this.#book.accept(decodeSigned(body, LIMITS.cardBytes + 256), peer)
      return new Uint8Array()
    })
    net.on((event) => this.#onNet(event))
    this.#options.membership.on((event) => {
      if (event.type === 'hello' && event.hello.card) this.#book.take(event.hello.card, event.peer)
      if (event.type === 'ready') {
        this.#keepSoon()
        void this.#book.exchange(net, event.peer, this.#stopping.signal)
      }
      if (event.type === 'joined') this.#keepSoon()
      if (event.type === 'expelled') this.#forget(event.peer)
    })
  }

  /** Dials every known address once, then keeps the connections. Call after the network listens. Resolves when each was tried. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    this.#timer.unref()
    await this.#dialAll()
    this.#options.membership.addressesTried()
    this.#keep()
  }

  close(): void {
    clearInterval(this.#timer)
    clearTimeout(this.#pushTimer)
    clearTimeout(this.#keepTimer)
    this.#stopping.abort()
    this.#net?.keep([])
  }

  /** Our own card, made when there is none or the last is getting old. */
  ownCard(): SignedBody {
    if (!this.#own || this.#now() - this.#ownMadeAt > this.#options.cardTtlMs / 2) this.#makeOwn()
    return (this.#own ?? this.#makeOwn()).signed
  }

  /** Says that what this node can do has changed: others hear of it soon. Many changes make one card. */
  changed(): void {
    const hadRoom = this.#own?.card.executors.some(({ free }) => free > 0) ?? false
    const hasRoom = this.#options.offer().executors.some(({ free }) => free > 0)
    const at = this.#now() + (hadRoom === hasRoom ? PUSH_MS : URGENT_PUSH_MS)
    if (at >= this.#pushAt) return
    clearTimeout(this.#pushTimer)
    this.#pushAt = at
    this.#pushTimer = setTimeout(() => this.#pushOwn(), at - this.#now())
    this.#pushTimer.unref()
  }

  /** Card in force of a node. */
  card(peer: string): Card | undefined {
    return this.#book.card(peer)
  }

  /** Estimated round trip from coordinates, milliseconds. */
  distanceMs(peer: string): number | undefined {
    const coordinate = this.card(peer)?.coordinate
    return coordinate && distanceMs(this.#coordinate, coordinate)
  }

  /** Every member with what is known of it, this node first: what placement chooses from. */
  nodes(): readonly NodeFacts[] {
    const own = this.#ownFacts()
    const others = this.#others.facts(this.#options.membership.members(), this.#book.directory)
    return own === undefined ? others : [own, ...others]
  }

  #ownFacts(): NodeFacts | undefined {
    const { membership, signer, offer } = this.#options
    const member = membership.member(signer.nodeId)
    if (member === undefined) return undefined
    const base = {
      node: signer.nodeId,
      name: member.name,
      isSelf: true,
      isMember: true,
      rttMs: 0,
      distanceMs: undefined,
    }
    return { ...base, ...this.#ownOffer(offer()) }
  }

  #ownOffer({ executors, labels }: Offer): Offer {
    return { executors, labels: [...new Set([...executors.map(({ kind }) => kind), ...labels])] }
  }

  executors(): ExecutorView[] {
    return this.#options.offer().executors.map(executorView)
  }

  peers(): PeerView[] {
    const { membership, signer } = this.#options
    const connections = new Map(this.#net?.connections().map((connection) => [connection.peer, connection]))
    return [...membership.members().values()]
      .filter(({ nodeId }) => nodeId !== signer.nodeId)
      .map((member) => {
        const entry = this.#book.entry(member.nodeId)
        return peerView({
          member,
          connection: connections.get(member.nodeId),
          card: this.card(member.nodeId),
          distanceMs: this.distanceMs(member.nodeId),
          seenMsAgo: entry && this.#now() - entry.receivedAt,
        })
      })
  }

  capabilities(label?: string): CapabilityView[] {
    const holders = this.nodes().map(
      ({ node, name, rttMs, labels, executors }): Holder => ({ id: node, name, rttMs, labels, executors }),
    )
    return capabilityViews(holders, label)
  }

  /** Nodes that offer `label` by a card in force; when there is none, asks the label index who might, and those nodes themselves. */
  async find(label: string, signal?: AbortSignal): Promise<Card[]> {
    const known = this.#membersWith(label)
    if (known.length > 0 || !this.#options.labelIndex || !this.#net) return known
    const limit = AbortSignal.any([AbortSignal.timeout(SEARCH_MS), this.#stopping.signal, ...(signal ? [signal] : [])])
    const asked: Promise<void>[] = []
    try {
      for await (const peer of this.#net.findProviders(label, limit)) {
        if (!this.#options.membership.isMember(peer)) continue
        asked.push(this.#askCard(peer, limit))
        if (asked.length >= MAX_PROVIDERS) break
      }
    } catch {
      // The index is a hint: without it we know what the cards say.
    }
    await Promise.allSettled(asked)
    return this.#membersWith(label)
  }

  #membersWith(label: string): Card[] {
    const { membership } = this.#options
    return cardsWith(this.#book.directory, label, this.#now()).filter(({ nodeId }) => membership.isMember(nodeId))
  }

  async #askCard(peer: string, signal: AbortSignal): Promise<void> {
    const net = this.#net
    if (!net) return
    await net.connect(peer, this.#addressesOf(peer), signal)
    const answer = await net.request(peer, METHODS.card, new Uint8Array(), { signal })
    this.#book.accept(decodeSigned(answer, LIMITS.cardBytes + 256), peer)
  }

  #makeOwn(): SignedCard {
    const { membership, offer, cardTtlMs, version, wallMs = Date.now, signer } = this.#options
    const name = membership.member(signer.nodeId)?.name ?? membership.mesh.nodeName
    const base = { meshId: membership.mesh.meshId, name, ttlMs: cardTtlMs, version, listEpoch: membership.epoch }
    const addresses = this.#net?.addresses() ?? []
    this.#own = this.#maker.make({ ...base, coordinate: this.#coordinate, addresses, offer: offer() }, wallMs())
    this.#ownMadeAt = this.#now()
    return this.#own
  }

  #pushOwn(): void {
    this.#pushAt = Infinity
    this.#makeOwn()
    this.#untold.clear()
    for (const { peer } of this.#net?.connections() ?? []) this.#untold.add(peer)
    this.#tellOwn()
  }

  /** A peer that is not served yet, or does not take it because it does not serve this node yet, has a card from before: it is told with a later tick. */
  #tellOwn(): void {
    if (!this.#own || this.#untold.size === 0) return
    const body = encodeSigned(this.#own.signed)
    for (const { peer, ready } of this.#net?.connections() ?? []) {
      if (!ready || !this.#untold.delete(peer)) continue
      this.#net?.request(peer, METHODS.pushCard, body).catch(() => this.#untold.add(peer))
    }
  }

  #onNet(event: NetEvent): void {
    this.#others.forget()
    // The hello that comes next carries it
    if (event.type === 'peer-down') this.#untold.delete(event.peer)
    if (event.type === 'addresses-changed') {
      // Hellos that follow carry it
      this.#makeOwn()
      this.changed()
    }
    if (event.type === 'peer-found' && this.#options.membership.isMember(event.peer))
      this.#onFound(event.peer, event.addresses.slice(0, LIMITS.addresses))
  }

  /** Addresses nobody signed cost a dial and replace nothing. Whoever answers there proves its id, and its hello brings the signed ones. */
  #onFound(peer: string, addresses: readonly string[]): void {
    if (this.#addresses.of(peer).length > 0) {
      // It may have moved without having told
      this.#net?.connect(peer, addresses, this.#stopping.signal).catch(() => undefined)
      return
    }
    this.#found.set(peer, addresses)
    this.#keepSoon()
  }

  #addressesOf(peer: string): readonly string[] {
    const known = this.#addresses.of(peer)
    return known.length > 0 ? known : (this.#found.get(peer) ?? [])
  }

  #forget(peer: string): void {
    this.#found.delete(peer)
    this.#book.forget(peer)
    this.#addresses.forget(peer)
    this.#keepSoon()
  }

  #tick(): void {
    const now = this.#now()
    this.#book.prune(this.#options.cardTtlMs)
    this.#addresses.keep()
    this.#measure()
    if (this.#own && now - this.#ownMadeAt > this.#options.cardTtlMs / 2) this.#pushOwn()
    this.#tellOwn()
    const connected = (this.#net?.connections() ?? []).filter(({ ready }) => ready).map(({ peer }) => peer)
    if (this.#net) this.#book.exchangeAgain(this.#net, connected, this.#stopping.signal)
    for (const peer of dueForRefresh(this.#book.directory, connected, now, REFRESHES_PER_TICK)) {
      this.#askCard(peer, AbortSignal.timeout(SEARCH_MS)).catch(() => undefined)
    }
    if (this.#options.labelIndex && now - this.#publishedAt > PUBLISH_MS && connected.length > 0) this.#publish(now)
  }

  /** One step of the coordinate for each connected peer that has one. */
  #measure(): void {
    for (const { peer, rttMs } of this.#net?.connections() ?? []) {
      const remote = this.card(peer)?.coordinate
      if (rttMs !== undefined && remote) this.#coordinate = moved(this.#coordinate, remote, rttMs, Math.random())
    }
  }

  #publish(now: number): void {
    if (now - this.#republishedAt > REPUBLISH_MS) {
      this.#published.clear()
      this.#republishedAt = now
    }
    for (const label of this.#own?.card.labels ?? []) {
      if (this.#published.has(label)) continue
      this.#publishedAt = now
      this.#published.add(label)
      this.#net?.provide(label, this.#stopping.signal).catch(() => this.#published.delete(label))
    }
  }

  async #dialAll(): Promise<void> {
    const signal = AbortSignal.any([AbortSignal.timeout(FIRST_DIAL_MS), this.#stopping.signal])
    const net = this.#net
    if (net) await Promise.allSettled(this.#wanted().map(({ peer, addresses }) => net.connect(peer, addresses, signal)))
  }

  #wanted() {
    const { membership, signer, maxContacts } = this.#options
    const pinned = new Set(this.#addresses.pinned())
    const contacts = [...membership.members().keys()]
      .filter((peer) => peer !== signer.nodeId && (pinned.has(peer) || this.#addressesOf(peer).length > 0))
      .map((peer) => {
        const near = this.#net?.rttMs(peer) ?? this.distanceMs(peer)
        return { peer, distanceMs: near, isPinned: pinned.has(peer) }
      })
    const chosen = chooseContacts(signer.nodeId, contacts, maxContacts)
    return chosen.map((peer) => ({ peer, addresses: this.#addressesOf(peer) }))
  }

  #keep(): void {
    if (!this.#stopping.signal.aborted) this.#net?.keep(this.#wanted())
  }

  /** Several changes at once make one choice. */
  #keepSoon(): void {
    if (this.#keepTimer) return
    this.#keepTimer = setTimeout(() => {
      this.#keepTimer = undefined
      this.#keep()
    }, 50)
    this.#keepTimer.unref()
  }
}
