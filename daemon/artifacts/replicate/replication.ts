/**
 * Artifacts replicate between nodes: feeds the state machine of `protocol/artifact/replication.ts` with what the store, the links and other nodes say, and carries its
 * decisions out.
 */
import { type Holding, openHolding } from '../../../protocol/artifact/holding.ts'
import { REPLICA_TIMES, type ReplicaTimes, type Surroundings } from '../../../protocol/artifact/replication.ts'
import { MeshError } from '../../../protocol/errors.ts'
import {
  ARTIFACT_METHODS,
  decodeMessage,
  encodeMessage,
  holdingsMessage,
} from '../../../protocol/artifact/replication-messages.ts'
import { mayKnow } from '../../../protocol/artifact/visibility.ts'
import type { Signer } from '../../../protocol/signing/signing.ts'
import type { Journal } from '../../journal/journal.ts'
import type { MeshNet, NetEvent } from '../../net/mesh-net.ts'
import type { ArtifactEvent } from '../store/artifact-store.ts'
import type { OpenStore } from '../store/journal-store.ts'
import { type Acknowledgement, Acknowledgements } from './acknowledgements.ts'
import { Checks } from './checks.ts'
import { Copies } from './copies.ts'
import { Errands } from './errands.ts'
import { HeldArtifacts } from './held.ts'
import { HoldingBook } from './holding-book.ts'
import { labelOf, Labels } from './labels.ts'
import { Links } from './links.ts'
import { Replicas } from './replicas.ts'
import { pause, Rounds } from './rounds.ts'
import { FetchServer } from './serve-fetch.ts'
import { type ReplicationStatus, statusOf } from './status.ts'
import { Teller } from './teller.ts'

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
  /** For the log: what failed and is tried again, or was refused */
  readonly note?: (what: string, facts: Readonly<Record<string, unknown>>) => void
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

const TICK_MS = 250
const CHECK_TIMEOUT_MS = 60_000
/** A peer may serve us later than we serve it, by the time of a hello. */
const CHECK_RETRY_MS = 500
const CHECK_TRIES = 6

export class Replication {
  readonly #options: ReplicationOptions
  readonly #now: () => number
  readonly #random: () => number
  readonly #times: ReplicaTimes
  readonly #stopping = new AbortController()
  readonly #links: Links
  readonly #book: HoldingBook
  readonly #held: HeldArtifacts
  readonly #replicas: Replicas
  readonly #teller: Teller
  readonly #checks: Checks
  readonly #copies: Copies
  readonly #server: FetchServer
  readonly #errands: Errands
  readonly #rounds: Rounds
  readonly #labels: Labels
  readonly #acknowledgements = new Acknowledgements()
  readonly #listeners = new Set<(event: ReplicationEvent) => void>()
  readonly #checkAt = new Map<string, number>()
  readonly #lostTimers = new Map<string, NodeJS.Timeout>()
  readonly #ends: (() => void)[] = []
  readonly #running = new Set<Promise<void>>()

