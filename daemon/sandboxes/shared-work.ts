/** Work that several callers may wait for: it goes on as long as one of them does, and is told to end when the last one leaves. */
export class SharedWork<T> {
  readonly result: Promise<T>
  readonly #left = new AbortController()
  #waiting = 0
  #settled = false

  constructor(work: (signal: AbortSignal) => Promise<T>) {
    const settled = (): void => {
      this.#settled = true
    }
    this.result = work(this.#left.signal)
    this.result.then(settled, settled)
  }

  /** It was told to end. */
  get left(): boolean {
    return this.#left.signal.aborted
  }

  /** @throws the signal's reason, and what the work throws */
  async wait(signal: AbortSignal): Promise<T> {
    const gone = Promise.withResolvers<never>()
    const onAbort = (): void => gone.reject(signal.reason)
    this.#waiting += 1
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      signal.throwIfAborted()
      return await Promise.race([this.result, gone.promise])
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.#waiting -= 1
      if (this.#waiting === 0 && !this.#settled) this.#left.abort(signal.reason)
    }
  }
}
