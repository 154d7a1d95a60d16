/**
 * Copies that came here lately. Two nodes that take a copy at the same time are not known yet as holders to the one they take it from, and would never hear of each other.
 * So each peer that is told of a fresh copy is asked once who else holds it: of two that told the same peer, the later one hears of the earlier.
 */

/** Of each the peers that were asked; the oldest is forgotten. */
export const MAX_COPIES = 256
export const MAX_ASKED = 64

export class FreshCopies {
  readonly #asked = new Map<string, Set<string>>()

  came(artifact: string): void {
    this.#asked.delete(artifact)
    this.#asked.set(artifact, new Set())
    const [oldest] = this.#asked.keys()
    if (this.#asked.size > MAX_COPIES && oldest !== undefined) this.#asked.delete(oldest)
  }

  /** Whether the peer, which was told of the copy, is to be asked; says so once. */
  asks(artifact: string, peer: string): boolean {
    const asked = this.#asked.get(artifact)
    if (asked === undefined || asked.has(peer) || asked.size === MAX_ASKED) return false
    asked.add(peer)
    return true
  }
}
