import { failpoint } from '../failpoint.ts'
import type { MarkWriter } from './mark.ts'
import type { ChainPoint } from './record.ts'

/** Pauses between two marks last at least this many times as long as the mark before took, which leaves the disk to the batches */
const PAUSE_FACTOR = 4

export interface MarkKeeperOptions {
  /** Shortest pause between an acknowledgement and the start of a mark that covers it, milliseconds */
  readonly delayMs: number
  /** Called once when a mark cannot be written; the keeper writes no more after that */
  readonly onFault: (error: unknown) => void
}

/**
 * Lets the mark follow what is acknowledged, one write at a time, beside the syncs of the store. After `note(p)` a write that covers p starts
 * once the one under way has ended and a pause has passed, whether more follows or not. The pause is `delayMs`, or four times what the last
 * write took if that is longer: marks take at most about a fifth of what a slow disk can do.
 */
export class MarkKeeper {
  readonly #writer: MarkWriter
  readonly #options: MarkKeeperOptions
  /** Acknowledged, but covered by no mark that is written */
  #due: ChainPoint | undefined
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  /** How long the last write took, milliseconds */
  #tookMs = 0
  #fault: { readonly error: unknown } | undefined

  constructor(writer: MarkWriter, options: MarkKeeperOptions) {
    this.#writer = writer
    this.#options = options
  }

  note(point: ChainPoint): void {
    this.#due = point
    if (this.#timer === undefined && this.#writing === undefined) this.#schedule()
  }

  /** Resolves when everything noted is covered. @throws what writing threw */
  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    while (this.#fault === undefined && (this.#writing !== undefined || this.#due !== undefined)) {
      await (this.#writing ?? this.#write())
    }
    if (this.#fault !== undefined) throw this.#fault.error
  }

  /** Ends it without covering what is due. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#due = undefined
    await this.#writing
    await this.#writer.close()
  }

  #schedule(): void {
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined
        void this.#write()
      },
      Math.max(this.#options.delayMs, PAUSE_FACTOR * this.#tookMs),
    )
  }

  /** Never rejects: a fault is kept and reported. */
  #write(): Promise<void> {
    if (this.#writing !== undefined) return this.#writing
    const point = this.#due
    if (point === undefined || this.#fault !== undefined) return Promise.resolve()
    this.#due = undefined
    this.#writing = this.#attempt(point).finally(() => {
      this.#writing = undefined
      if (this.#due !== undefined && this.#fault === undefined && this.#timer === undefined) this.#schedule()
    })
    return this.#writing
  }

  async #attempt(point: ChainPoint): Promise<void> {
    try {
      failpoint('journal.before-mark')
      const start = performance.now()
      await this.#writer.write(point)
      this.#tookMs = performance.now() - start
      failpoint('journal.after-mark')
    } catch (error) {
      this.#fault = { error }
      this.#options.onFault(error)
    }
  }
}
