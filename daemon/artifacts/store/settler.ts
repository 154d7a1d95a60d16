/** Decides when pack rows are worth joining (repositories.ts): many, or old. Works in the background, two artifacts at a time. */

/** Pack rows of one artifact; each is a pack that Git looks through. */
const MAX_PACKS = 64
const MAX_BYTES = 4 << 20
const MAX_AGE_MS = 10_000
const TICK_MS = 2_000
const WORKERS = 2

interface Owed {
  packs: number
  bytes: number
  readonly since: number
}

export class Settler {
  readonly #settle: (id: string) => Promise<void>
  readonly #onFault: (what: string, error: unknown) => void
  readonly #owed = new Map<string, Owed>()
  readonly #due = new Set<string>()
  readonly #timer: NodeJS.Timeout
  #working = 0
  #closed = false

  constructor(settle: (id: string) => Promise<void>, onFault: (what: string, error: unknown) => void) {
    this.#settle = settle
    this.#onFault = onFault
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref()
  }

  /** A pack row was written. */
  note(id: string, bytes: number): void {
    const owed = this.#owed.get(id) ?? { packs: 0, bytes: 0, since: performance.now() }
    owed.packs += 1
    owed.bytes += bytes
    this.#owed.set(id, owed)
    if (owed.packs >= MAX_PACKS || owed.bytes >= MAX_BYTES) this.#schedule(id)
  }

  /** What is still owed then is settled at the next start. */
  close(): void {
    this.#closed = true
    clearInterval(this.#timer)
    this.#due.clear()
  }

  #tick(): void {
    for (const [id, { since }] of this.#owed) {
      if (performance.now() - since < MAX_AGE_MS) break
      this.#schedule(id)
    }
  }

  #schedule(id: string): void {
    // a change that ends after the store was closed still notes what it wrote
    if (this.#closed) return
    this.#due.add(id)
    while (this.#working < WORKERS && this.#due.size > 0) {
      this.#working++
      void this.#work()
    }
  }

  /** Never rejects. */
  async #work(): Promise<void> {
    for (const id of this.#due) {
      if (this.#closed) break
      this.#due.delete(id)
      this.#owed.delete(id)
      try {
        await this.#settle(id)
      } catch (error) {
        // stays owed; the next tick tries again
        this.#owed.set(id, { packs: 1, bytes: 0, since: performance.now() })
        this.#onFault('new objects could not be joined into a pack yet', error)
      }
    }
    this.#working--
  }
}
