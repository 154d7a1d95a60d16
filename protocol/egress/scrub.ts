/**
 * Takes texts out of a stream of bytes, wherever chunks are cut, and puts as many asterisks there, so that lengths stay true. Holds back only bytes that may be
 * the beginning of one of the texts.
 */
const STAR = 0x2a

export class Scrubber {
  readonly #needles: readonly Buffer[]
  #held: Buffer = Buffer.alloc(0)
  /** Texts taken out so far */
  found = 0

  constructor(texts: readonly string[]) {
    // Longest first: where one text holds another the whole goes
    this.#needles = [...new Set(texts)]
      .filter((text) => text !== '')
      .map((text) => Buffer.from(text, 'utf8'))
      .sort((a, b) => b.length - a.length)
  }

  /** What may go on now. */
  push(chunk: Uint8Array): Buffer {
    const all = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk])
    const keep = this.#clean(all)
    this.#held = Buffer.from(all.subarray(all.length - keep))
    return all.subarray(0, all.length - keep)
  }

  /** The rest, at the end. */
  end(): Buffer {
    const rest = this.#held
    this.#held = Buffer.alloc(0)
    return rest
  }

  /** For short text that is there as a whole. */
  text(value: string): string {
    const bytes = Buffer.from(value, 'latin1')
    this.#clean(bytes)
    return bytes.toString('latin1')
  }

  /** Overwrites in place. @returns bytes at the end that may begin a text */
  #clean(bytes: Buffer): number {
    let keep = 0
    for (const needle of this.#needles) {
      for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + needle.length)) {
        bytes.fill(STAR, at, at + needle.length)
        this.found += 1
      }
    }
    for (const needle of this.#needles) keep = Math.max(keep, beginningAtEnd(bytes, needle))
    return keep
  }
}

/** Length of the longest proper beginning of `needle` that `bytes` ends with. */
function beginningAtEnd(bytes: Buffer, needle: Buffer): number {
  const first = needle[0] ?? 0
  const from = Math.max(0, bytes.length - needle.length + 1)
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (needle.subarray(0, bytes.length - at).equals(bytes.subarray(at))) return bytes.length - at
  }
  return 0
}
