/** Sandboxes of which something is being made that no row names yet, by id. Several makers may be at the same one. */
export class Making {
  readonly #makers = new Map<string, number>()

  /** @returns ends it; to be called once */
  begin(id: string): () => void {
    this.#makers.set(id, (this.#makers.get(id) ?? 0) + 1)
    return () => {
      const left = (this.#makers.get(id) ?? 0) - 1
      if (left > 0) this.#makers.set(id, left)
      else this.#makers.delete(id)
    }
  }

  has(id: string): boolean {
    return this.#makers.has(id)
  }

  ids(): Iterable<string> {
    return this.#makers.keys()
  }
}
