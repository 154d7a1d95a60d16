/** TextEncoder and TextDecoder (Encoding standard). Short ASCII stays here; everything else is decoded and encoded by the host. */
import type { Realm } from '../realm.ts'
import { answered, bytesOf, exactBuffer, exposeInterface } from './web-idl.ts'

/** Up to here a loop is cheaper than crossing. */
const SHORT = 256
const FATAL = 1
const KEEP_BOM = 2

export default ({ host }: Realm) => {
  class TextEncoder {
    get encoding() {
      return 'utf-8'
    }
    encode(input: unknown = ''): Uint8Array {
      const text = `${input}`
      if (text.length > SHORT) return new Uint8Array(answered(host('encode', text), 'encode') as ArrayBuffer)
      const bytes = new Uint8Array(text.length * 3)
      return bytes.slice(0, this.encodeInto(text, bytes).written)
    }
    encodeInto(source: unknown, target: Uint8Array): { read: number; written: number } {
      if (!(target instanceof Uint8Array)) throw new TypeError('encodeInto: the second argument must be a Uint8Array')
      const text = `${source}`
      let read = 0
      let written = 0
      while (read < text.length) {
        const point = text.codePointAt(read) as number
        const c = point >= 0xd800 && point <= 0xdfff ? 0xfffd : point
        const size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4
        if (written + size > target.length) break
        if (size === 1) target[written++] = c
        else {
          target[written++] = (c >> (6 * (size - 1))) | ((0xf00 >> size) & 0xff)
          for (let shift = 6 * (size - 2); shift >= 0; shift -= 6) target[written++] = ((c >> shift) & 0x3f) | 0x80
        }
        read += size === 4 ? 2 : 1
      }
      return { read, written }
    }
  }

  class TextDecoder {
    readonly #encoding: string
    readonly #flags: number
    /** The host's decoder that keeps the state between the chunks of a stream; 0 outside of one. */
    #stream = 0

    constructor(label: unknown = 'utf-8', options?: { fatal?: unknown; ignoreBOM?: unknown }) {
      const encoding = host('encoding', `${label}`)
      if (typeof encoding !== 'string') throw new RangeError(`TextDecoder: unknown encoding "${label}"`)
      this.#encoding = encoding
      this.#flags = (options?.fatal ? FATAL : 0) | (options?.ignoreBOM ? KEEP_BOM : 0)
    }
    get encoding() {
      return this.#encoding
    }
    get fatal() {
      return (this.#flags & FATAL) !== 0
    }
    get ignoreBOM() {
      return (this.#flags & KEEP_BOM) !== 0
    }
    decode(input?: unknown, options?: { stream?: unknown }): string {
      const bytes = input === undefined ? new Uint8Array(0) : bytesOf(input, 'decode')
      const more = Boolean(options?.stream)
      if (!more && this.#stream === 0)
        return (
          short(bytes, this.#encoding) ?? this.#text(host('decode', this.#encoding, this.#flags, exactBuffer(bytes)))
        )
      if (this.#stream === 0) {
        this.#stream = host('decoder', this.#encoding, this.#flags) as number
        if (this.#stream === 0) throw new RangeError('TextDecoder: too many streams are being decoded at once')
      }
      const text = host('decode-part', this.#stream, more, exactBuffer(bytes))
      if (!more || typeof text !== 'string') this.#stream = 0
      return this.#text(text)
    }
    #text(text: unknown): string {
      if (typeof answered(text, 'decode') === 'string') return text as string
      throw new TypeError(`The encoded data was not valid for encoding ${this.#encoding}`)
    }
  }

  exposeInterface(TextEncoder)
  exposeInterface(TextDecoder)
  return { TextEncoder, TextDecoder }
}

/** Short pure ASCII, which is the same in these encodings. */
function short(bytes: Uint8Array, encoding: string): string | undefined {
  if (bytes.length > SHORT || encoding !== 'utf-8' || bytes.some((byte) => byte > 0x7f)) return undefined
  return String.fromCharCode(...bytes)
}
