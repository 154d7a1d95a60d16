/**
 * Large files (Git LFS) are on every node that holds the commits that name them.
 *
 * L1  What a commit's pointers name and is not here is wanted: a row says so until the file has come, checked against its name. What this node says it lacks is never
 *     less than what is wanted and what was not searched yet (wanted.ts).
 * L2  Only artifacts of which a large file was ever seen are searched for pointers: uploaded here, or a holder said it has some. Who has files says so to the other
 *     holders when files come, when a holder states what it holds, and on every new link.
 * L3  Wanted files are asked of every linked holder in turn: when a holder says it has some, when refs name new ones, on a new link, and again after pauses that
 *     grow (rounds.ts). An artifact that wants many asks for a part of them at a time, and others have their turn before the next.
 * L4  A file that is damaged here is wanted like one that never came.
 * L5  A collection keeps what anything left in the repository names, and what came lately: its push may follow.
 */
import { FILES_METHOD, filesNotice } from '../../../protocol/artifact/file-messages.ts'
import { decodeMessage, encodeMessage } from '../../../protocol/artifact/replication-messages.ts'
import { MeshError, toMeshError } from '../../../protocol/errors.ts'
import type { Journal } from '../../journal/journal.ts'
import type { MeshNet } from '../../net/mesh-net.ts'
import type { LfsChange, LfsStore } from '../git-door/lfs-store.ts'
import type { Replication } from '../replicate/replication.ts'
import type { ArtifactEvent, ArtifactStore, CollectOptions } from '../store/artifact-store.ts'
import { KEEP_MS } from '../store/collect-policy.ts'
import { bringFiles } from './bring-files.ts'
import { Notices } from './notices.ts'
import { Rounds } from './rounds.ts'
import { FileServer } from './serve-files.ts'
import { UseBook } from './use-book.ts'
import { Wanted } from './wanted.ts'

export interface LargeFilesOptions {
  readonly net: MeshNet
  readonly store: ArtifactStore
  /** Must know `LFS_RECORDS` */
  readonly journal: Journal
  readonly files: LfsStore
  readonly replicas: Pick<Replication, 'isFor' | 'knows' | 'linkedHolders' | 'restate' | 'on'>
  readonly note: (what: string, facts: Readonly<Record<string, unknown>>) => void
  /** Files that nobody had, or that could not be taken, are asked for again after this, then after twice as long and so on. @default 30,000 */
  readonly retryMs?: number
  /** @default 30,000 */
  readonly idleMs?: number
}

