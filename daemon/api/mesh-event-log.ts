/** The latest events of the mesh, numbered, for any number of watchers. An id is "<run>-<number>": one from before a restart is recognised. */
import { randomBytes } from 'node:crypto'
import type { MeshEvent } from '../../protocol/api.ts'
import type { MeshEvents } from './services.ts'

type Listener = (id: string, event: MeshEvent) => void

export class MeshEventLog implements MeshEvents {
  readonly #run = randomBytes(6).toString('hex')
  readonly #kept: number
  readonly #listeners = new Set<Listener>()
  #events: MeshEvent[] = []
  /** Number of the last event */
  #last = 0

  /** @param kept events kept for those who resume */
  constructor(kept = 1_000) {
    this.#kept = kept
  }

  add(event: MeshEvent): void {
    this.#last += 1
    this.#events.push(event)
    if (this.#events.length > this.#kept * 2) this.#events = this.#events.slice(-this.#kept)
    for (const listener of this.#listeners) listener(this.#id(this.#last), event)
  }

  watch(after: string | undefined, listener: Listener): () => void {
    if (after !== undefined) this.#replay(after, listener)
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #replay(after: string, listener: Listener): void {
    const first = this.#last - this.#events.length + 1
    const seen = this.#numberOf(after)
    const from = Math.max(first, (seen ?? 0) + 1)
    if (seen === undefined || from > seen + 1) {
      listener(this.#id(from - 1), {
        type: 'alarm',
        what: 'events-lost',
        detail: 'Events between the one named and the next are not known any more',
      })
    }
    for (let number = from; number <= this.#last; number++) {
      const event = this.#events[number - first]
      if (event) listener(this.#id(number), event)
    }
  }

  #id(number: number): string {
    return `${this.#run}-${number}`
  }

  #numberOf(id: string): number | undefined {
    const [run, number] = id.split('-')
    if (run !== this.#run || number === undefined || !/^\d{1,15}$/.test(number)) return undefined
    return Math.min(Number(number), this.#last)
  }
}
