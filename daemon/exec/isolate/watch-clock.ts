/** Longest time between two looks that counts in full, milliseconds. */
const LONGEST_STEP_MS = 1_000

/**
 * The time for which somebody was looking, in milliseconds: like the monotonic clock, but a stretch in which this process did not get to look counts for at
 * most a second. A machine that was paused, or a daemon that was held up, has seen nothing of its guests meanwhile, who were paused too or had
 * answered long ago; judged by the plain clock, the first look afterwards would end them all.
 */
export class WatchClock {
  readonly #read: () => number
  #lookedAt: number
  #time = 0

  /** @param read the monotonic clock */
  constructor(read: () => number = () => performance.now()) {
    this.#read = read
    this.#lookedAt = read()
  }

  now(): number {
    return this.#time + Math.min(this.#read() - this.#lookedAt, LONGEST_STEP_MS)
  }

  /** To be called at every look. @returns the time now */
  look(): number {
    this.#time = this.now()
    this.#lookedAt = this.#read()
    return this.#time
  }
}
