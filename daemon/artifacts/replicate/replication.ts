/**
 * Artifacts replicate between nodes: feeds the state machine of `protocol/artifact/replication.ts` with what the store, the links and other nodes say, and carries its
 * decisions out.
 */
import type { Holding } from '../../../protocol/artifact/holding.ts'
import { REPLICA_TIMES, type ReplicaTimes, type Surroundings } from '../../../protocol/artifact/replication.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { Signer } from '../../../protocol/signing/signing.ts'
import type { Journal } from '../../journal/journal.ts'
import type { MeshNet, NetEvent } from '../../net/mesh-net.ts'
import type { ArtifactEvent } from '../store/artifact-store.ts'
import type { OpenStore } from '../store/journal-store.ts'
import { type Acknowledgement, Acknowledgements } from './acknowledgements.ts'
import { Background, type Note } from './background.ts'
import { CHECK_TIMEOUT_MS, CheckSchedule } from './check-schedule.ts'
import { Checks } from './checks.ts'
import { Copies } from './copies.ts'
import { Errands } from './errands.ts'
import { HeldArtifacts } from './held.ts'
import { Hearing } from './hearing.ts'
import { HoldingBook } from './holding-book.ts'
import { labelOf, Labels } from './labels.ts'
import { Links } from './links.ts'
import { Replicas } from './replicas.ts'
import { Rounds } from './rounds.ts'
import { FetchServer } from './serve-fetch.ts'
import { type ReplicationStatus, statusOf } from './status.ts'
import { Teller } from './teller.ts'
import { type TransferFigures, Transfers } from './transfers.ts'

export interface ReplicationOptions {
  readonly net: MeshNet
  readonly store: OpenStore
  /** Must know `REPLICATION_RECORDS` */
  readonly journal: Journal
  readonly signer: Signer
  readonly isMember: (node: string) => boolean
  /** Whether a node takes copies, as far as is known. @default all do, and say no if not */
  readonly isAble?: (node: string) => boolean
  /** Whether this node takes copies for others. @default true */
  readonly lends?: boolean
  /** Copies for others are taken only while more room than this is left, bytes. @default 64 MiB */
  readonly minRoomBytes?: number
  readonly times?: Partial<ReplicaTimes>
  /** How often what is shared with each peer is compared, about. @default 30,000 */
  readonly checkMs?: number
  /** A stream on which nothing moves ends after this. @default 30,000 */
  readonly idleMs?: number
  /** Records that one stream carries. @default RECORDS_PER_FETCH */
  readonly recordsPerFetch?: number
  readonly note?: Note
  /** Monotonic milliseconds. @default performance.now */
  readonly now?: () => number
  /** Large files that commits held here name and that are not here yet; undefined where there are none at all. @default none */
  readonly lacks?: (artifact: string) => number | undefined
  /** @default Math.random */
  readonly random?: () => number
}

export type ReplicationEvent =
  /** Another node stated that it holds these records */
  | { readonly type: 'held'; readonly artifact: string; readonly peer: string }
  /** Records of others came and were taken */
  | { readonly type: 'fetched'; readonly artifact: string; readonly peer: string; readonly records: number }

export interface ReplicationFigures extends TransferFigures {
  /** Artifacts in which something is under way or waited for: a copy that is missing, a peer that lags */
  readonly active: number
  /** Signed statements of other nodes on what they hold that were heard since the start */
  readonly heard: number
}

const TICK_MS = 500
const CHECK_MS = 30_000

export class Replication {
  readonly #options: ReplicationOptions
  readonly #now: () => number
  readonly #random: () => number
  readonly #times: ReplicaTimes
  readonly #background: Background
  readonly #links: Links
  readonly #book: HoldingBook
  readonly #held: HeldArtifacts
  readonly #replicas: Replicas
  readonly #teller: Teller
  readonly #hearing: Hearing
  readonly #checks: Checks
  readonly #schedule: CheckSchedule
  readonly #copies: Copies
  readonly #server: FetchServer
  readonly #errands: Errands
  readonly #rounds: Rounds
  readonly #labels: Labels
  readonly #acknowledgements = new Acknowledgements()
  readonly #transfers = new Transfers()
  readonly #listeners = new Set<(event: ReplicationEvent) => void>()
  readonly #lostTimers = new Map<string, NodeJS.Timeout>()
  readonly #ends: (() => void)[] = []
  #heard = 0

