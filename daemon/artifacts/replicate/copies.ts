/** Whole copies: taking one from a holder, because a user wants it or because a peer asks, and giving one up again (giving-up.ts). */
import { type Holding, openHolding } from '../../../protocol/artifact/holding.ts'
import {
  ARTIFACT_METHODS,
  artifactRequest,
  decodeMessage,
  emptyAnswer,
  encodeMessage,
  findAnswer,
} from '../../../protocol/artifact/replication-messages.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { MeshNet } from '../../net/mesh-net.ts'
import type { ArtifactStore } from '../store/artifact-store.ts'
import { fetchArtifact } from './ask-fetch.ts'
import { FreshCopies } from './fresh-copies.ts'
import { GivingUp } from './giving-up.ts'
import type { HeldArtifacts } from './held.ts'
import type { HoldingBook } from './holding-book.ts'
import type { Links } from './links.ts'
import type { Transfers } from './transfers.ts'

export interface CopiesOptions {
  readonly net: MeshNet
  readonly store: ArtifactStore
  readonly book: HoldingBook
  readonly held: HeldArtifacts
  readonly links: Links
  readonly isMember: (node: string) => boolean
  readonly transfers: Transfers
  /** How long the owner may be away before another node decides on copies, milliseconds */
  readonly graceMs: number
  /** Copies for others are taken only above this much room, bytes. @default 64 MiB */
  readonly minRoomBytes?: number
  /** Whether this node takes copies for others. @default true */
  readonly lends?: boolean
  readonly idleMs?: number
  readonly recordsPerFetch?: number
  /** A copy is here, or is asked for anew: who else holds it, as far as `from` knows */
  readonly onCopy: (
    artifact: string,
    from: { readonly holding: Holding; readonly text: string },
    others: readonly string[],
  ) => void
  /** A copy that is here is no longer one that was only asked for: others are told */
  readonly onWanted: (artifact: string) => void
  /** Connected or reachable nodes that may hold it: a hint to ask them */
  readonly providers: (artifact: string, signal: AbortSignal) => AsyncIterable<string>
  readonly onFailure: (what: string, error: unknown) => void
  readonly signal: AbortSignal
}

interface Found {
  readonly peer: string
  readonly text: string
  readonly holding: Holding
  readonly holders: readonly string[]
}

/** Copies taken for others at once: each may be large. */
const MAX_TAKING = 8
const FIND_MS = 5_000
/** Holders tried for one copy. */
const MAX_TRIES = 8

export class Copies {
  readonly #options: CopiesOptions
  readonly #taking = new Map<string, Promise<void>>()
  readonly #givingUp: GivingUp
  readonly #fresh = new FreshCopies()

