/**
 * The answering side of a fetch: records from the store, then objects. When they are few the store reads them (small-pack.ts); when they are all there are and lie in
 * one pack, that file is sent (send-whole.ts); else they come from `git upload-pack` in a jail. The stream's own backpressure holds: a reader that is slow stops
 * Git, and the daemon holds a packet or two.
 */
import {
  fetchHeader,
  type FetchHeader,
  decodeMessage,
  GIT_STREAM,
} from '../../../protocol/artifact/replication-messages.ts'
import { MeshError, toMeshError } from '../../../protocol/errors.ts'
import type { ByteStream, MeshNet } from '../../net/mesh-net.ts'
import type { ArtifactStore } from '../store/artifact-store.ts'
import type { OpenStore } from '../store/journal-store.ts'
import { type GitChild, spawnGit } from '../store/git-process.ts'
import type { WholePack } from '../store/whole-pack.ts'
import { fetchRequest, readFetchRequest, type Wanted } from './fetch-request.ts'
import { FLUSH, PacketReader } from '../../../protocol/artifact/pkt-line.ts'
import { errorPacket, RECORD_BYTES_PER_FETCH, recordPackets, RECORDS_PER_FETCH } from './record-stream.ts'
import { packPackets } from './read-pack.ts'
import { wholePackPackets } from './send-whole.ts'
import { smallPack } from './small-pack.ts'
import type { Transfers } from './transfers.ts'
import { Watchdog } from './watchdog.ts'

export interface FetchServerOptions {
  readonly net: MeshNet
  readonly store: OpenStore
  /** Whether the peer may know of the artifact, which may not exist here */
  readonly mayKnow: (peer: string, artifact: string) => boolean
  readonly transfers: Transfers
  /** Fetches served at once. @default 16 */
  readonly slots?: number
  /** Of those, for one peer. @default 4 */
  readonly slotsPerPeer?: number
  /** @default 30,000 */
  readonly idleMs?: number
  /** @default RECORDS_PER_FETCH */
  readonly recordsPerFetch?: number
}

/** Envelopes read from the store at a time. */
const PAGE = 100
const PIECE_BYTES = 32 << 10
/** Written at a time, of what may be longer: on a narrow link each is a sign of life. */
const SEND_BYTES = 64 << 10
/** An artifact of more than this, packed, is seldom a small pack. */
const LARGE_BYTES = 1 << 20

export class FetchServer {
  readonly #options: FetchServerOptions
  readonly #served = new Map<ByteStream, AbortController>()

  constructor(options: FetchServerOptions) {
    this.#options = options
  }

  attach(): void {
    this.#options.net.handleStream(GIT_STREAM, (stream) => void this.#serve(stream))
  }

