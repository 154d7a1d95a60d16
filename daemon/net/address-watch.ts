import type { Scheduler } from './scheduler.ts'

/** Between two looks, milliseconds. A host that changes networks is back within a few of them. */
const LOOK_MS = 5_000

export interface AddressWatchInit {
  readonly scheduler: Scheduler
  /** Those on which this node can be reached now, in any order */
  readonly read: () => readonly string[]
  readonly onChange: () => void
}

/**
 * Notices that this node has other addresses than before: nothing tells. A connection that began at an address which is gone is not closed by anybody, it only falls
 * silent, on both sides.
 */
export class AddressWatch {
  readonly #init: AddressWatchInit
  #seen: string
  #cancel: () => void

  constructor(init: AddressWatchInit) {
    this.#init = init
    this.#seen = this.#read()
    this.#cancel = this.#soon()
  }

  stop(): void {
    this.#cancel()
  }

  #read(): string {
    return [...this.#init.read()].sort().join(' ')
  }

  #soon(): () => void {
    return this.#init.scheduler.after(LOOK_MS, () => {
      this.#cancel = this.#soon()
      const now = this.#read()
      if (now === this.#seen) return
      this.#seen = now
      this.#init.onChange()
    })
  }
}
