/** The bytes, kept beyond this turn: a copy when they are few, so that they do not hold the large piece they came in. */
export function keepBytes(bytes: Uint8Array): Uint8Array {
  return bytes.length < 4096 ? new Uint8Array(bytes) : bytes
}

/**
 * Items that arrive by themselves and are taken by one reader, each with a weight. It holds as much as was let in: the bound is the credit of whoever
 * fills it, which `onTaken` gives back. Leaving the loop, or `abandon`, drops what is left.
 */
export class ByteQueue<T> implements AsyncIterable<T> {
  readonly #weigh: (item: T) => number
  readonly #onTaken: (weight: number) => void
  readonly #onLeft: () => void
  #items: T[] = []
  #wake: (() => void) | undefined
  #over = false
  #error: Error | undefined
  #read = false

  constructor(weigh: (item: T) => number, onTaken: (weight: number) => void, onLeft: () => void) {
    this.#weigh = weigh
    this.#onTaken = onTaken
    this.#onLeft = onLeft
  }

  push(item: T): void {
    if (this.#over) return
    this.#items.push(item)
    this.#wake?.()
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
          this.#onTaken(this.#weigh(item))
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
