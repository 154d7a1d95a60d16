import { Reader } from 'protobufjs/minimal.js'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { manyhands } from '../../proto/gen/wire.js'

export type Frame = manyhands.Frame

/** A length prefix of five bytes could only announce more than any frame may hold. */
const MAX_PREFIX_BYTES = 4

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
