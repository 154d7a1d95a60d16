import type { Scheduler } from './scheduler.ts'

/**
 * Deadlines of many short-lived things on one timer: it is set for the earliest, and moved only for an earlier one. Most things end in time and cost
 * a map entry; one that is removed may wake the timer for nothing, once.
 */
export class Deadlines<K> {
  readonly #scheduler: Scheduler
  readonly #onDue: (key: K) => void
  readonly #at = new Map<K, number>()
  #armedFor = Number.POSITIVE_INFINITY
  #cancel: (() => void) | undefined

  constructor(scheduler: Scheduler, onDue: (key: K) => void) {
    this.#scheduler = scheduler
    this.#onDue = onDue
  }

  add(key: K, afterMs: number): void {
    const at = this.#scheduler.now() + afterMs
    this.#at.set(key, at)
    if (at < this.#armedFor) this.#arm(at)
  }

  delete(key: K): void {
    this.#at.delete(key)
  }

  clear(): void {
    this.#at.clear()
    this.#cancel?.()
    this.#cancel = undefined
    this.#armedFor = Number.POSITIVE_INFINITY
  }

  #arm(at: number): void {
    this.#cancel?.()
    this.#armedFor = at
    this.#cancel = this.#scheduler.after(Math.max(0, at - this.#scheduler.now()), () => this.#fire())
  }

  #fire(): void {
    this.#armedFor = Number.POSITIVE_INFINITY
    this.#cancel = undefined
    const now = this.#scheduler.now()
    let next = Number.POSITIVE_INFINITY
    for (const [key, at] of [...this.#at]) {
      if (at <= now) {
        this.#at.delete(key)
        this.#onDue(key)
      } else if (at < next) next = at
    }
    if (next < this.#armedFor) this.#arm(next)
  }
}