  /** Ends what is being served to a peer, or to all. */
  end(reason: Error, peer?: string): void {
    for (const [stream, controller] of this.#served)
      if (peer === undefined || stream.peer === peer) controller.abort(reason)
  }

  async #serve(stream: ByteStream): Promise<void> {
    const ending = new AbortController()
    const dog = new Watchdog('Serving a fetch', this.#options.idleMs ?? 30_000, ending.signal)
    const onAbort = (): void => stream.abort(toMeshError(dog.signal.reason))
    dog.signal.addEventListener('abort', onAbort, { once: true })
    const isFull = this.#isFull(stream.peer)
    this.#served.set(stream, ending)
    try {
      await this.#options.transfers.during('serve', async () => {
        if (isFull) throw new MeshError('E_OVERLOADED', 'Cannot serve a fetch: too many run already')
        await this.#answer(stream, dog)
        await stream.end(dog.signal)
      })
    } catch (error) {
      await this.#refuse(stream, toMeshError(error), dog)
    } finally {
      dog.signal.removeEventListener('abort', onAbort)
      dog.stop()
      this.#served.delete(stream)
    }
  }

  /** Once a pack has begun the packet is out of place and the asker fails on it, as it must. */
  async #refuse(stream: ByteStream, error: MeshError, dog: Watchdog): Promise<void> {
    try {
      await stream.write(errorPacket(error), dog.signal)
      await stream.end(dog.signal)
    } catch {
      stream.abort(error)
    }
  }

  #isFull(peer: string): boolean {
    const { slots = 16, slotsPerPeer = 4 } = this.#options
    const ofPeer = [...this.#served.keys()].filter((stream) => stream.peer === peer).length
    return this.#served.size >= slots || ofPeer >= slotsPerPeer
  }

  async #answer(stream: ByteStream, dog: Watchdog): Promise<void> {
    const packets = new PacketReader(alive(stream.chunks(), dog))
    try {
      const header = await readHeader(packets)
      const send = (bytes: Uint8Array): Promise<void> => this.#send(stream, bytes, dog)
      const { store, mayKnow } = this.#options
      // One answer for what is not here and for what the asker may not know of
      if (!mayKnow(stream.peer, header.artifact)) throw new MeshError('E_NOT_FOUND', 'There is no such artifact here')
      const repository = await store.repository(header.artifact)
      const isWhole = isLarge(store, header)
      const whole = isWhole ? await store.wholePack(header.artifact) : undefined
      const git = isWhole && whole === undefined ? uploadPack(repository, dog.signal) : undefined
      git?.catch(() => undefined)
      try {
        const sent = new Map<string, number>()
        const most = this.#options.recordsPerFetch ?? RECORDS_PER_FETCH
        for await (const packet of together(missingRecords(store, header, { sent, most }))) await send(packet)
        const wanted = await readFetchRequest(packets)
        if (wanted === undefined) return
        await checkWants(store, header, sent, wanted.wants)
        if (whole !== undefined && isAll(wanted, whole)) {
          for await (const piece of wholePackPackets(whole)) await send(piece)
          return
        }
        const small = isWhole ? undefined : await smallPack(store.reader, repository, wanted)
        if (small !== undefined) await send(packPackets(small))
        else await pipeOut(await (git ?? uploadPack(repository, dog.signal)), wanted, { send, signal: dog.signal })
      } finally {
        await git?.then((child) => child.kill()).catch(() => undefined)
        await whole?.file.close()
      }
    } finally {
      await packets.close()
    }
  }

  async #send(stream: ByteStream, bytes: Uint8Array, dog: Watchdog): Promise<void> {
    for (let at = 0; at < bytes.length; at += SEND_BYTES) {
      const piece = bytes.subarray(at, at + SEND_BYTES)
      await stream.write(piece, dog.signal)
      dog.moved(piece.length)
      this.#options.transfers.moved('out', piece.length)
    }
  }
}

/** Whether all of it is going to be asked for, and is more than is packed here: then Git is started while records are sent. */
function isLarge(store: ArtifactStore, { artifact, have }: FetchHeader): boolean {
  return Object.keys(have).length === 0 && store.require(artifact).bytes > LARGE_BYTES
}

/** What is wanted was checked to be named by records that the asker may have: with every tip among it, it may have all they reach. */
function isAll({ wants, haves }: Wanted, { tips }: WholePack): boolean {
  const wanted = new Set(wants)
  return haves.length === 0 && tips.isSubsetOf(wanted)
}

function uploadPack(repository: string, signal: AbortSignal): Promise<GitChild> {
  return spawnGit({
    args: ['upload-pack', '--strict', '--stateless-rpc', repository],
    repository,
    protocol: 'version=2',
    foreign: true,
    limits: { wallMs: 3_600_000 },
    signal,
  })
}

interface Outlet {
  readonly send: (bytes: Uint8Array) => Promise<void>
  readonly signal: AbortSignal
}

async function pipeOut(git: GitChild, wanted: Wanted, { send, signal }: Outlet): Promise<void> {
  try {
    git.stdin.end(fetchRequest(wanted))
    for await (const chunk of gathered(git)) await send(chunk)
    const { code } = await git.ended
    signal.throwIfAborted()
    if (code !== 0) throw new MeshError('E_INTERNAL', 'Cannot serve a fetch: Git could not make the pack')
  } finally {
    git.kill()
  }
}

