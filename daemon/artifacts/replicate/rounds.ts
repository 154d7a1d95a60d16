/** Goes through many artifacts without haste: a page at a time, and not while much is under way already. */
import type { ArtifactStore } from '../store/artifact-store.ts'
import type { HoldingBook } from './holding-book.ts'

export interface RoundsOptions {
  readonly store: ArtifactStore
  readonly book: HoldingBook
  /** Artifacts in which something is under way */
  readonly busy: () => number
  readonly signal: AbortSignal
}

const PAGE = 500
const PAUSE_MS = 50
const MAX_BUSY = 1_024

export class Rounds {
  readonly #options: RoundsOptions

  constructor(options: RoundsOptions) {
    this.#options = options
  }

  /** Artifacts whose contract asks for other nodes. */
  async contracted(act: (artifact: string) => void): Promise<void> {
    const { store } = this.#options
    await this.#pages(
      (after) => store.ids({ limit: PAGE, ...(after === undefined ? {} : { after }) }),
      async (id) => {
        const { min, mustInclude } = store.get(id)?.settings.replicas ?? { min: 1, mustInclude: [] }
        if (min > 1 || mustInclude.length > 0) act(id)
      },
    )
  }

  /** All that are held here. */
  async held(act: (artifact: string) => Promise<void>): Promise<void> {
    const { store } = this.#options
    await this.#pages((after) => store.ids({ limit: PAGE, ...(after === undefined ? {} : { after }) }), act)
  }

  /** Artifacts that a peer is known to hold. */
  async shared(peer: string, act: (artifact: string) => Promise<void>): Promise<void> {
    await this.#pages((after) => this.#options.book.sharedWith(peer, after, PAGE), act)
  }

  async #pages(
    next: (after: string | undefined) => Promise<readonly string[]>,
    act: (artifact: string) => Promise<void>,
  ): Promise<void> {
    const { signal, busy } = this.#options
    for (let after: string | undefined; !signal.aborted; ) {
      const ids = await next(after)
      for (const id of ids) await act(id)
      after = ids.at(-1)
      if (after === undefined) return
      do await pause(PAUSE_MS, signal)
      while (busy() > MAX_BUSY && !signal.aborted)
    }
  }
}

/** Ends early when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    timer.unref()
    signal.addEventListener('abort', done, { once: true })
  })
}
