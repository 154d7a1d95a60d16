/** Tasks that ended a moment ago, for those who watch them late: few, and not large together. What is no more among them is read from the journal. */

const MAX_TASKS = 500
/** Of all but the newest, which is kept whatever it weighs: who has just run it comes to watch it. Characters. */
const MAX_WEIGHT = 16 << 20

interface Weighed {
  /** About how many characters it holds */
  readonly weight: number
}

export class RecentTasks<Task extends Weighed> {
  /** Oldest first */
  readonly #kept = new Map<string, { readonly task: Task; readonly weight: number }>()
  #weight = 0

  get(id: string): Task | undefined {
    return this.#kept.get(id)?.task
  }

  add(id: string, task: Task): void {
    for (const [oldest, { weight }] of this.#kept) {
      if (this.#kept.size < MAX_TASKS && this.#weight <= MAX_WEIGHT) break
      this.#kept.delete(oldest)
      this.#weight -= weight
    }
    const { weight } = task
    this.#kept.set(id, { task, weight })
    this.#weight += weight
  }
}
