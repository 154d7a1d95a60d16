/** Turns: at most so many at once, a bounded queue behind them, first come first served. */
import { MeshError } from '../../../protocol/errors.ts'

export class Slots {
  readonly #what: string
  readonly #most: number
  readonly #mostWaiting: number
  readonly #waitMs: number
  #used = 0
  readonly #queue: (() => void)[] = []

  /** @param what e.g. "clones and fetches", for the message */
  constructor(what: string, limits: { readonly slots: number; readonly waiting: number; readonly waitMs: number }) {
    this.#what = what
    this.#most = limits.slots
    this.#mostWaiting = limits.waiting
    this.#waitMs = limits.waitMs
  }

  get used(): number {
    return this.#used
  }

  get waiting(): number {
    return this.#queue.length
  }

  /** @returns gives the turn back; may be called again. @throws MeshError E_OVERLOADED, or the signal's reason */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#used >= this.#most) await this.#wait(signal)
    else this.#used += 1
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      // Whoever is next takes the turn itself: the count stays
      const next = this.#queue.shift()
      if (next === undefined) this.#used -= 1
      else next()
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    if (this.#queue.length >= this.#mostWaiting) return Promise.reject(this.#busy())
    return new Promise((resolve, reject) => {
      const leave = (reason: unknown): void => {
        const at = this.#queue.indexOf(turn)
        if (at >= 0) this.#queue.splice(at, 1)
        end()
        reject(reason)
      }
      const onAbort = (): void => leave(signal.reason)
      const timer = setTimeout(() => leave(this.#busy()), this.#waitMs)
      const end = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', onAbort)
      }
      const turn = (): void => {
        end()
        resolve()
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#queue.push(turn)
    })
  }

  #busy(): MeshError {
    return new MeshError(
      'E_OVERLOADED',
      `Cannot serve it now: ${this.#most} ${this.#what} are under way and others wait`,
      {
        retryAfterMs: 5_000,
      },
    )
  }
}
