/** AbortController and AbortSignal (DOM 3), with `any` and `timeout`. */
import { exposeInterface } from './web-idl.ts'

export default () => {
  const KEY = Symbol('runtime')
  let abortSignal: (signal: AbortSignal, reason: unknown) => void
  let follow: (signal: AbortSignal, sources: readonly AbortSignal[]) => void

  class AbortSignal extends EventTarget {
    #aborted = false
    #reason: unknown
    #handler: ((this: AbortSignal, event: Event) => void) | null = null
    /** Signals made by `any` that are aborted when this one is. */
    #dependents: AbortSignal[] = []
    /** For a signal made by `any`: the signals that are not such themselves. */
    #sources: AbortSignal[] | undefined

    static {
      abortSignal = (signal, reason) => signal.#abort(reason)
      follow = (signal, sources) => {
        const roots = new Set(sources.flatMap((source) => source.#sources ?? [source]))
        signal.#sources = [...roots]
        for (const root of roots) root.#dependents.push(signal)
      }
    }

    constructor(key?: unknown) {
      if (key !== KEY) throw new TypeError('Illegal constructor: use new AbortController()')
      super()
    }
    get aborted() {
      return this.#aborted
    }
    get reason() {
      return this.#reason
    }
    get onabort() {
      return this.#handler
    }
    set onabort(handler) {
      const before = this.#handler
      this.#handler = typeof handler === 'function' ? handler : null
      if (before === null && this.#handler !== null) this.addEventListener('abort', this.#onAbort)
      if (before !== null && this.#handler === null) this.removeEventListener('abort', this.#onAbort)
    }
    readonly #onAbort = (event: Event) => this.#handler?.call(this, event)

    throwIfAborted() {
      if (this.#aborted) throw this.#reason
    }

    /** All states change before any listener runs, so that no listener sees a half aborted set. */
    #abort(reason: unknown) {
      if (this.#aborted) return
      const all = [this, ...this.#dependents.filter((dependent) => !dependent.#aborted)]
      for (const signal of all) {
        signal.#aborted = true
        signal.#reason = reason
        signal.#dependents = []
      }
      for (const signal of all) signal.dispatchEvent(new Event('abort'))
    }

    static abort(reason: unknown = aborted()): AbortSignal {
      const signal = new AbortSignal(KEY)
      signal.#aborted = true
      signal.#reason = reason
      return signal
    }
    static timeout(milliseconds: unknown): AbortSignal {
      const delay = Math.trunc(Number(milliseconds))
      if (!(delay >= 0 && delay <= Number.MAX_SAFE_INTEGER))
        throw new TypeError('AbortSignal.timeout: expected milliseconds, 0 or more')
      const signal = new AbortSignal(KEY)
      setTimeout(
        () => signal.#abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
        delay,
      )
      return signal
    }
    static any(signals: Iterable<AbortSignal>): AbortSignal {
      const list = [...signals]
      for (const source of list)
        if (!(typeof source === 'object' && source !== null && #aborted in source))
          throw new TypeError('AbortSignal.any: not an AbortSignal in the list')
      const signal = new AbortSignal(KEY)
      const first = list.find((source) => source.#aborted)
      if (first === undefined) follow(signal, list)
      else {
        signal.#aborted = true
        signal.#reason = first.#reason
      }
      return signal
    }
  }

  class AbortController {
    readonly #signal = new AbortSignal(KEY)
    get signal() {
      return this.#signal
    }
    abort(reason: unknown = aborted()) {
      abortSignal(this.#signal, reason)
    }
  }

  const aborted = () => new DOMException('This operation was aborted', 'AbortError')
  exposeInterface(AbortSignal)
  exposeInterface(AbortController)
  return { AbortController, AbortSignal }
}