  constructor(options: CopiesOptions) {
    this.#options = options
    const { net, store, book, held, links, graceMs } = options
    this.#givingUp = new GivingUp({
      ...{ self: net.self, store, book, held, links, graceMs },
      ask: async (peers, artifact) => {
        const limited = AbortSignal.any([options.signal, AbortSignal.timeout(FIND_MS)])
        return (await this.#askAll(peers, artifact, limited)).map(({ holding }) => holding)
      },
    })
  }

  attach(): void {
    const { net } = this.#options
    const handle = (method: string, answer: (artifact: string, peer: string) => Promise<object> | object): void =>
      net.handle(method, async (body, { peer }) => {
        const { artifact } = decodeMessage(artifactRequest, body, 'a request about an artifact')
        return encodeMessage(await answer(artifact, peer))
      })
    handle(ARTIFACT_METHODS.find, (artifact, peer) => this.#answerFind(artifact, peer))
    handle(ARTIFACT_METHODS.hold, (artifact, peer) => this.#answerHold(artifact, peer))
    handle(ARTIFACT_METHODS.release, (artifact, peer) => this.#givingUp.answer(artifact, peer))
  }

  /** The peer knows that this node holds it. */
  async told(artifact: string, peer: string): Promise<void> {
    const { held, onCopy, signal } = this.#options
    if (!this.#fresh.asks(artifact, peer)) return
    const found = await this.#askOne(peer, artifact, AbortSignal.any([signal, AbortSignal.timeout(FIND_MS)]))
    if (held.has(artifact)) onCopy(artifact, found, found.holders)
  }

  /** Asks the peer to take a copy. @throws MeshError its refusal, E_UNREACHABLE, E_TIMEOUT */
  async ask(peer: string, artifact: string): Promise<void> {
    await this.#request(peer, ARTIFACT_METHODS.hold, artifact)
  }

  /** Asks the peer to give its copy up. @throws MeshError its refusal, E_UNREACHABLE, E_TIMEOUT */
  async release(peer: string, artifact: string): Promise<void> {
    await this.#request(peer, ARTIFACT_METHODS.release, artifact)
  }

  async #request(peer: string, method: string, artifact: string): Promise<void> {
    const { net, signal } = this.#options
    decodeMessage(emptyAnswer, await net.request(peer, method, encodeMessage({ artifact }), { signal }), 'an answer')
  }

  /**
   * Brings an artifact here from the nearest node that has it and lets this one read it; tries the next when one fails. A copy that was taken because a peer asked for
   * it is wanted from now on.
   * @throws MeshError E_NOT_FOUND when nobody reachable has it for us, or the failure of the last one tried
   */
  async clone(artifact: string, signal?: AbortSignal): Promise<void> {
    const { held, book, onWanted } = this.#options
    await this.#givingUp.during(artifact, async () => {
      if (!held.has(artifact)) await this.#bring(artifact, signal)
      if (!book.isPlaced(artifact)) return
      await book.setPlaced(artifact, false)
      onWanted(artifact)
    })
  }

  async #bring(artifact: string, signal?: AbortSignal): Promise<void> {
    const limited = AbortSignal.any([this.#options.signal, ...(signal ? [signal] : [])])
    const found = await this.#find(artifact, limited)
    let last: unknown = new MeshError('E_NOT_FOUND', 'Cannot clone an artifact: no node that can be reached has it', {
      hint: 'Check the id, and that a node that holds it is connected. A private artifact must name this node as a reader.',
    })
    for (const each of found.slice(0, MAX_TRIES)) {
      try {
        return await this.#take(each, limited)
      } catch (error) {
        limited.throwIfAborted()
        last = error
      }
    }
    throw last
  }

  /** Holders among connected peers, the nearest first; only when there is none are nodes the index names connected. */
  async #find(artifact: string, signal: AbortSignal): Promise<Found[]> {
    const { net, links, providers } = this.#options
    const limited = AbortSignal.any([signal, AbortSignal.timeout(FIND_MS)])
    const connected = await this.#askAll(links.peers(), artifact, limited)
    const near = (peer: string): number => net.rttMs(peer) ?? Infinity
    if (connected.length > 0) return connected.sort((a, b) => near(a.peer) - near(b.peer))
    const named: string[] = []
    try {
      for await (const peer of providers(artifact, limited)) {
        if (peer !== net.self && links.link(peer) === undefined) named.push(peer)
        if (named.length === MAX_TRIES) break
      }
    } catch {
      // The index is a hint
    }
    await Promise.allSettled(named.map((peer) => net.connect(peer, undefined, limited)))
    return this.#askAll(named, artifact, limited)
  }

  async #askAll(peers: readonly string[], artifact: string, signal: AbortSignal): Promise<Found[]> {
    const asked = await Promise.allSettled(peers.map((peer) => this.#askOne(peer, artifact, signal)))
    return asked.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  }

  async #askOne(peer: string, artifact: string, signal: AbortSignal): Promise<Found> {
    const { net } = this.#options
    const bytes = await net.request(peer, ARTIFACT_METHODS.find, encodeMessage({ artifact }), { signal })
    const { holding: text, holders } = decodeMessage(findAnswer, bytes, 'an answer to a search')
    const holding = openHolding(text)
    if (holding.holder !== peer || holding.artifact !== artifact) {
      throw new MeshError('E_PROTOCOL', 'Cannot read an answer to a search: it is about something else')
    }
    return { peer, text, holding, holders }
  }

  async #take({ peer, text, holding, holders }: Found, signal: AbortSignal): Promise<void> {
    const { store, net, isMember, book, onCopy, idleMs, recordsPerFetch, transfers } = this.#options
    const { artifact } = holding
    await fetchArtifact(
      { peer, artifact, theirs: holding.heads, signal },
      {
        ...{ net, store, isMember, transfers },
        ...(idleMs === undefined ? {} : { idleMs }),
        ...(recordsPerFetch === undefined ? {} : { recordsPerFetch }),
      },
    )
    await book.keep(holding, text)
    this.#fresh.came(artifact)
    onCopy(artifact, { holding, text }, holders)
  }

  async #answerFind(artifact: string, peer: string): Promise<object> {
    const { held, book } = this.#options
    held.requireFor(artifact, peer)
    if (this.#givingUp.isGoing(artifact))
      throw new MeshError('E_CONFLICT', 'Cannot count on this copy: it may be given up', { retryAfterMs: 1_000 })
    const holders = (await book.of(artifact)).map(({ holding }) => holding.holder).filter((holder) => holder !== peer)
    return { holding: held.holding(artifact), holders: holders.slice(0, 256) }
  }

  /** Agrees at once and takes the copy afterwards: the holding that follows tells the asker. */
  #answerHold(artifact: string, peer: string): object {
    const { held, store, lends = true, minRoomBytes = 64 << 20 } = this.#options
    if (!lends) throw new MeshError('E_FORBIDDEN', 'Cannot hold a copy: this node takes none')
    if (!held.has(artifact)) {
      if (store.room(artifact) < minRoomBytes) throw new MeshError('E_QUOTA', 'Cannot hold a copy: there is no room')
      if (this.#taking.size >= MAX_TAKING && !this.#taking.has(artifact)) {
        throw new MeshError('E_OVERLOADED', 'Cannot hold a copy: too many are being taken', { retryAfterMs: 1_000 })
      }
    }
    if (!this.#taking.has(artifact)) {
      const taking = this.#takeFor(artifact, peer).finally(() => this.#taking.delete(artifact))
      this.#taking.set(artifact, taking)
    }
    return {}
  }

  async #takeFor(artifact: string, peer: string): Promise<void> {
    const { held, book, store, signal, onCopy, onFailure } = this.#options
    try {
      const found = await this.#askOne(peer, artifact, signal)
      if (held.has(artifact)) {
        await book.keep(found.holding, found.text)
        return onCopy(artifact, found, found.holders)
      }
      // Before the copy, so that a crash between leaves none that could never be asked back
      await book.setPlaced(artifact, true)
      await this.#take(found, signal)
    } catch (error) {
      if (store.get(artifact) === undefined) await book.forgetAll(artifact).catch(() => undefined)
      onFailure('taking a copy', error)
    }
  }
}
