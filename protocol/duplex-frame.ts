/**
 * Frames of the local API's duplex (`DUPLEX` in api.ts):
 *
 *   [u32 LE length of what follows][u32 LE channel][u8 type][payload]
 *
 * so a length is 5 + payload bytes, from 5 up to `DUPLEX.maxFrameBytes`. An "id+text" payload is [u32 LE id][UTF-8 text]. A length outside these
 * bounds, or a type that the protocol does not name, ends the connection: nothing after it can be trusted to be a frame.
 */
import { Buffer } from 'node:buffer'
import { DUPLEX } from './api.ts'
import { MeshError } from './errors.ts'

export const FRAME_HEADER_BYTES = 9
const AFTER_LENGTH = 5
/** With the lane */
const DATA_HEADER_BYTES = FRAME_HEADER_BYTES + 1
const EMPTY = Buffer.alloc(0)
const TYPES: ReadonlySet<number> = new Set(Object.values(DUPLEX.type))

/** Gets each frame; `bytes[start..end)` is its payload, valid during the call only. */
export type FrameSink = (channel: number, type: number, bytes: Buffer, start: number, end: number) => void

/**
 * Gets the bytes of `data` frames as they come, a frame in one piece or several; they are the receiver's to keep.
 * @param lane the first byte of the payload
 */
export type DataSink = (channel: number, lane: number, bytes: Uint8Array) => void

/** Smaller pieces are copied, so that they do not hold the much larger chunk they came in. */
const LEAST_VIEW_BYTES = 4096

/**
 * Cuts a byte stream into frames. Holds at most one frame that is not complete; with a `data` sink none of type `data`, which then neither are joined nor
 * copied. The chunks pushed must stay as they are.
 */
export class FrameReader {
  readonly #sink: FrameSink
  readonly #data: DataSink | undefined
  /** The part of a frame that has come so far, in pieces: joined once when it is complete, so that a long frame is not copied again and again. */
  #parts: Buffer[] = []
  #held = 0
  /** Bytes that must be here before parsing makes sense */
  #wanted = FRAME_HEADER_BYTES
  /** Of a `data` frame that was begun: bytes that are still to come */
  #left = 0
  #channel = 0
  #lane = 0

  constructor(sink: FrameSink, data?: DataSink) {
    this.#sink = sink
    this.#data = data
  }

  /** Bytes held back for a frame that is not complete */
  get held(): number {
    return this.#held
  }

  /** @throws MeshError E_PROTOCOL on bytes that are no frame; the reader is of no use after that */
  push(chunk: Buffer): void {
    if (this.#held === 0) return this.#parse(chunk)
    this.#parts.push(chunk)
    this.#held += chunk.length
    if (this.#held < this.#wanted) return
    const all = Buffer.concat(this.#parts, this.#held)
    this.#parts = []
    this.#held = 0
    this.#parse(all)
  }

  #parse(bytes: Buffer): void {
    let at = this.#left > 0 ? this.#deliver(bytes, 0) : 0
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = bytes.readUInt32LE(at)
      if (length < AFTER_LENGTH || length > DUPLEX.maxFrameBytes)
        throw badFrame(`a length from ${AFTER_LENGTH} to ${DUPLEX.maxFrameBytes} is wanted: received ${length}`)
      const type = bytes[at + 8] ?? 0
      if (!TYPES.has(type)) throw badFrame(`a known type is wanted: received ${type}`)
      const end = at + 4 + length
      if (type === DUPLEX.type.data && this.#data !== undefined) {
        if (length === AFTER_LENGTH) throw badFrame('data on a lane is wanted')
        if (at + DATA_HEADER_BYTES > bytes.length) return this.#hold(bytes, at, DATA_HEADER_BYTES)
        this.#channel = bytes.readUInt32LE(at + 4)
        this.#lane = bytes[at + FRAME_HEADER_BYTES] ?? 0
        this.#left = length - AFTER_LENGTH - 1
        at = this.#deliver(bytes, at + DATA_HEADER_BYTES)
        continue
      }
      if (end > bytes.length) return this.#hold(bytes, at, 4 + length)
      this.#sink(bytes.readUInt32LE(at + 4), type, bytes, at + FRAME_HEADER_BYTES, end)
      at = end
    }
    this.#hold(bytes, at, FRAME_HEADER_BYTES)
  }

  /** What is here of the `data` frame that was begun. @returns where it ends in `bytes` */
  #deliver(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left)
    this.#left -= end - at
    const piece = bytes.subarray(at, end)
    if (piece.length > 0)
      this.#data?.(this.#channel, this.#lane, piece.length < LEAST_VIEW_BYTES ? new Uint8Array(piece) : piece)
    return end
  }

