/** Bounds how often what a peer says is written: at once when it said nothing for a while, else when its interval is over, the latest alone. */

/** Between two records that one peer causes, milliseconds. */
export const PEER_WRITE_MS = 10_000

export class WritePace {
  readonly #now: () => number
  readonly #writtenAt = new Map<string, number>()
  /** Peers that said something since */
  readonly #waiting = new Set<string>()

  /** @param now monotonic milliseconds */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Whether to write now what `peer` said; if not, `due` names it later. */
  mayWrite(peer: string): boolean {
    if (this.#isOver(peer)) {
      this.#writtenAt.set(peer, this.#now())
      return true
    }
    this.#waiting.add(peer)
    return false
  }

  /** Peers whose latest is to be written now. */
  due(): string[] {
    const over = [...this.#writtenAt.keys()].filter((peer) => this.#isOver(peer))
    for (const peer of over) this.#writtenAt.delete(peer)
    return over.filter((peer) => this.#waiting.delete(peer) && this.mayWrite(peer))
  }

  #isOver(peer: string): boolean {
    return this.#now() - (this.#writtenAt.get(peer) ?? -Infinity) >= PEER_WRITE_MS
  }
}
