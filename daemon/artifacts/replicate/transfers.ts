/** Fetches between this node and others, counted for `/metrics`. */

export interface TransferFigures {
  /** Under way now: from others, and served to others */
  readonly running: { readonly fetch: number; readonly serve: number }
  /** Ended since the start */
  readonly fetches: { readonly ok: number; readonly failed: number }
  readonly serves: { readonly ok: number; readonly failed: number }
  /** On the streams of all of them, since the start */
  readonly bytes: { readonly in: number; readonly out: number }
}

export class Transfers {
  readonly #running = { fetch: 0, serve: 0 }
  readonly #ended = { fetch: { ok: 0, failed: 0 }, serve: { ok: 0, failed: 0 } }
  readonly #bytes = { in: 0, out: 0 }

  /** Counts the work as a fetch, which fails when it does. */
  async during<T>(kind: 'fetch' | 'serve', work: () => Promise<T>): Promise<T> {
    this.#running[kind]++
    let outcome: 'ok' | 'failed' = 'failed'
    try {
      const result = await work()
      outcome = 'ok'
      return result
    } finally {
      this.#running[kind]--
      this.#ended[kind][outcome]++
    }
  }

  moved(direction: 'in' | 'out', bytes: number): void {
    this.#bytes[direction] += bytes
  }

  read(): TransferFigures {
    const { fetch, serve } = this.#ended
    return { running: { ...this.#running }, fetches: { ...fetch }, serves: { ...serve }, bytes: { ...this.#bytes } }
  }
}
