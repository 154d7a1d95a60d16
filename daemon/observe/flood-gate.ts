/** Bounds how often alike things are told: what strangers can cause at will must not fill a log, nor push out what it holds. */

/** Told of one kind in a minute; the rest is counted. */
const PER_MINUTE = 20
const MINUTE_MS = 60_000
/** Kinds come from this program's own texts; should one be made of more, it starts anew. */
const MAX_KINDS = 256

interface Window {
  readonly since: number
  told: number
  leftOut: number
}

export class FloodGate {
  readonly #now: () => number
  readonly #windows = new Map<string, Window>()

  /** @param now monotonic milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** @returns how many of this kind were left out since the last that was told; undefined when this one is to be left out too */
  pass(kind: string): number | undefined {
    const window = this.#windows.get(kind)
    if (window === undefined || this.#now() - window.since >= MINUTE_MS) {
      if (this.#windows.size >= MAX_KINDS) this.#windows.clear()
      this.#windows.set(kind, { since: this.#now(), told: 1, leftOut: 0 })
      return window?.leftOut ?? 0
    }
    if (window.told < PER_MINUTE) {
      window.told += 1
      return 0
    }
    window.leftOut += 1
    return undefined
  }
}
