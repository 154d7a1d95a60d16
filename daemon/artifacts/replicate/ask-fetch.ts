/**
 * The asking side of a fetch. In this order: records (signature, form, admission), then the objects their refs need, into a quarantine where Git checks each and all
 * of them; only then the store adopts both. Whatever fails before leaves nothing.
 */
import { admitRecord } from '../../../protocol/artifact/admission.ts'
import { mayKnow } from '../../../protocol/artifact/visibility.ts'
import { openRecord, type SealedRecord } from '../../../protocol/artifact/record.ts'
import { encodeMessage, GIT_STREAM } from '../../../protocol/artifact/replication-messages.ts'
import type { Heads } from '../../../protocol/artifact/heads.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import { failpoint } from '../../failpoint.ts'
import type { ByteStream, MeshNet } from '../../net/mesh-net.ts'
import type { Adopted, ArtifactStore } from '../store/artifact-store.ts'
import { fetchRequest } from './fetch-request.ts'
import { Gathered, type Taken } from './gathered.ts'
import { PackIntake, type TakenPack } from './pack-intake.ts'
import { FLUSH, packet, PacketReader } from '../../../protocol/artifact/pkt-line.ts'
import { readPack } from './read-pack.ts'
import { readRecords, RECORD_BYTES_PER_FETCH, RECORDS_PER_FETCH } from './record-stream.ts'
import type { Transfers } from './transfers.ts'
import { Watchdog } from './watchdog.ts'

export interface FetchOptions {
  readonly net: MeshNet
  readonly store: ArtifactStore
  readonly isMember: (node: string) => boolean
  readonly transfers: Transfers
  /** @default 30,000 */
  readonly idleMs?: number
  /** Records that a stream carries. @default RECORDS_PER_FETCH */
  readonly recordsPerFetch?: number
}

export interface FetchOrder {
  readonly peer: string
  readonly artifact: string
  /** What the peer says it holds */
  readonly theirs: Heads
  readonly signal?: AbortSignal
}

/** The newest record of a writer, held or gathered */
interface KnownHead {
  readonly sequence: number
  readonly digest: string
  readonly frozen?: unknown
}

interface Lacking {
  /** Tips the newest records name and this node lacks */
  readonly wants: readonly string[]
  /** Tips that are here with all they reach */
  readonly complete: readonly string[]
  /** What the peer may make the pack against */
  readonly haves: readonly string[]
}

/**
 * Brings what the peer holds and this node does not. Resolves when it is durable here.
 * @throws MeshError E_PROTOCOL or E_SIGNATURE when the peer sent what it must not, E_NOT_FOUND when it does not have it (for us), E_QUOTA, E_OVERLOADED,
 * E_UNREACHABLE, E_TIMEOUT, E_STORAGE; or the reason of `signal`
 */
export async function fetchArtifact(order: FetchOrder, options: FetchOptions): Promise<Adopted> {
  const suspects = new Set(suspected(order, options.store))
  return options.transfers.during('fetch', async () => {
    try {
      return await overStreams(order, options, suspects)
    } catch (error) {
      if (!(error instanceof Forked)) throw error
      return overStreams(order, options, suspects.add(error.writer))
    }
  })
}

/** A history that is longer than a stream carries comes over several, and objects only over the last: see `Gathered`. */
async function overStreams(order: FetchOrder, options: FetchOptions, suspects: ReadonlySet<string>): Promise<Adopted> {
  const gathered = new Gathered()
  for (;;) {
    const adopted = await attempt(order, options, { suspects, gathered })
    if (adopted !== undefined) return adopted
  }
}

/** Writers whose chains must be compared from the start, since the heads show that there are two. */
function suspected({ artifact, theirs }: FetchOrder, store: ArtifactStore): string[] {
  if (store.get(artifact) === undefined) return []
  return [...store.heads(artifact)].flatMap(([writer, mine]) => {
    const their = theirs.get(writer)
    if (their === undefined || mine.frozen !== undefined) return []
    const differs = their.sequence === mine.sequence && their.digest !== mine.digest
    return their.frozen === true || differs ? [writer] : []
  })
}

/** The chain of a writer goes on from another record than the one that is held: there are two of that sequence or of one before. */
class Forked extends Error {
  readonly writer: string

  constructor(writer: string) {
    super('A writer signed two histories')
    this.writer = writer
  }
}

interface Before {
  readonly suspects: ReadonlySet<string>
  readonly gathered: Gathered
}

/** @returns undefined when there are more records than one stream carries */
async function attempt(order: FetchOrder, options: FetchOptions, before: Before): Promise<Adopted | undefined> {
  const dog = new Watchdog('Fetching an artifact', options.idleMs ?? 30_000, order.signal)
  let intake: Promise<PackIntake> | undefined
  // Ready when the objects come; what it fails of comes up then
  const openIntake = (): Promise<PackIntake> => {
    intake ??= PackIntake.open(options.store, order.artifact, dog.signal)
    intake.catch(() => undefined)
    return intake
  }
  try {
    return await onStream(order, options, before, { dog, openIntake })
  } catch (error) {
    throw dog.signal.aborted ? dog.signal.reason : error
  } finally {
    await intake?.then((opened) => opened.close()).catch(() => undefined)
    dog.stop()
  }
}

