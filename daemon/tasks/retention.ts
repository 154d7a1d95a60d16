/** Keeps the journal from growing without end: drops the oldest ended tasks and the oldest records. */
import type { Journal, TableWrite } from '../journal/journal.ts'
import { hasEnded } from './task-row.ts'
import type { TaskStore } from './task-store.ts'

const EVERY_MS = 30_000
/** Tasks dropped in one go, so that other appends are not held up. */
const AT_ONCE = 500

/** What others keep about a task and is of no use without it: removed in the same append. */
export type GoesWith = (task: string) => readonly TableWrite[]

export class Retention {
  readonly #store: TaskStore
  readonly #journal: Journal
  readonly #limits: { readonly retainTasks: number; readonly retainRecords: number }
  readonly #goesWith: GoesWith
  readonly #timer: NodeJS.Timeout
  #running = false

  constructor(
    store: TaskStore,
    journal: Journal,
    limits: { readonly retainTasks: number; readonly retainRecords: number },
    goesWith: GoesWith = () => [],
  ) {
    this.#store = store
    this.#journal = journal
    this.#limits = limits
    this.#goesWith = goesWith
    this.#timer = setInterval(() => void this.run().catch(() => undefined), EVERY_MS)
    this.#timer.unref()
  }

  /** @returns how many tasks were dropped */
  async run(): Promise<number> {
    if (this.#running || this.#journal.health().state !== 'ok') return 0
    this.#running = true
    try {
      const surplus = (await this.#store.count()) - this.#limits.retainTasks
      let dropped = 0
      if (surplus > 0) {
        for (const row of await this.#store.oldest(Math.min(surplus, AT_ONCE))) {
          if (!hasEnded(row)) continue
          await this.#store.drop(row, this.#goesWith(row.id))
          dropped += 1
        }
      }
      const oldest = this.#journal.head - this.#limits.retainRecords
      if (oldest > 0) await this.#journal.trim(oldest)
      return dropped
    } finally {
      this.#running = false
    }
  }

  close(): void {
    clearInterval(this.#timer)
  }
}