/** Records and the flush after them, in pieces of some kilobytes: few are sent in one. */
async function* together(packets: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let held: Buffer[] = []
  let bytes = 0
  for await (const packet of packets) {
    held.push(packet)
    if ((bytes += packet.length) < PIECE_BYTES) continue
    yield Buffer.concat(held)
    held = []
    bytes = 0
  }
  yield Buffer.concat([...held, FLUSH])
}

/** What Git has written since, as one piece: it writes packets of some kilobytes, and each piece on the stream has its price. */
async function* gathered({ stdout }: GitChild): AsyncGenerator<Uint8Array> {
  let wake = (): void => {}
  // Started ahead, it may have ended before anybody looks
  let isOver = stdout.readableEnded || stdout.destroyed
  const onReadable = (): void => wake()
  const onEnd = (): void => {
    isOver = true
    wake()
  }
  stdout.on('readable', onReadable).on('end', onEnd).on('close', onEnd)
  try {
    for (;;) {
      const waiting = new Promise<void>((resolve) => {
        wake = resolve
      })
      const chunk: unknown = stdout.read()
      if (chunk instanceof Uint8Array) yield chunk
      else if (isOver) return
      else await waiting
    }
  } finally {
    stdout.off('readable', onReadable).off('end', onEnd).off('close', onEnd)
  }
}

async function readHeader(packets: PacketReader): Promise<FetchHeader> {
  const first = await packets.next()
  if (first?.kind !== 'data') throw new MeshError('E_PROTOCOL', 'Cannot serve a fetch: it does not say of what')
  const header = decodeMessage(fetchHeader, first.payload, 'the head of a fetch')
  if ((await packets.next())?.kind !== 'flush')
    throw new MeshError('E_PROTOCOL', 'Cannot serve a fetch: its head goes on')
  return header
}

/**
 * Git itself would give any object that lies there; here only what the newest records name that the asker has: those just sent, and those of writers of
 * whom it lacks nothing, as a stream before this one may have brought them. @throws MeshError E_FORBIDDEN
 */
async function checkWants(
  store: ArtifactStore,
  { artifact, have }: FetchHeader,
  sent: ReadonlyMap<string, number>,
  wants: readonly string[],
): Promise<void> {
  const named = new Set<string>()
  for (const [writer, { sequence: last }] of store.heads(artifact)) {
    const sequence = sent.get(writer) ?? (have[writer] === last ? last : undefined)
    if (sequence === undefined) continue
    const { record } = await store.record(artifact, writer, sequence)
    for (const tip of Object.values(record.refs)) named.add(tip)
  }
  if (wants.every((oid) => named.has(oid))) return
  throw new MeshError('E_FORBIDDEN', 'Cannot serve a fetch: it wants an object that no record names')
}

/** Records the asker lacks, in packets; stops after what one stream may carry. `sent` is the last sequence that went out, by writer */
async function* missingRecords(
  store: ArtifactStore,
  { artifact, have }: FetchHeader,
  { sent, most }: { readonly sent: Map<string, number>; readonly most: number },
): AsyncGenerator<Buffer> {
  let records = 0
  let bytes = 0
  for (const [writer, { sequence, frozen }] of store.heads(artifact)) {
    let after = have[writer] ?? 0
    while (after < sequence) {
      const page = await store.envelopes(artifact, writer, after, PAGE)
      if (page.length === 0) break
      for (const text of page) {
        if (++records > most || (bytes += text.length) > RECORD_BYTES_PER_FETCH) return
        sent.set(writer, ++after)
        yield recordPackets(text)
      }
    }
    // Who asks from the start lacks the proof, or wants to compare
    if (frozen === undefined || have[writer] !== undefined) continue
    for (const text of await store.proofs(artifact, writer)) yield recordPackets(text)
  }
}

async function* alive(chunks: AsyncIterable<Uint8Array>, dog: Watchdog): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    dog.moved(chunk.byteLength)
    yield chunk
  }
}
