/**
 * Splits the byte stream of a duplex into frames. A frame inside one chunk is read where it lies; only a frame that crosses chunks is copied, once.
 * Holds at most one frame.
 */
import { DUPLEX } from '../duplex.ts'
import { protocolError } from '../errors.ts'

/** Payload is `bytes[start, end)`; valid only during the call. */
export type OnFrame = (channel: number, type: number, bytes: Buffer, start: number, end: number) => void

const LENGTH_BYTES = 4
const HEADER_BYTES = 9
/** A frame that announces more than this gets its memory as its bytes arrive */
const FIRST_CARRY = 64 << 10

export class FrameReader {
  readonly #onFrame: OnFrame
  /** Start of a frame whose rest has not come */
  #carry = Buffer.alloc(0)
  #held = 0

  constructor(onFrame: OnFrame) {
    this.#onFrame = onFrame
  }

  /** @throws ManyhandsError E_PROTOCOL for an impossible length; whatever `onFrame` throws */
  feed(chunk: Buffer): void {
    let at = this.#held > 0 ? this.#resume(chunk) : 0
    while (chunk.length - at >= LENGTH_BYTES) {
      const end = at + LENGTH_BYTES + frameLength(chunk, at)
      if (end > chunk.length) break
      this.#emit(chunk, at, end)
      at = end
    }
    if (at < chunk.length) this.#keep(chunk, at, chunk.length)
  }

  /** Completes the frame held, if `chunk` does. Returns how far it went. */
  #resume(chunk: Buffer): number {
    let at = 0
    if (this.#held < LENGTH_BYTES) at = this.#take(chunk, at, LENGTH_BYTES)
    if (this.#held < LENGTH_BYTES) return at
    const total = LENGTH_BYTES + frameLength(this.#carry, 0)
    at = this.#take(chunk, at, total)
    if (this.#held < total) return at
    const frame = this.#carry
    this.#held = 0
    if (frame.length > FIRST_CARRY) this.#carry = Buffer.alloc(0)
    this.#emit(frame, 0, total)
    return at
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

function frameLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32LE(at)
  if (length < HEADER_BYTES - LENGTH_BYTES || length > DUPLEX.maxFrameBytes) {
    throw protocolError(`Cannot read the duplex: a frame announces ${length} bytes`)
  }
  return length
}
