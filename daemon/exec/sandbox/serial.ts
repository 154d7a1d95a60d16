/** One thing after the other: changes of one sandbox's state never overlap. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(job: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(job, job)
    this.#last = mine.catch(() => {})
    return mine
  }
}
