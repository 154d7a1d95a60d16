/** Which peers are linked and served, since when, and how long the others have been away. Monotonic milliseconds. */
export class Links {
  readonly #now: () => number
  readonly #startedAt: number
  readonly #up = new Map<string, number>()
  readonly #downAt = new Map<string, number>()
  #links = 0

  constructor(now: () => number) {
    this.#now = now
    this.#startedAt = now()
  }

  peers(): string[] {
    return [...this.#up.keys()]
  }

  up(peer: string): void {
    this.#up.set(peer, ++this.#links)
    this.#downAt.delete(peer)
  }

  /** @returns whether it was up */
  down(peer: string): boolean {
    if (!this.#up.delete(peer)) return false
    this.#downAt.set(peer, this.#now())
    return true
  }

  /** Number of the link; no two have the same. */
  readonly link = (peer: string): number | undefined => this.#up.get(peer)

  readonly awayMs = (peer: string): number =>
    this.#up.has(peer) ? 0 : this.#now() - (this.#downAt.get(peer) ?? this.#startedAt)
}
