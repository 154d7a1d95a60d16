import { MeshError } from '../../../protocol/errors.ts'

/** Ends something in which nothing moves: its signal aborts with E_TIMEOUT `idleMs` after the last `alive()`, and with the reason of `signal`. */
export class Watchdog {
  readonly signal: AbortSignal
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  #moved = false

  constructor(what: string, idleMs: number, signal?: AbortSignal) {
    this.signal = signal === undefined ? this.#controller.signal : AbortSignal.any([signal, this.#controller.signal])
    this.#timer = setInterval(() => {
      if (!this.#moved) this.#controller.abort(new MeshError('E_TIMEOUT', `${what}: nothing came for ${idleMs} ms`))
      this.#moved = false
    }, idleMs)
    this.#timer.unref()
  }

  alive(): void {
    this.#moved = true
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}
