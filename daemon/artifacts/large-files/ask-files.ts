/**
 * The asking side of large files between nodes. Each is read into the store's incoming folder and kept only when its content is what its name says. Names are sent ahead
 * of the answers, which come in their order: a file that is not there costs no round trip of its own. What came of a file before the link broke is not asked for again.
 */
import { FILES_STREAM, fileOffered } from '../../../protocol/artifact/file-messages.ts'
import type { LfsPointer } from '../../../protocol/artifact/lfs-pointer.ts'
import { packet, PacketReader } from '../../../protocol/artifact/pkt-line.ts'
import { decodeMessage, encodeMessage } from '../../../protocol/artifact/replication-messages.ts'
import { isErrorCode, MeshError } from '../../../protocol/errors.ts'
import type { ByteStream, MeshNet } from '../../net/mesh-net.ts'
import { type ComingFile, discard, isLoss } from '../git-door/lfs-parts.ts'
import type { LfsStore } from '../git-door/lfs-store.ts'
import { Watchdog } from '../replicate/watchdog.ts'
import { alive } from './alive.ts'

export interface AskOptions {
  readonly net: Pick<MeshNet, 'openStream'>
  readonly files: Pick<LfsStore, 'putFrom' | 'refusal' | 'takePart' | 'keepPart'>
  /** @default 30,000 */
  readonly idleMs?: number
  readonly signal: AbortSignal
}

/** Files asked for whose answer was not read: about 5 KiB, which every stream takes in without being read at the other end. */
const MAX_AHEAD = 64

export interface FilesOrder {
  readonly peer: string
  readonly artifact: string
  readonly wanted: readonly LfsPointer[]
}

export interface FilesGot {
  readonly got: number
  /** The first that could not be taken, and why: it ended the stream, those after it were not asked for */
  readonly failed?: { readonly oid: string; readonly error: unknown }
}

/** @throws MeshError E_UNREACHABLE, E_TIMEOUT, E_PROTOCOL when there is no stream to begin with; the reason of `signal` */
export async function askFiles({ peer, artifact, wanted }: FilesOrder, options: AskOptions): Promise<FilesGot> {
  const dog = new Watchdog('Fetching large files', options.idleMs ?? 30_000, options.signal)
  const stream = await options.net.openStream(peer, FILES_STREAM, dog.signal).catch((error: unknown) => {
    dog.stop()
    throw error
  })
  const onAbort = (): void => stream.abort(new MeshError('E_TIMEOUT', 'Fetching large files was given up'))
  dog.signal.addEventListener('abort', onAbort, { once: true })
  const packets = new PacketReader(alive(stream.chunks(), dog))
  const progress: Progress = { got: 0, oid: '', part: await options.files.takePart(artifact, peer) }
  let failure: unknown
  try {
    await askEach({ peer, artifact, wanted }, options.files, { stream, packets, signal: dog.signal }, progress)
    await stream.end(dog.signal)
    // Until the other end is done with it: it serves a peer few at once
    await packets.next()
    return { got: progress.got }
  } catch (error) {
    failure = dog.signal.aborted ? dog.signal.reason : error
    stream.abort(new MeshError('E_PROTOCOL', 'Fetching large files failed'))
    options.signal.throwIfAborted()
    return { got: progress.got, failed: { oid: progress.oid, error: failure } }
  } finally {
    const { part } = progress
    // One that the peer takes amiss is not offered again
    if (part !== undefined && (failure === undefined || isLoss(failure)))
      await options.files.keepPart(artifact, peer, part)
    else if (part !== undefined) await discard(part)
    dog.signal.removeEventListener('abort', onAbort)
    dog.stop()
    await packets.close()
  }
}

interface Progress {
  got: number
  /** Being asked for */
  oid: string
  /** What is here already of one of them */
  part: ComingFile | undefined
}

interface Line {
  readonly stream: ByteStream
  readonly packets: PacketReader
  readonly signal: AbortSignal
}

async function askEach(
  { peer, artifact, wanted }: FilesOrder,
  files: AskOptions['files'],
  { stream, packets, signal }: Line,
  progress: Progress,
): Promise<void> {
  await stream.write(packet(encodeMessage({ v: 1, artifact })), signal)
  let sent = 0
  for (const [at, { oid }] of wanted.entries()) {
    progress.oid = oid
    if (sent - at <= MAX_AHEAD / 2) {
      const ahead = wanted.slice(sent, at + MAX_AHEAD).map((each) => asked(each, progress.part))
      sent += ahead.length
      if (ahead.length > 0) await stream.write(Buffer.concat(ahead), signal)
    }
    const size = await offered(packets)
    if (size === undefined) continue
    const begun = progress.part?.oid === oid ? progress.part : undefined
    const refusal = files.refusal(artifact, size)
    if (refusal !== undefined) throw refusal
    if (begun !== undefined) progress.part = undefined
    await files.putFrom(peer, artifact, { oid, size, chunks: content(packets) }, begun)
    progress.got++
  }
}

function asked({ oid }: LfsPointer, part: ComingFile | undefined): Buffer {
  return packet(encodeMessage(part?.oid === oid ? { oid, from: part.bytes } : { oid }))
}

/** @returns undefined when the peer does not have it */
async function offered(packets: PacketReader): Promise<number | undefined> {
  const next = await packets.next()
  if (next?.kind !== 'data') throw malformed()
  const [word, code] = next.payload.toString('latin1', 0, 64).split(' ')
  if (word !== 'ERR') return decodeMessage(fileOffered, next.payload, 'the offer of a large file').size
  if (code === 'E_NOT_FOUND') return undefined
  throw new MeshError(isErrorCode(code) ? code : 'E_PROTOCOL', 'Cannot fetch large files from a peer: it refused')
}

async function* content(packets: PacketReader): AsyncGenerator<Buffer> {
  for (;;) {
    const next = await packets.next().catch((error: unknown) => {
      throw packets.isOver ? brokenOff(error) : error
    })
    if (next === undefined) throw brokenOff()
    if (next.kind === 'flush') return
    if (next.kind !== 'data') throw malformed()
    yield next.payload
  }
}

/** A connection that is closed by the other end ends its streams in order. */
function brokenOff(cause?: unknown): MeshError {
  return new MeshError('E_UNREACHABLE', 'Cannot fetch large files from a peer: it broke off', { cause })
}

function malformed(): MeshError {
  return new MeshError('E_PROTOCOL', 'Cannot fetch large files from a peer: its answer has another form')
}