  #hold(bytes: Buffer, at: number, wanted: number): void {
    this.#wanted = wanted
    if (at === bytes.length) return
    const rest = bytes.subarray(at)
    this.#parts = [rest.length < LEAST_VIEW_BYTES ? Buffer.from(rest) : rest]
    this.#held = rest.length
  }
}

/** Frames of one turn, laid one behind the other in few buffers, to leave in one write. */
export class FrameBatch {
  /** Small frames share buffers of this size */
  static readonly slabBytes = 64 << 10
  #slab: Buffer = EMPTY
  /** Where the frames not yet taken begin, and where the next one goes */
  #start = 0
  #end = 0
  #full: Uint8Array[] = []
  #bytes = 0

  /** Bytes of frames not yet taken */
  get bytes(): number {
    return this.#bytes
  }

  /** @throws MeshError E_TOO_LARGE; nothing is added then */
  text(channel: number, type: number, text: string): void {
    this.#add(channel, type, undefined, text)
  }

  /** A payload that begins with an id. @throws MeshError E_TOO_LARGE; nothing is added then */
  idText(channel: number, type: number, id: number, text: string): void {
    this.#add(channel, type, id, text)
  }

  /** A payload of one byte and bytes, which are copied when they are few and must stay as they are when not. @throws MeshError E_TOO_LARGE; nothing is added then */
  data(channel: number, type: number, first: number, bytes: Uint8Array): void {
    const size = DATA_HEADER_BYTES + bytes.length
    if (size - 4 > DUPLEX.maxFrameBytes) throw tooLong(size - 4)
    const copied = bytes.length < LEAST_VIEW_BYTES
    const room = copied ? size : DATA_HEADER_BYTES
    if (this.#slab.length - this.#end < room) this.#renew(room)
    const at = this.#end
    this.#slab[at + FRAME_HEADER_BYTES] = first
    if (copied) this.#slab.set(bytes, at + DATA_HEADER_BYTES)
    this.#finish(at, channel, type, size, room)
    if (copied) return
    this.#full.push(this.#slab.subarray(this.#start, this.#end), bytes)
    this.#start = this.#end
  }

  /** The frames added since the last take, in order. */
  take(): Uint8Array[] {
    if (this.#end > this.#start) this.#full.push(this.#slab.subarray(this.#start, this.#end))
    this.#start = this.#end
    const taken = this.#full
    this.#full = []
    this.#bytes = 0
    return taken
  }

  #add(channel: number, type: number, id: number | undefined, text: string): void {
    const head = FRAME_HEADER_BYTES + (id === undefined ? 0 : 4)
    // UTF-8 needs at most three bytes for a UTF-16 unit: room for that spares measuring short texts
    const most = head + text.length * 3
    const room = most <= FrameBatch.slabBytes ? most : head + Buffer.byteLength(text)
    if (room - 4 > DUPLEX.maxFrameBytes) throw tooLong(room - 4)
    if (this.#slab.length - this.#end < room) this.#renew(room)
    const at = this.#end
    const size = head + this.#slab.write(text, at + head)
    if (id !== undefined) this.#slab.writeUInt32LE(id, at + FRAME_HEADER_BYTES)
    this.#finish(at, channel, type, size)
  }

  /** @param room what of it lies in the slab */
  #finish(at: number, channel: number, type: number, size: number, room: number = size): void {
    this.#slab.writeUInt32LE(size - 4, at)
    this.#slab.writeUInt32LE(channel, at + 4)
    this.#slab[at + 8] = type
    this.#end = at + room
    this.#bytes += size
  }

  #renew(room: number): void {
    if (this.#end > this.#start) this.#full.push(this.#slab.subarray(this.#start, this.#end))
    this.#slab = Buffer.allocUnsafeSlow(Math.max(room, FrameBatch.slabBytes))
    this.#start = 0
    this.#end = 0
  }
}

/** The id of an "id+text" payload. @throws MeshError E_PROTOCOL when it is too short to hold one */
export function payloadId(bytes: Buffer, start: number, end: number): number {
  if (end - start < 4) throw badFrame('an id of four bytes is wanted')
  return bytes.readUInt32LE(start)
}

function tooLong(bytes: number): MeshError {
  return new MeshError(
    'E_TOO_LARGE',
    `Cannot send a frame: at most ${DUPLEX.maxFrameBytes} bytes are possible: ${bytes} were wanted`,
  )
}

function badFrame(what: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot read a frame: ${what}`)
}