  constructor(options: ReplicationOptions) {
    const { net, store, journal, signer, isMember } = options
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    this.#random = options.random ?? Math.random
    this.#times = { ...REPLICA_TIMES, ...options.times }
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
      onFault: (what, error) => this.#fault(what, error),
    })
    this.#teller = new Teller({
      net,
      holding: (artifact, peer) => (held.isFor(artifact, peer) ? held.holding(artifact) : undefined),
      onTold: (artifact, peer, told) => this.#told(artifact, peer, told),
    })
    this.#checks = new Checks({
      net,
      book,
      held,
      onDiffers: (holding, text) => {
        this.#replicas.input(holding.artifact, { type: 'untold', peer: holding.holder })
        this.#run(() => this.#heard(holding, text))
      },
      onAbsent: (artifact, peer) => this.#run(() => this.#gone(artifact, peer)),
    })
    this.#copies = new Copies({
      ...{ net, store, book, held, links: this.#links, isMember },
      ...(options.lends === undefined ? {} : { lends: options.lends }),
      ...(options.minRoomBytes === undefined ? {} : { minRoomBytes: options.minRoomBytes }),
      ...(options.idleMs === undefined ? {} : { idleMs: options.idleMs }),
      onCopy: (artifact, from, others) => this.#copied(artifact, from.holding, others),
      providers: (artifact, signal) => net.findProviders(labelOf(artifact), signal),
      onFailure: (what, error) => this.#fault(what, error),
      signal: this.#stopping.signal,
    })
    const idle = options.idleMs === undefined ? {} : { idleMs: options.idleMs }
    const { signal } = this.#stopping
    this.#errands = new Errands({
      ...{ net, store, isMember, book, signal, ...idle },
      copies: this.#copies,
      teller: this.#teller,
      theirs: (artifact, peer) => this.#replicas.heads(artifact, peer),
      input: (artifact, input) => this.#replicas.input(artifact, input),
      onFetched: (artifact, peer, records) => this.#emit({ type: 'fetched', artifact, peer, records }),
      onFailure: (what, error, facts) => this.#fault(what, error, facts),
    })
    this.#rounds = new Rounds({ store, book, busy: () => this.#replicas.size, signal })
    this.#labels = new Labels({ net, store, rounds: this.#rounds, signal })
    this.#server = new FetchServer({ net, store, mayKnow: (peer, artifact) => held.isFor(artifact, peer), ...idle })
  }

  /** Answers and acts from now on. Call once, before the network listens. */
  start(): void {
    const { net, store } = this.#options
    net.handle(ARTIFACT_METHODS.holding, (body, { peer }) => this.#answerHoldings(body, peer))
    this.#checks.attach()
    this.#copies.attach()
    this.#server.attach()
    this.#ends.push(store.on((event) => this.#onStore(event)))
    this.#ends.push(net.on((event) => this.#onNet(event)))
    const timer = setInterval(() => this.#tick(), TICK_MS)
    timer.unref()
    this.#ends.push(() => clearInterval(timer))
    // Contracts that were not fulfilled when this node stopped
    this.#run(() => this.#rounds.contracted((artifact) => this.#replicas.input(artifact, { type: 'tick' })))
  }

  /** Says that a peer is served from now on: hellos were exchanged. */
  ready(peer: string): void {
    clearTimeout(this.#lostTimers.get(peer))
    this.#lostTimers.delete(peer)
    this.#links.up(peer)
    this.#run(() => this.#labels.begin())
    this.#replicas.inputActive({ type: 'tick' })
    this.#check(peer)
  }

  /** Fences a node that was put out of the mesh: it counts as no holder, is served nothing more, and what it signs from now on is not taken. */
  expelled(peer: string): void {
    this.#server.end(new MeshError('E_REVOKED', 'The node was put out of the mesh'), peer)
    this.#links.down(peer)
    this.#run(() => this.#rounds.shared(peer, (artifact) => this.#gone(artifact, peer)))
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
    this.#stopping.abort(reason)
    this.#server.end(reason)
    this.#replicas.close()
    this.#acknowledgements.close(reason)
    await Promise.allSettled([...this.#running])
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
    if (told === 'unknown') this.#run(() => this.#gone(artifact, peer))
    // A broken link is noticed by itself; on one that stands it is tried again when the next tick comes
    if (told === 'lost' && this.#links.link(peer) !== undefined) {
      const timer = setTimeout(() => this.#replicas.input(artifact, { type: 'untold', peer }), this.#times.pauseMs)
      timer.unref()
    }
  }

  async #answerHoldings(body: Uint8Array, peer: string): Promise<Uint8Array> {
    const { holdings } = decodeMessage(holdingsMessage, body, 'holdings')
    const unknown: number[] = []
    for (const [index, text] of holdings.entries()) {
      const holding = openHolding(text)
      if (holding.holder !== peer) throw new MeshError('E_PROTOCOL', 'Cannot take a holding: it is of another node')
      if (this.#held.isFor(holding.artifact, peer)) await this.#heard(holding, text)
      else unknown.push(index)
    }
    return encodeMessage({ unknown })
  }

  async #heard(holding: Holding, text: string): Promise<void> {
    const { artifact, holder: peer, heads, placed } = holding
    if (!this.#held.isFor(artifact, peer)) return
    // The holder's word is about its own disk; that it was heard may reach ours meanwhile
    const kept = this.#book.keep(holding, text)
    this.#acknowledgements.heard(holding)
    this.#replicas.input(artifact, { type: 'holding', peer, heads, placed })
    this.#emit({ type: 'held', artifact, peer })
    await kept
  }

  async #gone(artifact: string, peer: string): Promise<void> {
    await this.#book.forget(artifact, peer)
    this.#replicas.input(artifact, { type: 'gone', peer })
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
    if (type === 'removed') {
      this.#replicas.forget(artifact)
      return this.#run(() => this.#book.forgetAll(artifact))
    }
    if (type === 'updated') this.#run(() => this.#keepToAudience(artifact))
    if (type !== 'moved' && type !== 'frozen') this.#labels.add(artifact)
    this.#changed(artifact)
  }

  /** Who may no longer know of it is no holder any more, whatever it keeps. */
  async #keepToAudience(artifact: string): Promise<void> {
    const view = this.#options.store.get(artifact)
    if (view === undefined) return
    for (const { holding } of await this.#book.of(artifact)) {
      if (!mayKnow(holding.holder, view.owner, view.settings)) await this.#gone(artifact, holding.holder)
    }
  }

  #onNet(event: NetEvent): void {
    if (event.type !== 'peer-down' || !this.#links.down(event.peer)) return
    const { peer } = event
    this.#checkAt.delete(peer)
    this.#replicas.inputActive({ type: 'tick' })
    const timer = setTimeout(() => {
      this.#lostTimers.delete(peer)
      this.#run(() => this.#rounds.shared(peer, async (artifact) => this.#replicas.input(artifact, { type: 'tick' })))
    }, this.#times.graceMs + 1)
    timer.unref()
    this.#lostTimers.set(peer, timer)
  }

  #tick(): void {
    const now = this.#now()
    this.#replicas.tick(now)
    for (const [peer, at] of this.#checkAt) if (at <= now) this.#check(peer)
  }

  #check(peer: string): void {
    const { checkMs = 30_000 } = this.#options
    this.#checkAt.set(peer, this.#now() + checkMs * (0.75 + this.#random() / 2))
    this.#run(async () => {
      const link = this.#links.link(peer)
      for (let tries = 1; link !== undefined && link === this.#links.link(peer); tries++) {
        try {
          return void (await this.checkNow(
            peer,
            AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(CHECK_TIMEOUT_MS)]),
          ))
        } catch (error) {
          if (tries === CHECK_TRIES || this.#stopping.signal.aborted) throw error
          await pause(CHECK_RETRY_MS * tries, this.#stopping.signal)
        }
      }
    })
  }

  #run(work: () => Promise<void>): void {
    if (this.#stopping.signal.aborted) return
    const running = work()
      .catch((error: unknown) => this.#fault('replication', error))
      .finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  #fault(what: string, error: unknown, facts: Readonly<Record<string, unknown>> = {}): void {
    if (this.#stopping.signal.aborted) return
    const known = error instanceof MeshError ? { code: error.code, reason: error.message } : { reason: String(error) }
    this.#options.note?.(what, { ...facts, ...known })
  }

  #emit(event: ReplicationEvent): void {
    for (const listener of this.#listeners) listener(event)
  }
}
