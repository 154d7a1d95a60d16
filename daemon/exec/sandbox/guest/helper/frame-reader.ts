import { LIMITS } from '../../../../../protocol/limits.ts'
import { type Frame, FROM_GUEST, GuestProtocolError, HEADER_BYTES } from './wire.ts'

/** Bytes of an earlier conversation that may come before the token: what pipes on the way hold, with room to spare. */
const MAX_STALE_BYTES = 64 << 20

/**
 * Cuts the helper's output into frames, from the token on. Holds at most one incomplete frame, whose announced length was checked before.
 * What is incomplete is kept as the pieces it came in and joined once, so the work is linear however the bytes are cut. Frames of OUT whose channel
 * takes them so are given as several, each with what has come of the body, and not kept at all.
 */
export class FrameReader {
  readonly #onFrame: (frame: Frame) => void
  readonly #inPieces: (channel: number) => boolean
  /** Of a frame that is given in pieces: what is still to come */
  #left = 0
  #begun: Omit<Frame, 'body'> | undefined
  /** Undefined once it was found */
  #token: Buffer | undefined
  #stale = 0
  #kept: Buffer[] = []
  #have = 0
  #need = HEADER_BYTES

  constructor(token: string, onFrame: (frame: Frame) => void, inPieces: (channel: number) => boolean = () => false) {
    this.#inPieces = inPieces
    this.#token = Buffer.from(token, 'latin1')
    this.#onFrame = onFrame
  }

  /** @throws GuestProtocolError: the stream is of no further use; and whatever `onFrame` throws */
  push(chunk: Uint8Array): void {
    const rest = this.#deliver(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    if (rest.length === 0) return
    this.#kept.push(rest)
    this.#have += rest.length
    if (this.#have < this.#need) return
    let bytes = this.#kept.length === 1 ? this.#kept[0] : Buffer.concat(this.#kept, this.#have)
    this.#kept = []
    this.#have = 0
    if (bytes !== undefined && this.#token !== undefined) bytes = this.#findToken(bytes, this.#token)
    if (bytes !== undefined) this.#split(bytes)
  }

  #findToken(bytes: Buffer, token: Buffer): Buffer | undefined {
    const at = bytes.indexOf(token)
    if (at >= 0) {
      this.#token = undefined
      return bytes.subarray(at + token.length)
    }
    const tail = bytes.subarray(Math.max(0, bytes.length - token.length + 1))
    this.#stale += bytes.length - tail.length
    if (this.#stale > MAX_STALE_BYTES) throw new GuestProtocolError('the agent does not answer with its token')
    this.#keep(Buffer.from(tail))
    return undefined
  }

  /** To a frame that is given in pieces. @returns what is not of it */
  #deliver(bytes: Buffer): Buffer {
    if (this.#begun === undefined) return bytes
    const body = bytes.subarray(0, this.#left)
    this.#left -= body.length
    const begun = this.#begun
    if (this.#left === 0) this.#begun = undefined
    if (body.length > 0) this.#onFrame({ ...begun, body })
    return bytes.subarray(body.length)
  }

  #split(bytes: Buffer): void {
    let at = 0
    this.#need = HEADER_BYTES
    while (bytes.length - at >= HEADER_BYTES) {
      const length = bytes.readUInt32LE(at)
      if (length > LIMITS.guestFrameBytes) throw new GuestProtocolError(`a frame of ${length} bytes was announced`)
      if (bytes.readUInt16LE(at + 10) !== 0) throw new GuestProtocolError('a reserved field is not zero')
      const end = at + HEADER_BYTES + length
      const head = { channel: bytes.readUInt32LE(at + 4), type: bytes.readUInt8(at + 8), flag: bytes.readUInt8(at + 9) }
      if (end > bytes.length) {
        if (head.type === FROM_GUEST.out && this.#inPieces(head.channel)) {
          this.#begun = head
          this.#left = length
          this.#deliver(bytes.subarray(at + HEADER_BYTES))
          return
        }
        this.#need = HEADER_BYTES + length
        break
      }
      this.#onFrame({ ...head, body: bytes.subarray(at + HEADER_BYTES, end) })
      at = end
    }
    // a copy when little is left, so that a few bytes do not hold a large piece
    const rest = bytes.subarray(at)
    this.#keep(rest.length < 4096 ? Buffer.from(rest) : rest)
  }

  #keep(rest: Buffer): void {
    if (rest.length === 0) return
    this.#kept.push(rest)
    this.#have += rest.length
  }
}
