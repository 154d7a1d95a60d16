/** The answering side of large files between nodes: who may know of an artifact gets the files that are here, one after the other. */
import { FILES_STREAM, filesHeader, type FileWanted, fileWanted } from '../../../protocol/artifact/file-messages.ts'
import { FLUSH, MAX_PAYLOAD, packet, PacketReader } from '../../../protocol/artifact/pkt-line.ts'
import { decodeMessage, encodeMessage } from '../../../protocol/artifact/replication-messages.ts'
import { MeshError, toMeshError } from '../../../protocol/errors.ts'
import type { ByteStream, MeshNet } from '../../net/mesh-net.ts'
import type { LfsStore } from '../git-door/lfs-store.ts'
import { alive } from './alive.ts'
import { Watchdog } from '../replicate/watchdog.ts'

export interface FileServerOptions {
  readonly net: MeshNet
  readonly files: Pick<LfsStore, 'read'>
  /** Whether it is here and the peer may know of it */
  readonly isFor: (artifact: string, peer: string) => boolean
  /** @default 30,000 */
  readonly idleMs?: number
}

/** Streams served at once, and of those to one peer, which works on three artifacts at a time. */
const MAX_SERVED = 16
const MAX_PER_PEER = 4

export class FileServer {
  readonly #options: FileServerOptions
  readonly #served = new Map<ByteStream, AbortController>()

  constructor(options: FileServerOptions) {
    this.#options = options
  }

  attach(): void {
    this.#options.net.handleStream(FILES_STREAM, (stream) => void this.#serve(stream))
  }

  /** Ends what is being served to a peer, or to all. */
  end(reason: Error, peer?: string): void {
    for (const [stream, controller] of this.#served)
      if (peer === undefined || stream.peer === peer) controller.abort(reason)
  }

  /** Never rejects. */
  async #serve(stream: ByteStream): Promise<void> {
    const ending = new AbortController()
    const dog = new Watchdog('Serving large files', this.#options.idleMs ?? 30_000, ending.signal)
    const onAbort = (): void => stream.abort(toMeshError(dog.signal.reason))
    dog.signal.addEventListener('abort', onAbort, { once: true })
    const ofPeer = [...this.#served.keys()].filter((other) => other.peer === stream.peer).length
    const isFull = this.#served.size >= MAX_SERVED || ofPeer >= MAX_PER_PEER
    this.#served.set(stream, ending)
    try {
      if (isFull) throw new MeshError('E_OVERLOADED', 'Cannot serve large files: too many run already')
      await this.#answer(stream, dog)
      await stream.end(dog.signal)
    } catch (error) {
      await refuse(stream, toMeshError(error), dog)
    } finally {
      dog.signal.removeEventListener('abort', onAbort)
      dog.stop()
      this.#served.delete(stream)
    }
  }

  async #answer(stream: ByteStream, dog: Watchdog): Promise<void> {
    const packets = new PacketReader(alive(stream.chunks(), dog))
    const next = async (): Promise<Buffer | undefined> => {
      const read = await packets.next()
      if (read !== undefined && read.kind !== 'data') throw malformed()
      return read?.payload
    }
    try {
      const header = decodeMessage(filesHeader, (await next()) ?? Buffer.of(), 'a request for large files')
      for (let wanted = await next(); wanted !== undefined; wanted = await next()) {
        const file = decodeMessage(fileWanted, wanted, 'the name of a large file')
        await this.#send(stream, header.artifact, file, dog)
      }
    } finally {
      await packets.close()
    }
  }

  /** Asked anew for each file: who may know of an artifact can change while a stream is open. */
  async #send(stream: ByteStream, artifact: string, wanted: FileWanted, dog: Watchdog): Promise<void> {
    const { oid, from = 0 } = wanted
    const { files, isFor } = this.#options
    const file = isFor(artifact, stream.peer) ? await files.read(artifact, oid, from).catch(absent) : undefined
    if (file === undefined) return stream.write(packet('ERR E_NOT_FOUND'), dog.signal)
    await stream.write(packet(encodeMessage({ size: file.size })), dog.signal)
    for await (const chunk of file.chunks) {
      // One after the other: on a narrow link each is a sign of life
      for (const piece of packets(chunk)) {
        await stream.write(piece, dog.signal)
        dog.moved(piece.length)
      }
    }
    await stream.write(FLUSH, dog.signal)
  }
}

/** One that is damaged here is not here. */
function absent(thrown: unknown): undefined {
  const { code } = toMeshError(thrown)
  if (code !== 'E_NOT_FOUND' && code !== 'E_STORAGE') throw thrown
}

function* packets(chunk: Buffer): Generator<Buffer> {
  for (let at = 0; at < chunk.length; at += MAX_PAYLOAD) yield packet(chunk.subarray(at, at + MAX_PAYLOAD))
}

/** In the middle of a file the packet is out of place and the asker fails on it, as it must. */
async function refuse(stream: ByteStream, error: MeshError, dog: Watchdog): Promise<void> {
  try {
    await stream.write(packet(`ERR ${error.code}`), dog.signal)
    await stream.end(dog.signal)
  } catch {
    stream.abort(error)
  }
}

function malformed(): MeshError {
  return new MeshError('E_PROTOCOL', 'Cannot serve large files: the request has another form')
}