interface Means {
  readonly dog: Watchdog
  /** The first call opens it, which holds up this process for some milliseconds. */
  readonly openIntake: () => Promise<PackIntake>
}

async function onStream(
  order: FetchOrder,
  options: FetchOptions,
  before: Before,
  means: Means,
): Promise<Adopted | undefined> {
  const { signal } = means.dog
  const stream = await options.net.openStream(order.peer, GIT_STREAM, signal)
  const onAbort = (): void => stream.abort(new MeshError('E_TIMEOUT', 'The fetch was given up'))
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await new Fetch(order, options, before, stream, means).run()
  } catch (error) {
    stream.abort(new MeshError('E_PROTOCOL', 'The fetch failed'))
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

class Fetch {
  readonly #order: FetchOrder
  readonly #options: FetchOptions
  readonly #suspects: ReadonlySet<string>
  readonly #gathered: Gathered
  readonly #stream: ByteStream
  readonly #dog: Watchdog
  readonly #openIntake: () => Promise<PackIntake>
  readonly #packets: PacketReader

  constructor(
    order: FetchOrder,
    options: FetchOptions,
    { suspects, gathered }: Before,
    stream: ByteStream,
    { dog, openIntake }: Means,
  ) {
    this.#order = order
    this.#options = options
    this.#suspects = suspects
    this.#gathered = gathered
    this.#stream = stream
    this.#dog = dog
    this.#openIntake = openIntake
    this.#packets = new PacketReader(alive(stream.chunks(), dog, options.transfers))
  }

  /** @returns undefined when records are left for another stream */
  async run(): Promise<Adopted | undefined> {
    const { artifact } = this.#order
    const { store } = this.#options
    const have = store.get(artifact) === undefined ? [] : [...store.heads(artifact)]
    const sure = have.filter(([writer]) => !this.#suspects.has(writer))
    const known = sure.map(([writer, { sequence }]) => [writer, sequence] as const)
    const header = { v: 1, artifact, have: Object.fromEntries([...known, ...this.#gathered.sequences]) }
    try {
      await this.#stream.write(Buffer.concat([packet(encodeMessage(header)), FLUSH]), this.#dog.signal)
      // While the peer reads that and looks for its records
      void this.#openIntake()
      const { found, isFull } = await this.#records()
      this.#gathered.add(found)
      const { taken } = this.#gathered
      if (isFull && found.length > 0 && this.#isBehind() && this.#gathered.hasRoom) {
        await this.#stream.end(this.#dog.signal)
        return undefined
      }
      if (taken.length === 0) {
        await this.#stream.end(this.#dog.signal)
        return { heads: new Map(have), taken: 0, frozen: [] }
      }
      const lacking = await this.#lacking(taken)
      const pack = lacking.wants.length === 0 ? {} : await this.#objects(lacking)
      this.#dog.ownWork()
      await this.#stream.end(this.#dog.signal).catch(() => undefined)
      failpoint('artifact.fetch.before-adopt')
      const texts = taken.map(({ sealed }) => sealed.text)
      return await store.adopt(artifact, texts, { ...pack, signal: this.#dog.signal })
    } finally {
      await this.#packets.close()
    }
  }

  async #objects({ wants, complete, haves }: Lacking): Promise<TakenPack> {
    const { store } = this.#options
    // Asked for at once: what comes before the intake is ready waits on the stream
    await this.#stream.write(fetchRequest({ wants, haves }), this.#dog.signal)
    const intake = await this.#openIntake()
    const maxBytes = store.room(this.#order.artifact)
    return intake.take({ pack: this.#pack(), wants, complete, maxBytes })
  }

  /** When all of it is here, the link may break and Git may take its time. */
  async *#pack(): AsyncGenerator<Uint8Array> {
    yield* readPack(this.#packets)
    this.#dog.ownWork()
    this.#stream.end(this.#dog.signal).catch(() => undefined)
  }

  /** Whether the peer said that it holds more than has come. */
  #isBehind(): boolean {
    const { artifact, theirs } = this.#order
    const { store } = this.#options
    const held = store.get(artifact) === undefined ? undefined : store.heads(artifact)
    return [...theirs].some(([writer, { sequence }]) => {
      const mine = this.#gathered.sequences.get(writer) ?? held?.get(writer)?.sequence ?? 0
      return mine < sequence
    })
  }

  /** Those of the peer's records that may be taken, checked one by one as if each were the last. `isFull`: the stream carried all it could. */
  async #records(): Promise<{ readonly found: Taken[]; readonly isFull: boolean }> {
    const { artifact } = this.#order
    const { store, isMember } = this.#options
    const view = store.get(artifact)
    const heads = new Map<string, KnownHead>(view === undefined ? [] : store.heads(artifact))
    for (const { sealed, proves } of this.#gathered.taken) {
      const { record, digest } = sealed
      if (!proves) heads.set(record.writer, { sequence: record.sequence, digest })
    }
    const digests = await this.#digests()
    const taken: Taken[] = []
    let owner = view?.owner ?? this.#gathered.taken[0]?.sealed.record.genesis?.owner
    const texts = await readRecords(this.#packets)
    for (const text of texts) {
      const sealed = openRecord(text)
      const { record, digest } = sealed
      owner ??= record.genesis?.owner
      if (owner === undefined) throw refused('it does not begin with the genesis')
      const facts = {
        ...record,
        signer: record.writer,
        digest,
        hasSettings: record.settings !== undefined,
        // `openRecord` has checked that a genesis hashes to the artifact and names the writer
        genesis: record.genesis && { artifact: record.artifact, owner: record.genesis.owner },
      }
      const held = heads.get(record.writer)
      const head = held && { ...held, frozen: held.frozen !== undefined }
      const digestAt = (sequence: number): string | undefined => digests.get(record.writer)?.[sequence - 1]
      const verdict = admitRecord(facts, { artifact, owner, head, digestAt, isMember })
      if (verdict.type === 'equivocation' && record.sequence > verdict.sequence) throw new Forked(record.writer)
      if (verdict.type === 'refuse' && verdict.why !== 'quarantined' && verdict.why !== 'frozen') {
        throw refused(`a record must not be taken (${verdict.why})`)
      }
      if (verdict.type === 'gap') throw refused('records are missing between')
      if (verdict.type !== 'accept' && verdict.type !== 'equivocation') continue
      taken.push({ sealed, proves: verdict.type === 'equivocation' })
      if (verdict.type === 'accept') heads.set(record.writer, { sequence: record.sequence, digest })
    }
    this.#checkAudience([...this.#gathered.taken, ...taken], owner)
    const characters = texts.reduce((sum, text) => sum + text.length, 0)
    const most = this.#options.recordsPerFetch ?? RECORDS_PER_FETCH
    const isFull = texts.length >= most || characters + LIMITS.artifactRecordBytes > RECORD_BYTES_PER_FETCH
    return { found: taken, isFull }
  }

  /** Of the records held of each suspect, by sequence. */
  async #digests(): Promise<Map<string, string[]>> {
    const { store } = this.#options
    const found = new Map<string, string[]>()
    for (const writer of this.#suspects) {
      const digests: string[] = []
      for (;;) {
        const page = await store.envelopes(this.#order.artifact, writer, digests.length)
        if (page.length === 0) break
        for (const text of page) digests.push(openRecord(text).digest)
      }
      found.set(writer, digests)
    }
    return found
  }

  /** A private artifact that does not name this node is none of its business, whoever offers it. */
  #checkAudience(taken: readonly Taken[], owner: string | undefined): void {
    const { net, store } = this.#options
    const settings = taken.findLast(({ sealed }) => sealed.record.settings)?.sealed.record.settings
    if (settings === undefined || owner === undefined || mayKnow(net.self, owner, settings)) return
    if (store.get(this.#order.artifact) === undefined)
      throw new MeshError('E_FORBIDDEN', 'Cannot take an artifact: it is not for this node')
  }

  async #lacking(taken: readonly Taken[]): Promise<Lacking> {
    const complete = this.#complete()
    const newest = new Map<string, SealedRecord>()
    for (const { sealed, proves } of taken) if (!proves) newest.set(sealed.record.writer, sealed)
    const named = [...newest.values()].flatMap(({ record }) => Object.values(record.refs))
    const wants = [...new Set(named)].filter((oid) => !complete.has(oid))
    return { wants, complete: [...complete], haves: [...new Set([...complete, ...(await this.#theirTips())])] }
  }

  #complete(): Set<string> {
    const { artifact } = this.#order
    const { store } = this.#options
    if (store.get(artifact) === undefined) return new Set()
    const views = [null, ...store.heads(artifact).keys()].map((as) => store.refs(artifact, { as }))
    return new Set(views.flatMap((refs) => [...refs.values()]))
  }

  /** Where this node is ahead of the peer: the tips of that time, which the peer knows. */
  async #theirTips(): Promise<string[]> {
    const { artifact, theirs } = this.#order
    const { store } = this.#options
    if (store.get(artifact) === undefined) return []
    const tips: string[] = []
    for (const [writer, { sequence }] of store.heads(artifact)) {
      const there = theirs.get(writer)?.sequence ?? 0
      if (there === 0 || there >= sequence) continue
      const { record } = await store.record(artifact, writer, there)
      tips.push(...Object.values(record.refs))
    }
    return tips
  }
}

async function* alive(
  chunks: AsyncIterable<Uint8Array>,
  dog: Watchdog,
  transfers: Transfers,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    dog.moved(chunk.byteLength)
    transfers.moved('in', chunk.length)
    yield chunk
  }
}

function refused(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot take records from a peer: ${why}`)
}