/** Uploads and moves of a push come one after the other: they are looked at together. */
const GATHER_MS = 150
/** Artifacts worked on at once. */
const WORKERS = 3
/** Files asked for before other artifacts have their turn. */
const FILES_PER_TURN = 500
/** What a collection now leaves alone: an upload whose push is still to come, milliseconds. */
const FRESH_MS = 3_600_000
export class LargeFiles {
  readonly #options: LargeFilesOptions
  readonly #book: UseBook
  readonly #wanted: Wanted
  readonly #server: FileServer
  readonly #notices: Notices
  readonly #stopping = new AbortController()
  readonly #ends: (() => void)[] = []
  readonly #running = new Set<Promise<void>>()
  /** By artifact, the peers that said they have files of it */
  readonly #due = new Map<string, Set<string>>()
  readonly #working = new Set<string>()
  /** Artifacts of which files came that the other holders were not told of */
  readonly #news = new Set<string>()
  /** Of artifacts that may lack something */
  readonly #rounds = new Rounds()
  /** What was said last of it, since the start */
  readonly #stated = new Map<string, number | undefined>()
  /** Artifacts of which some may have heard another number meanwhile */
  readonly #owed = new Set<string>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: LargeFilesOptions) {
    const { net, store, files, journal, replicas, idleMs } = options
    this.#options = options
    const book = new UseBook(journal)
    this.#book = book
    this.#wanted = new Wanted({ store, files, book })
    this.#notices = new Notices(net)
    const isFor = (artifact: string, peer: string): boolean => replicas.isFor(artifact, peer)
    this.#server = new FileServer({ net, files, isFor, ...(idleMs === undefined ? {} : { idleMs }) })
  }

  /** Answers and acts from now on. Call once. */
  start(): void {
    const { net, store, files, replicas, retryMs = 30_000 } = this.#options
    net.handle(FILES_METHOD, (body, { peer }) => this.#answerNotice(body, peer))
    this.#server.attach()
    store.onCollected((id, options) => this.#collected(id, options))
    this.#ends.push(store.on((event) => this.#onStore(event)))
    this.#ends.push(files.on((artifact, what) => this.#onFile(artifact, what)))
    this.#ends.push(
      replicas.on((event) => {
        if (event.type === 'held') this.#tellHolder(event.artifact, event.peer)
      }),
    )
    const timer = setInterval(() => {
      for (const artifact of this.#rounds.tick()) this.#schedule(artifact)
    }, retryMs)
    timer.unref()
    this.#ends.push(() => clearInterval(timer))
    this.#run(() => this.#recover())
  }

  /** A peer is served from now on. */
  ready(peer: string): void {
    this.#run(async () => {
      for await (const artifact of this.#book.all()) {
        this.#tell(artifact, peer)
        if (this.lacks(artifact) !== 0) this.#renew(artifact)
      }
    })
  }

  expelled(peer: string): void {
    this.#server.end(new MeshError('E_REVOKED', 'The node was put out of the mesh'), peer)
  }

  /**
   * Files that commits held here name and that are not here; at least one while new commits are still to be looked at. Undefined for an artifact of which no large file
   * was seen.
   */
  lacks(artifact: string): number | undefined {
    return this.#wanted.lacks(artifact)
  }

  async close(): Promise<void> {
    for (const end of this.#ends.splice(0)) end()
    clearTimeout(this.#timer)
    const reason = new MeshError('E_STOPPING', 'The daemon is shutting down')
    this.#stopping.abort(reason)
    this.#notices.close()
    this.#server.end(reason)
    await Promise.allSettled([...this.#running])
    await this.#options.files.clearParts()
  }

  /** Nothing counts as searched yet: a search may have been cut by the end of the process. */
  async #recover(): Promise<void> {
    for await (const artifact of this.#book.all()) this.#schedule(artifact)
  }

  /** One answer, whatever is known here of what is named. */
  async #answerNotice(body: Uint8Array, peer: string): Promise<Uint8Array> {
    const { artifacts } = decodeMessage(filesNotice, body, 'a notice of large files')
    for (const artifact of artifacts) {
      if (!this.#options.replicas.isFor(artifact, peer)) continue
      await this.#book.begin(artifact)
      this.#renew(artifact, peer)
    }
    return encodeMessage({})
  }

  #onStore({ type, artifact, forkOf }: ArtifactEvent): void {
    if (type === 'removed') {
      this.#wanted.forget(artifact)
      this.#rounds.end(artifact)
      for (const known of [this.#stated, this.#owed, this.#due]) known.delete(artifact)
    } else if (forkOf !== undefined && this.#book.has(forkOf)) {
      this.#run(async () => {
        await this.#book.begin(artifact, forkOf)
        this.#schedule(artifact)
      })
    } else if ((type === 'moved' || type === 'adopted') && this.#book.has(artifact)) {
      this.#schedule(artifact)
    }
  }

  #onFile(artifact: string, what: LfsChange): void {
    if (what === 'came') this.#news.add(artifact)
    else {
      // Others that believe all is here give theirs up
      this.#wanted.lost(artifact)
      this.#owed.add(artifact)
      this.#rounds.renew(artifact)
    }
    this.#run(async () => {
      if (what === 'lost') await this.#options.replicas.restate(artifact)
      await this.#book.begin(artifact)
      this.#schedule(artifact)
    })
  }

  #tell(artifact: string, peer: string): void {
    if (this.#options.replicas.knows(artifact, peer)) this.#tellHolder(artifact, peer)
  }

  #tellHolder(artifact: string, peer: string): void {
    if (!this.#book.has(artifact)) return
    if (this.#options.replicas.isFor(artifact, peer)) this.#notices.tell(peer, artifact)
  }

  /** Somebody may have what is wanted. */
  #renew(artifact: string, peer?: string): void {
    this.#rounds.renew(artifact)
    this.#schedule(artifact, peer === undefined ? [] : [peer])
  }

  #schedule(artifact: string, peers: Iterable<string> = []): void {
    this.#enqueue(artifact, peers)
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#pump()
    }, GATHER_MS).unref()
  }

  /** At the end, unless it waits already. */
  #enqueue(artifact: string, peers: Iterable<string>): void {
    this.#due.set(artifact, new Set([...(this.#due.get(artifact) ?? []), ...peers]))
  }

  #pump(): void {
    for (const [artifact, peers] of this.#due) {
      if (this.#working.size >= WORKERS) return
      if (this.#working.has(artifact)) continue
      this.#due.delete(artifact)
      this.#working.add(artifact)
      this.#run(async () => {
        try {
          if (await this.#turn(artifact, peers)) this.#enqueue(artifact, peers)
        } finally {
          this.#working.delete(artifact)
          this.#pump()
        }
      })
    }
  }

  /** Looks for what is wanted, and fetches a part of it. @returns whether there is more to ask for now */
  async #turn(artifact: string, peers: ReadonlySet<string>): Promise<boolean> {
    if (this.#options.store.get(artifact) === undefined) {
      this.#rounds.end(artifact)
      return false
    }
    const isMore = await this.#bring(artifact, peers).catch((error: unknown) => {
      this.#rounds.rest(artifact)
      throw error
    })
    if (!isMore) {
      await this.#wanted.count(artifact)
      if (this.lacks(artifact) === 0) this.#rounds.end(artifact)
      await this.#state(artifact)
    }
    if (this.#news.delete(artifact))
      for (const peer of await this.#options.replicas.linkedHolders(artifact)) this.#tell(artifact, peer)
    return isMore
  }

  async #bring(artifact: string, peers: ReadonlySet<string>): Promise<boolean> {
    const { net, files, replicas, note, idleMs } = this.#options
    const { signal } = this.#stopping
    if (!this.#wanted.isSearched(artifact)) {
      this.#owed.add(artifact)
      if (await this.#wanted.search(artifact, signal)) this.#rounds.renew(artifact)
    }
    const part = this.#rounds.next(artifact)
    if (part === undefined) return false
    const wanted = await files.list(artifact, 'wanted', part.after, FILES_PER_TURN)
    const holders = new Set([...peers, ...(await replicas.linkedHolders(artifact))]).difference(part.failed)
    const source = this.#book.get(artifact)?.source
    const options = { net, files, note, signal, ...(idleMs === undefined ? {} : { idleMs }) }
    const brought = await bringFiles({ artifact, wanted, source, peers: holders }, options)
    const last = wanted.length < FILES_PER_TURN ? undefined : wanted.at(-1)?.oid
    return this.#rounds.asked(artifact, { ...brought, last })
  }

  /** Says what is lacking when others may think otherwise. */
  async #state(artifact: string): Promise<void> {
    const lacks = this.lacks(artifact)
    const isOwed = this.#owed.delete(artifact)
    if (this.#stated.get(artifact) === lacks && !isOwed) return
    this.#stated.set(artifact, lacks)
    await this.#options.replicas.restate(artifact)
  }

  /** L5 */
  async #collected(artifact: string, { keepRecent = false }: CollectOptions): Promise<void> {
    await this.#wanted.collect(artifact, keepRecent ? KEEP_MS : FRESH_MS, this.#stopping.signal)
    if (this.lacks(artifact) !== this.#stated.get(artifact)) this.#schedule(artifact)
  }

  #run(work: () => Promise<void>): void {
    if (this.#stopping.signal.aborted) return
    const running = work()
      .catch((error: unknown) => {
        const { code, message } = toMeshError(error)
        if (!this.#stopping.signal.aborted) this.#options.note('large files', { code, reason: message })
      })
      .finally(() => this.#running.delete(running))
    this.#running.add(running)
  }
}
