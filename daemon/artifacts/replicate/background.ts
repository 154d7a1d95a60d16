/** What runs without anybody waiting for it: ended as a whole, its failures told and never thrown. */
import { MeshError } from '../../../protocol/errors.ts'

/** For the log: what failed and is tried again, or was refused */
export type Note = (what: string, facts: Readonly<Record<string, unknown>>) => void

export class Background {
  readonly signal: AbortSignal
  readonly #stopping = new AbortController()
  readonly #running = new Set<Promise<void>>()
  readonly #note: Note | undefined

  constructor(note: Note | undefined) {
    this.#note = note
    this.signal = this.#stopping.signal
  }

  /** Does nothing once it is stopped. */
  run(work: () => Promise<void>): void {
    if (this.signal.aborted) return
    const running = work()
      .catch((error: unknown) => this.fault('replication', error))
      .finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  /** What fails because of the end is no fault. */
  fault(what: string, error: unknown, facts: Readonly<Record<string, unknown>> = {}): void {
    if (this.signal.aborted) return
    const known = error instanceof MeshError ? { code: error.code, reason: error.message } : { reason: String(error) }
    this.#note?.(what, { ...facts, ...known })
  }

  stop(reason: Error): void {
    this.#stopping.abort(reason)
  }

  /** Resolves when nothing runs any more. Never rejects. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#running])
  }
}
