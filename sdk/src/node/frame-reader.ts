/**
 * Splits the byte stream of a duplex into frames. A frame inside one chunk is read where it lies; only a frame that crosses chunks is copied, once.
 * Holds at most one frame. Data is handed on as it comes and not held at all: the chunks must stay as they are.
 */
import { DUPLEX, FRAME } from '../duplex.ts'
import { protocolError } from '../errors.ts'

/** Payload is `bytes[start, end)`; valid only during the call. */
export type OnFrame = (channel: number, type: number, bytes: Buffer, start: number, end: number) => void

/** Bytes of `data` frames, a frame in one piece or several, to be kept. */
export type OnData = (channel: number, lane: number, bytes: Uint8Array) => void

const LENGTH_BYTES = 4
const HEADER_BYTES = 9
/** With the lane */
const DATA_HEADER_BYTES = 10
/** Smaller pieces are copied, so that they do not hold the much larger chunk they came in */
const LEAST_VIEW_BYTES = 4096
/** A frame that announces more than this gets its memory as its bytes arrive */
const FIRST_CARRY = 64 << 10

export class FrameReader {
  readonly #onFrame: OnFrame
  readonly #onData: OnData
  /** Start of a frame whose rest has not come */
  #carry = Buffer.alloc(0)
  #held = 0
  /** Of a `data` frame that was begun: bytes that are still to come */
  #left = 0
  #channel = 0
  #lane = 0

  constructor(onFrame: OnFrame, onData: OnData) {
    this.#onFrame = onFrame
    this.#onData = onData
  }

  /** @throws ManyhandsError E_PROTOCOL for an impossible length; whatever `onFrame` throws */
  feed(chunk: Buffer): void {
    let at = this.#held > 0 ? this.#resume(chunk) : 0
    if (this.#left > 0) at = this.#deliver(chunk, at)
    while (chunk.length - at >= HEADER_BYTES) {
      const end = at + LENGTH_BYTES + frameLength(chunk, at)
      if (isData(chunk, at)) {
        if (chunk.length - at < DATA_HEADER_BYTES) break
        at = this.#begin(chunk, at, end)
        continue
      }
      if (end > chunk.length) break
      this.#emit(chunk, at, end)
      at = end
    }
    if (at < chunk.length) this.#keep(chunk, at, chunk.length)
  }

  /** Completes the frame held, if `chunk` does. Returns how far it went. */
  #resume(chunk: Buffer): number {
    let at = 0
    if (this.#held < HEADER_BYTES) at = this.#take(chunk, at, HEADER_BYTES)
    if (this.#held < HEADER_BYTES) return at
    const length = LENGTH_BYTES + frameLength(this.#carry, 0)
    const data = isData(this.#carry, 0)
    const total = data ? DATA_HEADER_BYTES : length
    at = this.#take(chunk, at, total)
    if (this.#held < total) return at
    if (data) {
      this.#held = 0
      this.#begin(this.#carry.subarray(0, total), 0, length)
      return at
    }
    const frame = this.#carry
    this.#held = 0
    if (frame.length > FIRST_CARRY) this.#carry = Buffer.alloc(0)
    this.#emit(frame, 0, total)
    return at
  }

  /** A `data` frame that ends at `end`, which may lie beyond the chunk. Returns how far it went. */
  #begin(chunk: Buffer, at: number, end: number): number {
    if (end - at < DATA_HEADER_BYTES) throw protocolError('Cannot read the duplex: data on no lane')
    this.#channel = chunk.readUInt32LE(at + 4)
    this.#lane = chunk[at + HEADER_BYTES] ?? 0
    this.#left = end - at - DATA_HEADER_BYTES
    return this.#deliver(chunk, at + DATA_HEADER_BYTES)
  }

  #deliver(chunk: Buffer, at: number): number {
    const piece = chunk.subarray(at, at + this.#left)
    this.#left -= piece.length
    if (piece.length > 0)
      this.#onData(this.#channel, this.#lane, piece.length < LEAST_VIEW_BYTES ? new Uint8Array(piece) : piece)
    return at + piece.length
  }

  #take(chunk: Buffer, at: number, upTo: number): number {
    const end = Math.min(chunk.length, at + upTo - this.#held)
    this.#keep(chunk, at, end)
    return end
  }

  #keep(chunk: Buffer, start: number, end: number): void {
    const needed = this.#held + end - start
    if (needed > this.#carry.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(FIRST_CARRY, needed * 2))
      this.#carry.copy(grown, 0, 0, this.#held)
      this.#carry = grown
    }
    chunk.copy(this.#carry, this.#held, start, end)
    this.#held = needed
  }

  #emit(bytes: Buffer, at: number, end: number): void {
    this.#onFrame(bytes.readUInt32LE(at + 4), bytes[at + 8] ?? 0, bytes, at + HEADER_BYTES, end)
  }
}

const isData = (bytes: Buffer, at: number): boolean => bytes[at + 8] === FRAME.data

function frameLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32LE(at)
  if (length < HEADER_BYTES - LENGTH_BYTES || length > DUPLEX.maxFrameBytes) {
    throw protocolError(`Cannot read the duplex: a frame announces ${length} bytes`)
  }
  return length
}
