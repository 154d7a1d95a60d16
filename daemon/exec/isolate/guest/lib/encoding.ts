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
    /** The host's decoder that keeps the state between the chunks of a stream not in UTF-8; 0 outside of one. */
    #stream = 0
    /** UTF-8, whose streams programs often leave unfinished, needs nothing of the host: the bytes of the character that the last chunk cut. `undefined` outside of a stream */
    #cut: Uint8Array<ArrayBuffer> | undefined
    /** Something of the stream was decoded, so a byte order mark is text. */
    #begun = false

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
      if (!more && this.#stream === 0 && this.#cut === undefined) return this.#decode(bytes, this.#flags)
      if (this.#encoding === 'utf-8') return this.#utf8Part(bytes, more)
      if (this.#stream === 0) {
        this.#stream = host('decoder', this.#encoding, this.#flags) as number
        if (this.#stream === 0) throw new RangeError('TextDecoder: too many streams are being decoded at once')
      }
      const text = host('decode-part', this.#stream, more, exactBuffer(bytes))
      if (!more || typeof text !== 'string') this.#stream = 0
      return this.#text(text)
    }
    #decode(bytes: Uint8Array<ArrayBuffer>, flags: number): string {
      return short(bytes, this.#encoding) ?? this.#text(host('decode', this.#encoding, flags, exactBuffer(bytes)))
    }
    #utf8Part(chunk: Uint8Array<ArrayBuffer>, more: boolean): string {
      const bytes = this.#cut === undefined ? chunk : joined(this.#cut, chunk)
      const end = more ? bytes.length - cutBytes(bytes) : bytes.length
      const flags = this.#begun ? this.#flags | KEEP_BOM : this.#flags
      const begun = this.#begun || end > 0
      this.#cut = undefined
      this.#begun = false
      const text = this.#decode(bytes.subarray(0, end), flags)
      if (more) {
        this.#cut = bytes.slice(end)
        this.#begun = begun
      }
      return text
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

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(first.length + second.length)
  whole.set(first)
  whole.set(second, first.length)
  return whole
}

/** How many bytes at the end are the beginning of a character in UTF-8 (Encoding 8.1.1: what may follow some first bytes is less than the rest). */
function cutBytes(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const first = bytes[bytes.length - back] as number
    if (first >= 0x80 && first < 0xc0) continue
    const size = first < 0xc2 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 1
    if (size <= back) return 0
    const second = back > 1 ? (bytes[bytes.length - back + 1] as number) : undefined
    const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80
    const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf
    return second === undefined || (second >= least && second <= most) ? back : 0
  }
  return 0
}

/** Short pure ASCII, which is the same in these encodings. */
function short(bytes: Uint8Array, encoding: string): string | undefined {
  if (bytes.length > SHORT || encoding !== 'utf-8' || bytes.some((byte) => byte > 0x7f)) return undefined
  return String.fromCharCode(...bytes)
}
