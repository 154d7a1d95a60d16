/** The events of one task: numbered from 1, kept up to a bound, handed to any number of watchers in order. */
import type { TaskEvent } from '../../protocol/api.ts'

export type EventListener = (number: number, event: TaskEvent) => void

/** Events kept for late watchers; older log lines are dropped first. */
const KEPT = 2_000

export class EventLog {
  #events: { readonly number: number; readonly event: TaskEvent }[] = []
  readonly #listeners = new Set<EventListener>()
  #last = 0

  /** Characters of the log lines that are kept */
  get logged(): number {
    return this.#events.reduce((sum, { event }) => sum + (event.type === 'log' ? event.text.length : 0), 0)
  }

  add(event: TaskEvent): void {
    const number = ++this.#last
    this.#events.push({ number, event })
    if (this.#events.length > KEPT * 1.5) this.#shrink()
    for (const listener of this.#listeners) listener(number, event)
  }

  /** Everything after `from` at once, then what comes. Returns how to stop. */
  watch(from: number, listener: EventListener): () => void {
    for (const { number, event } of this.#events) if (number > from) listener(number, event)
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** States and the end are few and tell the story: logs and progress go first. */
  #shrink(): void {
    const surplus = this.#events.length - KEPT
    let dropped = 0
    this.#events = this.#events.filter(({ event }) => {
      const droppable = event.type === 'log' || event.type === 'progress'
      if (!droppable || dropped >= surplus) return true
      dropped += 1
      return false
    })
  }
}
