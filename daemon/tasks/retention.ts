/** Keeps the journal from growing without end: drops the oldest ended tasks, what is left of those long gone, and the oldest records. */
import type { Journal, TableWrite } from '../journal/journal.ts'
import { dropOldRows } from './old-rows.ts'
import type { TaskStore } from './task-store.ts'

const EVERY_MS = 30_000
/** Between two looks at rows that only age ends, milliseconds: each reads them all. */
const OLD_ROWS_EVERY_MS = 60 * 60_000
/** Tasks dropped at once: they share a sync, and other appends are not held up for longer than that. */
const AT_ONCE = 64

/** What others keep about a task and is of no use without it: removed in the same append. */
export type GoesWith = (task: string) => readonly TableWrite[]

export class Retention {
  readonly #store: TaskStore
  readonly #journal: Journal
  readonly #limits: { readonly retainTasks: number; readonly retainRecords: number }
  readonly #goesWith: GoesWith
  readonly #timer: NodeJS.Timeout
  #running = false
  #oldRowsDue = 0

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
      const dropped = await this.#dropTasks((await this.#store.kept()) - this.#limits.retainTasks)
      if (performance.now() >= this.#oldRowsDue) {
        this.#oldRowsDue = performance.now() + OLD_ROWS_EVERY_MS
        await dropOldRows(this.#journal, Date.now())
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

  /** However many there are: work may end faster than any fixed number in a round. What is under way stays and holds up nothing behind it. */
  async #dropTasks(surplus: number): Promise<number> {
    let dropped = 0
    for (let after: string | undefined; dropped < surplus; ) {
      const { ids, next } = await this.#store.endedAfter(after, AT_ONCE)
      if (next === undefined) break
      after = next
      const oldest = ids.slice(0, surplus - dropped)
      await Promise.all(oldest.map((id) => this.#store.drop(id, this.#goesWith(id))))
      dropped += oldest.length
    }
    return dropped
  }
}
