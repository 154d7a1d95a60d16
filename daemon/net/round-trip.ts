/** How many measurements count: at one each heartbeat, what was true in the last minute. */
const KEPT = 6

/**
 * The round trip to a peer: the shortest of the last few. A busy process at either end only ever makes a measurement longer, and what counts
 * for choosing a near node is the way, not a moment's load.
 */
export class RoundTrip {
  readonly #samples: number[] = []

  /** Milliseconds; undefined before the first measurement. */
  get ms(): number | undefined {
    return this.#samples.length === 0 ? undefined : Math.min(...this.#samples)
  }

  add(ms: number): void {
    this.#samples.push(ms)
    if (this.#samples.length > KEPT) this.#samples.shift()
  }
}
