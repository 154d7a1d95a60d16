/**
 * The asking side of large files between nodes. Each is read into the store's incoming folder and kept only when its content is what its name says. Names are sent ahead
 * of the answers, which come in their order: a file that is not there costs no round trip of its own.
 */
import { FILES_STREAM, fileOffered } from '../../../protocol/artifact/file-messages.ts'
import type { LfsPointer } from '../../../protocol/artifact/lfs-pointer.ts'
import { packet, PacketReader } from '../../../protocol/artifact/pkt-line.ts'
import { decodeMessage, encodeMessage } from '../../../protocol/artifact/replication-messages.ts'
import { isErrorCode, MeshError } from '../../../protocol/errors.ts'
import type { MeshNet } from '../../net/mesh-net.ts'
import type { LfsStore } from '../git-door/lfs-store.ts'
import { Watchdog } from '../replicate/watchdog.ts'
import { alive } from './alive.ts'

export interface AskOptions {
  readonly net: Pick<MeshNet, 'openStream'>
  readonly files: Pick<LfsStore, 'put' | 'refusal'>
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
  let got = 0
  let oid = ''
  try {
    await stream.write(packet(encodeMessage({ v: 1, artifact })), dog.signal)
    let sent = 0
    for (const [at, file] of wanted.entries()) {
      oid = file.oid
      if (sent - at <= MAX_AHEAD / 2) {
        const ahead = wanted.slice(sent, at + MAX_AHEAD)
        sent += ahead.length
        if (ahead.length > 0) await stream.write(Buffer.concat(ahead.map(asked)), dog.signal)
      }
      const size = await offered(packets)
      if (size === undefined) continue
      const refusal = options.files.refusal(artifact, size)
      if (refusal !== undefined) throw refusal
      await options.files.put(artifact, oid, size, content(packets))
      got++
    }
    await stream.end(dog.signal)
    // Until the other end is done with it: it serves a peer few at once
    await packets.next()
    return { got }
  } catch (error) {
    stream.abort(new MeshError('E_PROTOCOL', 'Fetching large files failed'))
    options.signal.throwIfAborted()
    return { got, failed: { oid, error: dog.signal.aborted ? dog.signal.reason : error } }
  } finally {
    dog.signal.removeEventListener('abort', onAbort)
    dog.stop()
    await packets.close()
  }
}

const asked = ({ oid }: LfsPointer): Buffer => packet(encodeMessage({ oid }))

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
    const next = await packets.next()
    if (next?.kind === 'flush') return
    if (next?.kind !== 'data') throw malformed()
    yield next.payload
  }
}

function malformed(): MeshError {
  return new MeshError('E_PROTOCOL', 'Cannot fetch large files from a peer: its answer has another form')
}
