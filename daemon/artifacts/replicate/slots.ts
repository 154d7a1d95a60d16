/** Runs things, so many at once in all and for one peer; the rest waits in order of coming. */
export class Slots {
  readonly #total: number
  readonly #perPeer: number
  readonly #waiting: { readonly peer: string; readonly run: () => Promise<void> }[] = []
  readonly #running = new Map<string, number>()
  #count = 0

  constructor(total: number, perPeer: number) {
    this.#total = total
    this.#perPeer = perPeer
  }

  /** @param run never rejects */
  add(peer: string, run: () => Promise<void>): void {
    this.#waiting.push({ peer, run })
    this.#pump()
  }

  #pump(): void {
    while (this.#count < this.#total) {
      const index = this.#waiting.findIndex(({ peer }) => (this.#running.get(peer) ?? 0) < this.#perPeer)
      const [next] = index < 0 ? [] : this.#waiting.splice(index, 1)
      if (next === undefined) return
      this.#count++
      this.#running.set(next.peer, (this.#running.get(next.peer) ?? 0) + 1)
      void next.run().finally(() => this.#ended(next.peer))
    }
  }

  #ended(peer: string): void {
    this.#count--
    const left = (this.#running.get(peer) ?? 1) - 1
    if (left === 0) this.#running.delete(peer)
    else this.#running.set(peer, left)
    this.#pump()
  }
}
