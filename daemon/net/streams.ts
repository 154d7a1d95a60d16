import { setTimeout as sleep } from 'node:timers/promises'
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { MeshError } from '../../protocol/errors.ts'
import type { BulkPace } from './bulk-pace.ts'
import { Fifo } from './fifo.ts'
import type { ByteStream } from './mesh-net.ts'
import { INITIAL_WINDOW_BYTES } from './muxer.ts'
import { bytesPassed } from '../memory/reclaim.ts'

/**
 * The two ways this project waits on a libp2p stream, and the byte stream made of them. The stream's own ways do not hold:
 * its drain promise resolves for ever after the first time, its iterator reads without bound and can miss an end that came early, and a `pause()` made
 * while `resume()` delivers is lost. Never use those elsewhere.
 */

/** Unread bytes at which the peer is paused, and half of which let it go on. Below the stream's read buffer limit. */
const READ_HIGH_BYTES = 256 << 10

/** Resolves when the stream takes bytes again, at once if it does now. @throws the stream's error when it ends first, the signal's reason */
export function drained(stream: Stream, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.reject(signal.reason)
  if (stream.status !== 'open' && stream.status !== 'closing') return Promise.reject(lost())
  if (!stream.writableNeedsDrain) return Promise.resolve()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onDrain = () => {
    // a drain of the connection may come while the stream itself still waits for its window
    if (!stream.writableNeedsDrain) resolve()
  }
  const onClose = (event: StreamCloseEvent) => reject(lost(event.error))
  const onAbort = () => reject(signal?.reason)
  stream.addEventListener('drain', onDrain)
  stream.addEventListener('close', onClose)
  signal?.addEventListener('abort', onAbort)
  return promise.finally(() => {
    stream.removeEventListener('drain', onDrain)
    stream.removeEventListener('close', onClose)
    signal?.removeEventListener('abort', onAbort)
  })
}

/**
 * What the stream brings, pulled: while the reader is busy the peer is paused. Ends with the peer's writing half, also when that ended before.
 * @throws MeshError E_UNREACHABLE when the stream is reset
 */
export async function* chunks(stream: Stream): AsyncGenerator<Uint8Array> {
  const inbox = new StreamInbox(stream)
  try {
    for (;;) {
      const chunk = inbox.take()
      if (chunk !== undefined) {
        bytesPassed(chunk.byteLength)
        yield chunk
      } else if (inbox.error !== undefined) throw lost(inbox.error)
      else if (inbox.ended) return
      else await inbox.changed()
    }
  } finally {
    inbox.detach()
  }
}

/** Collects a stream's events and pauses it above the mark. */
class StreamInbox {
  readonly #stream: Stream
  readonly #queue = new Fifo<Uint8Array>()
  #bytes = 0
  #wake: () => void = () => undefined
  #done = false
  #error: Error | undefined

  constructor(stream: Stream) {
    this.#stream = stream
    stream.addEventListener('close', this.#onClose)
    stream.addEventListener('end', this.#onEnd)
    stream.addEventListener('message', this.#onMessage)
    if (stream.readStatus === 'paused') stream.resume()
  }

  /** Why the stream broke off, also when that was before anybody listened. */
  get error(): Error | undefined {
    const broken = this.#stream.status === 'reset' || this.#stream.status === 'aborted'
    return this.#error ?? (broken ? new Error('The stream was reset') : undefined)
  }

  /** Whether nothing more will come. `remoteCloseWrite` may be seen before what is buffered was delivered, so the buffer decides. */
  get ended(): boolean {
    const stream = this.#stream
    return (
      this.#done || stream.readableEnded || (stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0)
    )
  }

  take(): Uint8Array | undefined {
    const chunk = this.#queue.shift()
    if (chunk === undefined) return undefined
    this.#bytes -= chunk.byteLength
    if (this.#bytes <= READ_HIGH_BYTES / 2 && this.#stream.readStatus === 'paused') this.#stream.resume()
    return chunk
  }

  changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  detach(): void {
    this.#stream.removeEventListener('message', this.#onMessage)
    this.#stream.removeEventListener('end', this.#onEnd)
    this.#stream.removeEventListener('close', this.#onClose)
  }

  readonly #onMessage = (event: StreamMessageEvent) => {
    for (const part of event.data instanceof Uint8Array ? [event.data] : event.data) {
      this.#queue.push(part)
      this.#bytes += part.byteLength
    }
    // not here: a pause made inside the dispatch of `resume` would be undone by it
    if (this.#bytes > READ_HIGH_BYTES) queueMicrotask(() => this.#hold())
    this.#wake()
  }

  #hold(): void {
    if (this.#bytes > READ_HIGH_BYTES && this.#stream.readStatus === 'readable') this.#stream.pause()
  }

  readonly #onEnd = () => {
    this.#done = true
    this.#wake()
  }

  readonly #onClose = (event: StreamCloseEvent) => {
    this.#done = true
    this.#error = event.error
    this.#wake()
  }
}

/** Between two looks at what is on the way, milliseconds: the library tells of credit only those whom it holds back itself. */
const FIRST_LOOK_MS = 1
const LAST_LOOK_MS = 50

/** What was sent on a stream and has not arrived, as far as the peer's credit tells. */
class OnTheWay {
  readonly #stream: Stream
  #window = INITIAL_WINDOW_BYTES

  constructor(stream: Stream) {
    this.#stream = stream
  }

  get bytes(): number {
    const capacity = 'sendWindowCapacity' in this.#stream ? this.#stream.sendWindowCapacity : undefined
    if (typeof capacity !== 'number') return 0
    // Capacity and what is on the way make up the window, so that it must have grown if capacity alone is more
    while (this.#window < capacity) this.#window *= 2
    return this.#window - capacity + this.#stream.writeBufferLength
  }
}

/** A stream's bytes as the rest of the daemon sees them. */
export class Libp2pByteStream implements ByteStream {
  readonly peer: string
  readonly #stream: Stream
  readonly #pace: BulkPace
  readonly #onTheWay: OnTheWay
  #last: Promise<void> = Promise.resolve()
  #endedHere = false

  /** @param pace of the connection */
  constructor(peer: string, stream: Stream, pace: BulkPace) {
    this.peer = peer
    this.#stream = stream
    this.#pace = pace
    this.#onTheWay = new OnTheWay(stream)
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
    for (let at = 0; at < chunk.byteLength || at === 0; ) {
      const piece = chunk.subarray(at, at + (await this.#room(chunk.byteLength - at, signal)))
      bytesPassed(piece.byteLength)
      try {
        this.#stream.send(piece)
      } catch (cause) {
        throw lost(cause)
      }
      if (piece.byteLength === 0) return
      at += piece.byteLength
    }
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
    return chunks(this.#stream)
  }

  abort(error: Error): void {
    this.#stream.abort(error)
  }
}

export function lost(cause?: unknown): MeshError {
  return cause instanceof MeshError
    ? cause
    : new MeshError('E_UNREACHABLE', 'The stream to the peer was lost', { cause })
}
