/** At most `size` holders at once; others wait in order, at most `queue` of them. */
import { ManyhandsError } from './errors.ts'

export class Budget {
  #free: number
  readonly #queue: number
  readonly #waiting = new Set<() => void>()

  constructor(size: number, queue: number) {
    this.#free = size
    this.#queue = queue
  }

  /** Resolves with the function that gives the place back; calling it again has no effect. @throws ManyhandsError E_OVERLOADED, or the signal's reason */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free--
    else await this.#wait(signal)
    let held = true
    return () => {
      if (held) this.#release()
      held = false
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    if (this.#waiting.size >= this.#queue) {
      return Promise.reject(
        new ManyhandsError('E_OVERLOADED', `Cannot queue another request: ${this.#queue} wait already`, {
          hint: 'Wait for some to end, or use a session or map()',
        }),
      )
    }
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.delete(enter)
        reject(signal.reason)
      }
      const enter = () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.add(enter)
    })
  }

  /** The place passes to the first in the queue, so `#free` never counts a place twice. */
  #release(): void {
    for (const enter of this.#waiting) {
      this.#waiting.delete(enter)
      enter()
      return
    }
    this.#free++
  }
}
