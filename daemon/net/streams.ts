import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { MeshError } from '../../protocol/errors.ts'
import { Fifo } from './fifo.ts'
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
 * Whether the peer ended its writing half. The library says so too when the connection is lost, of whatever had come until then: to be made with the stream,
 * before that can happen.
 */
export class PeerEnd {
  #seen: boolean

  constructor(stream: Stream) {
    this.#seen = stream.remoteWriteStatus === 'closed' && stream.status === 'open'
    stream.addEventListener('remoteCloseWrite', () => {
      this.#seen = true
    })
  }

  get seen(): boolean {
    return this.#seen
  }
}

/**
 * What the stream brings, pulled: while the reader is busy the peer is paused. Ends with the peer's writing half, also when that ended before.
 * @throws MeshError E_UNREACHABLE when the stream is reset, or its connection lost, before that
 */
export async function* chunks(stream: Stream, peerEnd: PeerEnd): AsyncGenerator<Uint8Array> {
  const inbox = new StreamInbox(stream)
  try {
    for (;;) {
      const chunk = inbox.take()
      if (chunk !== undefined) {
        bytesPassed(chunk.byteLength)
        yield chunk
      } else if (inbox.error !== undefined) throw lost(inbox.error)
      else if (inbox.ended) {
        if (!peerEnd.seen) throw lost()
        return
      } else await inbox.changed()
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

export function lost(cause?: unknown): MeshError {
  return cause instanceof MeshError
    ? cause
    : new MeshError('E_UNREACHABLE', 'The stream to the peer was lost', { cause })
}
