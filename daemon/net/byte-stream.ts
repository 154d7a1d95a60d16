/** The byte stream of the rest of the daemon, on a libp2p stream: it waits in the ways of streams.ts, and sends no more ahead than bulk-pace.ts says. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Stream } from '@libp2p/interface'
import { MeshError } from '../../protocol/errors.ts'
import { bytesPassed } from '../memory/reclaim.ts'
import type { BulkPace } from './bulk-pace.ts'
import type { ByteStream } from './mesh-net.ts'
import { FIRST_LOOK_MS, LAST_LOOK_MS, OnTheWay } from './on-the-way.ts'
import { chunks, drained, lost, PeerEnd } from './streams.ts'

/** A stream's bytes as the rest of the daemon sees them. */
export class Libp2pByteStream implements ByteStream {
  readonly peer: string
  readonly #stream: Stream
  readonly #pace: BulkPace
  readonly #onTheWay: OnTheWay
  readonly #peerEnd: PeerEnd
  #last: Promise<void> = Promise.resolve()
  #endedHere = false

  /** @param pace of the connection */
  constructor(peer: string, stream: Stream, pace: BulkPace) {
    this.peer = peer
    this.#stream = stream
    this.#pace = pace
    this.#onTheWay = new OnTheWay(stream)
    this.#peerEnd = new PeerEnd(stream)
    // until somebody reads: a stream that nobody listens to would buffer up to its limit and then be reset
    if (stream.readStatus === 'readable') stream.pause()
  }

  write(chunk: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (this.#endedHere)
      return Promise.reject(new MeshError('E_CONFLICT', 'Writing to a stream: its writing half was ended'))
    // A long chunk goes in pieces, and no other may come between them
    const written = this.#last.then(() => this.#write(chunk, signal))
    this.#last = written.catch(() => undefined)
    return written
  }

  async #write(chunk: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    let at = 0
    do {
      const piece = chunk.subarray(at, at + (await this.#room(chunk.byteLength - at, signal)))
      bytesPassed(piece.byteLength)
      try {
        this.#stream.send(piece)
      } catch (cause) {
        throw lost(cause)
      }
      at += piece.byteLength
    } while (at < chunk.byteLength)
  }

  /** Waits until something may be sent. @returns how much of `wanted` bytes */
  async #room(wanted: number, signal: AbortSignal | undefined): Promise<number> {
    const start = performance.now()
    const before = this.#onTheWay.bytes
    let waited = this.#stream.writableNeedsDrain
    for (let pause = FIRST_LOOK_MS; ; pause = Math.min(pause * 1.5, LAST_LOOK_MS)) {
      await drained(this.#stream, signal)
      const onTheWay = this.#onTheWay.bytes
      const room = this.#pace.bytes - onTheWay
      if (room >= Math.min(wanted, this.#pace.bytes / 2)) {
        if (waited) this.#pace.took(before - onTheWay, performance.now() - start)
        return Math.min(room, wanted)
      }
      waited = true
      await sleep(pause, undefined, { signal }).catch(() => signal?.throwIfAborted())
    }
  }

  async end(signal?: AbortSignal): Promise<void> {
    if (this.#endedHere) return
    this.#endedHere = true
    await this.#last
    await drained(this.#stream, signal)
    await this.#stream.close(signal === undefined ? {} : { signal })
  }

  chunks(): AsyncIterable<Uint8Array> {
    return chunks(this.#stream, this.#peerEnd)
  }

  abort(error: Error): void {
    this.#stream.abort(error)
  }
}
