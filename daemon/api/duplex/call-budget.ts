/** How many calls, and how many bytes of their inputs, may wait for answers at once. */
export class CallBudget {
  readonly #maxCalls: number
  readonly #maxBytes: number
  #calls = 0
  #bytes = 0

  constructor(maxCalls: number, maxBytes: number) {
    this.#maxCalls = maxCalls
    this.#maxBytes = maxBytes
  }

  /** @returns false, and takes nothing, when there is no room */
  take(bytes: number): boolean {
    if (this.#calls >= this.#maxCalls || this.#bytes + bytes > this.#maxBytes) return false
    this.#calls += 1
    this.#bytes += bytes
    return true
  }

  give(bytes: number): void {
    this.#calls -= 1
    this.#bytes -= bytes
  }
}
