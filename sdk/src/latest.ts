/** A value that changes: readers see the newest and never a backlog. */
export class Latest<T> implements AsyncIterable<T> {
  #value: T
  #version = 0
  #closed = false
  #waiting: (() => void)[] = []

  constructor(value: T) {
    this.#value = value
  }

  get value(): T {
    return this.#value
  }

  set(value: T): void {
    this.#value = value
    this.#version++
    this.#wake()
  }

  /** The last value is still delivered. */
  close(): void {
    this.#closed = true
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (let seen = 0; ; ) {
      if (this.#version > seen) {
        seen = this.#version
        yield this.#value
      } else if (this.#closed) return
      else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}
