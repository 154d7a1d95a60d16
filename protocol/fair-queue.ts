/**
 * A queue shared by several origins so that a flood by one cannot hold up another: each origin has a line of its own, and lines take turns. Deficit round robin
 * (Shreedhar and Varghese, SIGCOMM 1995): a turn adds a quantum to the line's credit and the line sends items while their cost fits.
 *
 * Bounds: items of one origin, items in all. A full line refuses its own origin only; when the whole queue is full, an origin with fewer items than an equal share
 * takes the place of the newest item of the longest line, so that a late comer is never locked out.
 */
export interface FairQueueOptions {
  readonly maxPerOrigin: number
  readonly maxTotal: number
  /** Cost a line may spend in a turn. @default 1 */
  readonly quantum?: number
}

interface Line<T> {
  readonly items: { readonly item: T; readonly cost: number }[]
  /** Index of the first item not taken; `items` is cut when half of it is taken */
  head: number
  credit: number
}

export type Enqueued<T> =
  | { readonly type: 'queued'; readonly dropped: { readonly origin: string; readonly item: T } | undefined }
  | { readonly type: 'refused'; readonly reason: 'origin-full' | 'queue-full' }

export class FairQueue<T> {
  readonly #options: Required<FairQueueOptions>
  /** In order of turns: the first line is next */
  readonly #lines = new Map<string, Line<T>>()
  #size = 0

  constructor(options: FairQueueOptions) {
    this.#options = { quantum: 1, ...options }
  }

  get size(): number {
    return this.#size
  }

  sizeOf(origin: string): number {
    const line = this.#lines.get(origin)
    return line ? line.items.length - line.head : 0
  }

  /** @param cost relative to the quantum, counted as at least 1; e.g. jobs in a piece of a map */
  push(origin: string, item: T, cost = 1): Enqueued<T> {
    if (this.sizeOf(origin) >= this.#options.maxPerOrigin) return { type: 'refused', reason: 'origin-full' }
    let dropped: { origin: string; item: T } | undefined
    if (this.#size >= this.#options.maxTotal) {
      dropped = this.#makeRoom(origin)
      if (!dropped) return { type: 'refused', reason: 'queue-full' }
    }
    const line = this.#lines.get(origin) ?? { items: [], head: 0, credit: 0 }
    this.#lines.set(origin, line)
    line.items.push({ item, cost: Math.max(1, cost) })
    this.#size++
    return { type: 'queued', dropped }
  }

  #makeRoom(origin: string): { origin: string; item: T } | undefined {
    let longest: string | undefined
    for (const other of this.#lines.keys()) {
      if (longest === undefined || this.sizeOf(other) > this.sizeOf(longest)) longest = other
    }
    if (longest === undefined || this.sizeOf(origin) + 1 >= this.sizeOf(longest)) return undefined
    const last = this.#lines.get(longest)?.items.pop()
    if (!last) return undefined
    this.#took(longest)
    return { origin: longest, item: last.item }
  }

  /** The next item in turn; undefined when empty. */
  shift(): { readonly origin: string; readonly item: T } | undefined {
    for (;;) {
      const first = this.#lines.entries().next()
      if (first.done) return undefined
      const [origin, line] = first.value
      const entry = line.items[line.head]
      if (!entry) {
        this.#lines.delete(origin)
        continue
      }
      if (line.credit < entry.cost) {
        // A turn: the credit grows and the line goes to the back, unless the credit suffices now.
        line.credit += this.#turnsCredit(entry.cost)
        if (line.credit < entry.cost) this.#toBack(origin, line)
        continue
      }
      line.credit -= entry.cost
      line.head++
      this.#took(origin)
      if (this.sizeOf(origin) > 0 && line.credit < (line.items[line.head]?.cost ?? 0)) this.#toBack(origin, line)
      return { origin, item: entry.item }
    }
  }

  /** With one line alone nobody waits for it, so turns need not be counted one by one. */
  #turnsCredit(cost: number): number {
    return this.#lines.size === 1 ? cost : this.#options.quantum
  }

  #toBack(origin: string, line: Line<T>): void {
    this.#lines.delete(origin)
    this.#lines.set(origin, line)
  }

  #took(origin: string): void {
    this.#size--
    const line = this.#lines.get(origin)
    if (!line) return
    if (line.head >= line.items.length) this.#lines.delete(origin)
    else if (line.head > 32 && line.head * 2 > line.items.length) {
      line.items.splice(0, line.head)
      line.head = 0
    }
  }

  /** Takes out items that are no longer wanted, e.g. of a peer that left; answers how many. */
  removeWhere(isUnwanted: (origin: string, item: T) => boolean): number {
    let removed = 0
    for (const [origin, line] of this.#lines) {
      const kept = line.items.slice(line.head).filter(({ item }) => !isUnwanted(origin, item))
      removed += line.items.length - line.head - kept.length
      line.items.splice(0, line.items.length, ...kept)
      line.head = 0
      if (kept.length === 0) this.#lines.delete(origin)
    }
    this.#size -= removed
    return removed
  }
}
