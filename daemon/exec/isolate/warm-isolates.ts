import { GuestIsolate } from './guest-isolate.ts'

/**
 * Isolates made ahead. Making one takes about a millisecond of this thread, so it is done one at a time when nothing runs.
 * All have the memory limit that the last job asked for: a node's jobs mostly agree on it.
 */
export class WarmIsolates {
  readonly #count: number
  readonly #idle: () => boolean
  #memoryBytes: number
  #ready: GuestIsolate[] = []
  #used: GuestIsolate[] = []
  #due = false

  constructor(count: number, memoryBytes: number, idle: () => boolean) {
    this.#count = count
    this.#memoryBytes = memoryBytes
    this.#idle = idle
  }

  take(memoryBytes: number): GuestIsolate {
    if (memoryBytes !== this.#memoryBytes) {
      this.#memoryBytes = memoryBytes
      this.#used.push(...this.#ready)
      this.#ready = []
    }
    return this.#ready.pop() ?? new GuestIsolate(memoryBytes)
  }

  /** Disposes of `guest`, which may still run, in the next turn: the answer of its job goes first. */
  giveBack(guest: GuestIsolate): void {
    this.#used.push(guest)
    this.tidy()
  }

  fill(): void {
    while (this.#ready.length < this.#count) this.#ready.push(this.#made())
  }

  /** Does the next piece of work in a turn of its own. */
  tidy(): void {
    if (this.#due) return
    this.#due = true
    setImmediate(() => {
      this.#due = false
      for (const guest of this.#used.splice(0)) guest.dispose()
      if (this.#ready.length >= this.#count || !this.#idle()) return
      this.#ready.push(this.#made())
      this.tidy()
    })
  }

  #made(): GuestIsolate {
    const guest = new GuestIsolate(this.#memoryBytes)
    guest.rehearse()
    return guest
  }
}