  constructor(options: ReplicationOptions) {
    const { net, store, journal, signer, isMember } = options
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    this.#random = options.random ?? Math.random
    this.#times = { ...REPLICA_TIMES, ...options.times }
    this.#background = new Background(options.note)
    const background = this.#background
    const { signal } = background
    this.#links = new Links(this.#now)
    this.#book = new HoldingBook(journal)
    const book = this.#book
    const { lacks = () => undefined } = options
    this.#held = new HeldArtifacts({ store, book, signer, isMember, lacks })
    const held = this.#held
    this.#replicas = new Replicas({
      times: this.#times,
      facts: (artifact) => this.#facts(artifact),
      holders: async (artifact) => new Map((await book.of(artifact)).map(({ holding }) => [holding.holder, holding])),
      around: (artifact) => this.#around(artifact),
      act: (artifact, effect) => this.#errands.run(artifact, effect),
      onFault: (what, error) => background.fault(what, error),
    })
    this.#teller = new Teller({
      net,
      holding: (artifact, peer) => (held.isFor(artifact, peer) ? held.holding(artifact) : undefined),
      onTold: (artifact, peer, told) => this.#told(artifact, peer, told),
    })
    this.#hearing = new Hearing({
      ...{ net, store, book, held, acknowledgements: this.#acknowledgements },
      input: (artifact, input) => this.#replicas.input(artifact, input),
      onHeld: (artifact, peer) => {
        this.#heard++
        this.#emit({ type: 'held', artifact, peer })
      },
    })
    this.#checks = new Checks({
      net,
      book,
      held,
      onDiffers: (holding, text) => {
        this.#replicas.input(holding.artifact, { type: 'untold', peer: holding.holder })
        background.run(() => this.#hearing.heard(holding, text))
      },
      onAbsent: (artifact, peer) => background.run(() => this.#hearing.gone(artifact, peer)),
    })
    this.#schedule = new CheckSchedule({
      ...{ checks: this.#checks, links: this.#links, background, now: this.#now, random: this.#random },
      everyMs: options.checkMs ?? CHECK_MS,
    })
    const streams = {
      ...(options.idleMs === undefined ? {} : { idleMs: options.idleMs }),
      ...(options.recordsPerFetch === undefined ? {} : { recordsPerFetch: options.recordsPerFetch }),
    }
    this.#copies = new Copies({
      ...{ net, store, book, held, links: this.#links, isMember, transfers: this.#transfers, signal },
      graceMs: this.#times.graceMs,
      ...(options.lends === undefined ? {} : { lends: options.lends }),
      ...(options.minRoomBytes === undefined ? {} : { minRoomBytes: options.minRoomBytes }),
      ...streams,
      onCopy: (artifact, from, others) => this.#copied(artifact, from.holding, others),
      onWanted: (artifact) => this.#changed(artifact),
      providers: (artifact, signal) => net.findProviders(labelOf(artifact), signal),
      onFailure: (what, error) => background.fault(what, error),
    })
    this.#errands = new Errands({
      ...{ net, store, isMember, book, signal, transfers: this.#transfers, ...streams },
      copies: this.#copies,
      teller: this.#teller,
      theirs: (artifact, peer) => this.#replicas.heads(artifact, peer),
      input: (artifact, input) => this.#replicas.input(artifact, input),
      onFetched: (artifact, peer, records) => this.#emit({ type: 'fetched', artifact, peer, records }),
      onFailure: (what, error, facts) => background.fault(what, error, facts),
    })
    this.#rounds = new Rounds({ store, book, busy: () => this.#replicas.size, signal })
    this.#labels = new Labels({ net, store, rounds: this.#rounds, signal })
    const mayKnow = (peer: string, artifact: string): boolean => held.isFor(artifact, peer)
    this.#server = new FetchServer({ net, store, mayKnow, transfers: this.#transfers, ...streams })
  }

  /** Answers and acts from now on. Call once, before the network listens. */
  start(): void {
    const { net, store } = this.#options
    this.#hearing.attach()
    this.#checks.attach()
    this.#copies.attach()
    this.#server.attach()
    this.#ends.push(store.on((event) => this.#onStore(event)))
    this.#ends.push(net.on((event) => this.#onNet(event)))
    const timer = setInterval(() => this.#tick(), TICK_MS)
    timer.unref()
    this.#ends.push(() => clearInterval(timer))
    // Contracts that were not fulfilled when this node stopped
    this.#background.run(() => this.#rounds.contracted((artifact) => this.#replicas.input(artifact, { type: 'tick' })))
  }

  /** Says that a peer is served from now on: hellos were exchanged. */
  ready(peer: string): void {
    clearTimeout(this.#lostTimers.get(peer))
    this.#lostTimers.delete(peer)
    this.#links.up(peer)
    this.#background.run(() => this.#labels.begin())
    this.#replicas.inputActive({ type: 'tick' })
    this.#schedule.begin(peer)
  }

  /** Fences a node that was put out of the mesh: it counts as no holder, is served nothing more, and what it signs from now on is not taken. */
  expelled(peer: string): void {
    this.#server.end(new MeshError('E_REVOKED', 'The node was put out of the mesh'), peer)
    this.#links.down(peer)
    this.#background.run(() => this.#rounds.shared(peer, (artifact) => this.#hearing.gone(artifact, peer)))
  }

  /** Brings an artifact here from the nearest holder. @throws MeshError E_NOT_FOUND, E_QUOTA, E_UNREACHABLE, E_PROTOCOL; the reason of `signal` */
  clone(artifact: string, signal?: AbortSignal): Promise<void> {
    return this.#copies.clone(artifact, signal)
  }

  /** Who holds what of it, by their own signed word. @throws MeshError E_NOT_FOUND */
  async status(idOrName: string): Promise<ReplicationStatus> {
    const view = this.#options.store.require(idOrName)
    const kept = await this.#book.of(view.id)
    return statusOf({
      view,
      self: this.#options.net.self,
      own: this.#held.holding(view.id),
      kept,
      links: this.#links,
      times: this.#times,
    })
  }

  /** Resolves once so many other nodes hold a record on disk. @throws MeshError E_TIMEOUT, E_NOT_FOUND; the reason of `signal` */
  async acknowledged(wanted: Acknowledgement, signal?: AbortSignal): Promise<readonly string[]> {
    this.#options.store.require(wanted.artifact)
    const waiting = this.#acknowledgements.wait(wanted, signal)
    for (const { holding } of await this.#book.of(wanted.artifact)) this.#acknowledgements.heard(holding)
    return waiting
  }

  /** Compares now what is shared with a peer. @returns how many artifacts were compared */
  checkNow(peer: string, signal: AbortSignal = AbortSignal.timeout(CHECK_TIMEOUT_MS)): Promise<number> {
    return this.#checks.check(peer, signal)
  }

  figures(): ReplicationFigures {
    return { ...this.#transfers.read(), active: this.#replicas.size, heard: this.#heard }
  }

  on(listener: (event: ReplicationEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Whether an artifact is held here and the peer may know of it. */
  isFor(artifact: string, peer: string): boolean {
    return this.#held.isFor(artifact, peer)
  }

  /** Whether the peer stated that it holds the artifact. */
  knows(artifact: string, peer: string): boolean {
    return this.#book.knows(artifact, peer)
  }

  /** Other holders that are linked now. */
  async linkedHolders(artifact: string): Promise<string[]> {
    const holders = (await this.#book.of(artifact)).map(({ holding }) => holding.holder)
    return holders.filter((peer) => this.#links.link(peer) !== undefined && this.#held.isFor(artifact, peer))
  }

  /** States anew what is held: something else than records has changed. */
  async restate(artifact: string): Promise<void> {
    for (const peer of await this.linkedHolders(artifact)) this.#teller.tell(peer, artifact)
  }

  /** Ends what is under way; what was not finished is taken up after the next start. */
  async close(): Promise<void> {
    for (const end of this.#ends.splice(0)) end()
    for (const timer of this.#lostTimers.values()) clearTimeout(timer)
    const reason = new MeshError('E_STOPPING', 'The daemon is shutting down')
    this.#background.stop(reason)
    this.#server.end(reason)
    this.#replicas.close()
    this.#acknowledgements.close(reason)
    await this.#background.idle()
  }

  #facts(artifact: string) {
    const view = this.#options.store.get(artifact)
    if (view?.id !== artifact) return undefined
    return { owner: view.owner, contract: view.settings.replicas, heads: this.#held.heads(artifact) }
  }

  #around(artifact: string): Surroundings {
    const { net } = this.#options
    const { link, awayMs } = this.#links
    const candidates = (): string[] => this.#candidates(artifact)
    return { self: net.self, now: this.#now(), random: this.#random, link, awayMs, candidates }
  }

  /** Linked peers that may hold it and are able, nearest first. */
  #candidates(artifact: string): string[] {
    const { net, isAble = () => true } = this.#options
    const near = (peer: string): number => net.rttMs(peer) ?? Infinity
    return this.#links
      .peers()
      .filter((peer) => this.#held.isFor(artifact, peer) && isAble(peer))
      .sort((a, b) => near(a) - near(b))
  }

  #told(artifact: string, peer: string, told: 'known' | 'unknown' | 'lost'): void {
    if (told === 'known') this.#background.run(() => this.#copies.told(artifact, peer))
    if (told === 'unknown') this.#background.run(() => this.#hearing.gone(artifact, peer))
    // A broken link is noticed by itself; on one that stands it is tried again when the next tick comes
    if (told === 'lost' && this.#links.link(peer) !== undefined) {
      const timer = setTimeout(() => this.#replicas.input(artifact, { type: 'untold', peer }), this.#times.pauseMs)
      timer.unref()
    }
  }

  /** Others that hold a new copy's artifact are told of it; they answer for themselves. */
  #copied(artifact: string, from: Holding, others: readonly string[]): void {
    const { net } = this.#options
    for (const peer of others) {
      if (peer === net.self || this.#book.knows(artifact, peer)) continue
      this.#replicas.input(artifact, { type: 'holding', peer, heads: new Map(), placed: false })
    }
    const { holder: peer, heads, placed } = from
    this.#replicas.input(artifact, { type: 'holding', peer, heads, placed })
    this.#changed(artifact)
  }

  #changed(artifact: string): void {
    const facts = this.#facts(artifact)
    if (facts !== undefined) this.#replicas.input(artifact, { type: 'changed', ...facts })
  }

  #onStore(event: ArtifactEvent): void {
    const { artifact, type } = event
    this.#held.changed(artifact)
    if (type === 'removed') return this.#replicas.forget(artifact)
    if (type === 'updated') this.#background.run(() => this.#hearing.keepToAudience(artifact))
    if (type !== 'moved' && type !== 'frozen') this.#labels.add(artifact)
    this.#changed(artifact)
  }

  #onNet(event: NetEvent): void {
    if (event.type !== 'peer-down' || !this.#links.down(event.peer)) return
    const { peer } = event
    this.#schedule.forget(peer)
    this.#replicas.inputActive({ type: 'tick' })
    const timer = setTimeout(() => {
      this.#lostTimers.delete(peer)
      this.#background.run(() =>
        this.#rounds.shared(peer, async (artifact) => this.#replicas.input(artifact, { type: 'tick' })),
      )
    }, this.#times.graceMs + 1)
    timer.unref()
    this.#lostTimers.set(peer, timer)
  }

  #tick(): void {
    this.#replicas.tick(this.#now())
    this.#schedule.tick()
  }

  #emit(event: ReplicationEvent): void {
    for (const listener of this.#listeners) listener(event)
  }
}
