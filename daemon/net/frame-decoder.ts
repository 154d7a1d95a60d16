import { Reader } from 'protobufjs/minimal.js'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { manyhands } from '../../proto/gen/wire.js'

export type Frame = manyhands.Frame

/** A length prefix of five bytes could only announce more than any frame may hold. */
const MAX_PREFIX_BYTES = 4
/** A frame has a number and one body; a body has at most three fields. Room is left for versions to come. */
const MAX_FIELDS = 16
/** Fields of a frame that are messages themselves: request, fault, open */
const NESTED = new Set([2, 4, 6])

/**
 * Splits a byte stream into frames: `varint length, length bytes of a protobuf Frame`, repeated.
 * What is incomplete is kept as the chunks it came in and joined once, when its last byte is there, so that the work is linear however the
 * bytes are cut. Holds at most one frame and its prefix: a longer announcement is refused before its bytes are kept.
 */
export class FrameDecoder {
  readonly #onFrame: (frame: Frame) => void
  #kept: Uint8Array[] = []
  #keptBytes = 0
  /** Bytes needed, prefix included, before it is worth looking again */
  #need = 1

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame
  }

  /** Bytes held of a frame that is not complete. */
  get partialBytes(): number {
    return this.#keptBytes
  }

  /** @throws MeshError E_PROTOCOL: the stream is of no further use */
  push(chunk: Uint8Array): void {
    if (this.#keptBytes === 0) return this.#split(plain(chunk))
    this.#keep(chunk)
    if (this.#keptBytes < this.#need) return
    const whole = new Uint8Array(this.#keptBytes)
    let at = 0
    for (const part of this.#kept) {
      whole.set(part, at)
      at += part.length
    }
    this.#kept = []
    this.#keptBytes = 0
    this.#split(whole)
  }

  #keep(part: Uint8Array): void {
    if (part.length === 0) return
    this.#kept.push(part)
    this.#keptBytes += part.length
  }

  #split(bytes: Uint8Array): void {
    const reader = Reader.create(bytes)
    let start = 0
    while (start < bytes.length) {
      const body = bodyStart(bytes, start)
      if (body === 0) {
        this.#need = bytes.length - start + 1
        break
      }
      const length = prefixValue(bytes, start, body)
      if (length > LIMITS.frameBytes) {
        throw protocolError(`a frame of ${length} bytes was announced, the limit is ${LIMITS.frameBytes}`)
      }
      if (body + length > bytes.length) {
        this.#need = body - start + length
        break
      }
      start = body + length
      checkShape(bytes, body, start)
      reader.pos = body
      this.#onFrame(decode(reader, length))
    }
    if (start < bytes.length) this.#keep(bytes.subarray(start))
  }
}

/** Where the body begins, 0 when the prefix is not complete. */
function bodyStart(bytes: Uint8Array, start: number): number {
  for (let at = start; at < start + MAX_PREFIX_BYTES; at++) {
    const byte = bytes[at]
    if (byte === undefined) return 0
    if (byte < 0x80) return at + 1
  }
  throw protocolError('the length prefix of a frame does not end')
}

function prefixValue(bytes: Uint8Array, start: number, body: number): number {
  let value = 0
  for (let at = body - 1; at >= start; at--) value = (value << 7) | ((bytes[at] ?? 0) & 0x7f)
  return value
}

/**
 * Refuses a frame, or a message in it, of more fields than any has: decoding a million empty ones costs a second. Looks at lengths only; what is malformed
 * is left for the decoder to refuse, but not groups: no message has any, and what follows one would not be counted.
 */
function checkShape(bytes: Uint8Array, from: number, to: number, depth = 0): void {
  let fields = 0
  for (let at = from; at < to; ) {
    if (++fields > MAX_FIELDS) throw protocolError('a message has more fields than any may have')
    const tag = varint(bytes, at, to)
    const wireType = tag & 7
    at = afterVarint
    if (wireType === 2) {
      const length = varint(bytes, at, to)
      const start = afterVarint
      at = start + length
      if (depth === 0 && NESTED.has(tag >>> 3)) checkShape(bytes, start, Math.min(at, to), 1)
    } else if (wireType === 0) {
      varint(bytes, at, to)
      at = afterVarint
    } else if (wireType === 1) at += 8
    else if (wireType === 5) at += 4
    else throw protocolError('a message has a field of a kind that is not used')
  }
}

/** Where the varint read last ended: returned aside, as this runs several times for every frame. */
let afterVarint = 0

/** Of longer ones than lengths can be the low bits, which is enough for what is only counted. */
function varint(bytes: Uint8Array, at: number, to: number): number {
  let value = 0
  let shift = 0
  while (at < to && shift < 70) {
    const byte = bytes[at++] ?? 0
    if (shift < 28) value |= (byte & 0x7f) << shift
    shift += 7
    if (byte < 0x80) break
  }
  afterVarint = at
  return value
}

function decode(reader: Reader, length: number): Frame {
  try {
    return manyhands.Frame.decode(reader, length)
  } catch (cause) {
    throw protocolError('a frame does not decode', cause)
  }
}

/** The same bytes without Node's Buffer class, so that what is cut from them is plain too. */
function plain(chunk: Uint8Array): Uint8Array {
  return chunk.constructor === Uint8Array ? chunk : new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength)
}

export function protocolError(found: string, cause?: unknown): MeshError {
  return new MeshError('E_PROTOCOL', `Reading from a peer: ${found}`, { cause })
}
