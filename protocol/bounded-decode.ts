/**
 * Decoding protobuf from outside. The generated decoders accept anything that parses: any size, a million empty repeated entries, fields nobody knows.
 * This bounds size and number of fields before an object is made, and turns every failure into one typed error.
 */
import { MeshError } from './errors.ts'

interface Decoder<T> {
  decode(bytes: Uint8Array): T
}

export interface FieldBounds {
  /** Fields of the message itself, each entry of a repeated field counted. @default 4096 */
  readonly maxFields?: number
  /** Bounds for messages in it, by field number: what is not named is taken as it is, since bytes and text look the same. */
  readonly nested?: Readonly<Record<number, FieldBounds>>
}

export interface DecodeBounds extends FieldBounds {
  /** What is decoded, for the message of the error, e.g. "card" */
  readonly what: string
  readonly maxBytes: number
}

const MAX_FIELDS = 4096

/** @throws MeshError E_PROTOCOL when too long, with too many fields, or not well formed */
export function decodeBounded<T>(type: Decoder<T>, bytes: Uint8Array, bounds: DecodeBounds): T {
  if (bytes.length > bounds.maxBytes) {
    throw malformed(bounds.what, `it has ${bytes.length} bytes and may have ${bounds.maxBytes}`)
  }
  if (!hasFewFields(bytes, bounds)) {
    throw malformed(bounds.what, 'it is cut off, or has more fields than it may have')
  }
  try {
    return type.decode(bytes)
  } catch (cause) {
    throw malformed(bounds.what, 'it does not parse', cause)
  }
}

export function malformed(what: string, why: string, cause?: unknown): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot read a ${what}: ${why}`, cause === undefined ? {} : { cause })
}

/** Walks the tags (protobuf wire format: varint key = field number << 3 | wire type) without reading values. */
function hasFewFields(bytes: Uint8Array, { maxFields = MAX_FIELDS, nested }: FieldBounds): boolean {
  let at = 0
  let fields = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++]
      if (byte === undefined) return -1
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    return -1
  }
  while (at < bytes.length) {
    if (++fields > maxFields) return false
    const key = varint()
    if (key < 8) return false
    const wireType = key % 8
    if (wireType === 0) {
      if (varint() < 0) return false
    } else if (wireType === 1) at += 8
    else if (wireType === 5) at += 4
    else if (wireType === 2) {
      const length = varint()
      if (length < 0) return false
      const inner = nested?.[Math.floor(key / 8)]
      if (inner && !hasFewFields(bytes.subarray(at, at + length), inner)) return false
      at += length
    } else return false
    if (at > bytes.length) return false
  }
  return true
}

/** A copy that shares nothing with the network buffer it was decoded from. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes)
}

const strictUtf8 = new TextEncoder()

/** Whether a decoded string is well-formed Unicode, without control characters, and at most `maxBytes` of UTF-8. */
export function isPlainText(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes || strictUtf8.encode(text).length > maxBytes) return false
  // Control characters could forge lines or drive a terminal; U+FFFD is what a decoder makes of broken UTF-8; bidi controls reorder what people read.
  return text.isWellFormed() && !/[\p{Cc}\ufffd\u200e\u200f\u202a-\u202e\u2066-\u2069]/u.test(text)
}

/** As much of the beginning of a text as `maxBytes` of UTF-8 hold, in whole letters. */
export function cutText(text: string, maxBytes: number): string {
  let head = ''
  let bytes = 0
  for (const letter of text) {
    bytes += strictUtf8.encode(letter).length
    if (bytes > maxBytes) break
    head += letter
  }
  return head
}

/** Whether a text can be an address: a hint for the network, which parses it and decides whether to dial it. */
export function isAddressText(text: string): boolean {
  return text !== '' && isPlainText(text, 256) && !text.includes(' ')
}
