/**
 * Bytes that arrive in pieces of any size and wait for their reader. What a guest may send is bounded by its credit, which counts bytes; a piece costs more than
 * its bytes, so where many wait, small ones are joined.
 */

/** Up to this a piece is small */
const SMALL_BYTES = 4096
/** So many pieces may wait as they came */
const CROWD = 256

/** Memory that pieces are joined in. All of it before the end of the piece that has it belongs to that piece */
const blocks = new WeakSet<ArrayBufferLike>()

/** The bytes, kept beyond this turn: a copy when they are few, so that they do not hold the large piece they came in. */
export function keepBytes(bytes: Uint8Array): Uint8Array {
  return bytes.length < SMALL_BYTES ? new Uint8Array(bytes) : bytes
}

/** Both in one, which has the place of `first`; undefined when they are no small piece together. */
function joined(first: Uint8Array, second: Uint8Array): Uint8Array | undefined {
  const length = first.length + second.length
  if (length > SMALL_BYTES) return undefined
  const block = blocks.has(first.buffer) ? first.buffer : new ArrayBuffer(SMALL_BYTES)
  const whole = new Uint8Array(block, 0, length)
  if (block !== first.buffer) whole.set(first)
  whole.set(second, first.length)
  blocks.add(block)
  return whole
}

/** Adds a copy of `bytes` to pieces that nobody reads before all are there. */
export function collectBytes(pieces: Uint8Array[], bytes: Uint8Array): void {
  const last = pieces.length < CROWD ? undefined : pieces.at(-1)
  const whole = last && joined(last, bytes)
  if (whole) pieces[pieces.length - 1] = whole
  else if (bytes.length > 0) pieces.push(keepBytes(bytes))
}

/** What the queue has to know of its items. */
export interface Pieces<T> {
  bytes(item: T): Uint8Array
  /** The item with other bytes */
  again(item: T, bytes: Uint8Array): T
  /** Items of a lane stay in order; those of different lanes may change places where many wait */
  lane(item: T): number
}

export const PLAIN_PIECES: Pieces<Uint8Array> = { bytes: (item) => item, again: (_item, bytes) => bytes, lane: () => 0 }

/**
 * Items that arrive by themselves and are taken by one reader. It holds as much as was let in: the bound is the credit of whoever fills it, which
 * `onTaken` gives back. Leaving the loop, or `abandon`, drops what is left.
 */
export class ByteQueue<T> implements AsyncIterable<T> {
  readonly #pieces: Pieces<T>
  readonly #onTaken: (bytes: number) => void
  readonly #onLeft: () => void
  #items: T[] = []
  #wake: (() => void) | undefined
  #over = false
  #error: Error | undefined
  #read = false

  constructor(pieces: Pieces<T>, onTaken: (bytes: number) => void, onLeft: () => void) {
    this.#pieces = pieces
    this.#onTaken = onTaken
    this.#onLeft = onLeft
  }

  /** @param item its bytes are the queue's from now on; nothing when it has none */
  push(item: T): void {
    if (this.#over || this.#pieces.bytes(item).length === 0) return
    if (this.#items.length < CROWD || !this.#join(item)) this.#items.push(item)
    this.#wake?.()
  }

  /** Onto the last piece of its lane, when that is one of the last two. */
  #join(item: T): boolean {
    const { bytes, again, lane } = this.#pieces
    for (const at of [this.#items.length - 1, this.#items.length - 2]) {
      const last = this.#items[at]
      if (last === undefined) return false
      if (lane(last) !== lane(item)) continue
      const whole = joined(bytes(last), bytes(item))
      if (whole) this.#items[at] = again(last, whole)
      return whole !== undefined
    }
    return false
  }

  /** What is queued is still given; then the end, or the error. */
  end(error?: Error): void {
    if (this.#over) return
    this.#over = true
    this.#error = error
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    if (this.#read) throw new TypeError('This stream is read already')
    this.#read = true
    try {
      for (;;) {
        const batch = this.#items
        this.#items = []
        for (const item of batch) {
          this.#onTaken(this.#pieces.bytes(item).length)
          yield item
        }
        if (this.#items.length > 0) continue
        if (this.#over) break
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        this.#wake = undefined
      }
      if (this.#error !== undefined) throw this.#error
    } finally {
      this.#items = []
      if (!this.#over) {
        this.#over = true
        this.#onLeft()
      }
    }
  }
}
