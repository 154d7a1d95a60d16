/**
 * The record that a task was accepted: when it is written, and who waits for it.
 *
 * Nothing of a task leaves this node before its intent is on disk: no answer, no bind, no host call, no event. Where all who wait wait for the end, the
 * intent may be held back for a moment: a task that ends within it is written once, by its end, and costs one sync instead of two. Until then
 * it exists in this process alone: a crash leaves nothing of it, nobody was told of it, and the client's next try with its key begins it anew.
 *
 * I1  It is written once: by `begin`, or with the end by `end`.
 * I2  What it covers is said by the record on disk, so an epoch it covers may be given to a peer as soon as `stored` has resolved.
 */

/** What the record says of leases: that none was given, or that the first may have been given to anyone. */
export type Covers = 'none' | 'first-epoch'

/** The two ways to write it; each resolves when it is on disk. */
export interface IntentWriter {
  submitted(covers: Covers): Promise<unknown>
  /** The task as it ended, in the one record that there will be of it */
  ended(): Promise<unknown>
}

export class Intent {
  readonly #writer: IntentWriter
  readonly #stored = Promise.withResolvers<unknown>()
  #covers: Covers | undefined
  #isStored = false
  #isLost = false
  #timer: NodeJS.Timeout | undefined

  constructor(writer: IntentWriter) {
    this.#writer = writer
    // Whoever needs it asks for it; there may be nobody
    this.#stored.promise.catch(() => undefined)
  }

  /** Of a task that was written by a process before this one. */
  static known(): Intent {
    const done = (): Promise<void> => Promise.resolve()
    const intent = new Intent({ submitted: done, ended: done })
    void intent.begin()
    return intent
  }

  /** Settles when it is on disk, or cannot be brought there; does not hurry it. */
  get stored(): Promise<unknown> {
    return this.#stored.promise
  }

  get isStored(): boolean {
    return this.#isStored
  }

  /** It was to be written by the end, and could not: the task never was. */
  get isLost(): boolean {
    return this.#isLost
  }

  /** Nothing of it is written or being written. */
  get isHeld(): boolean {
    return this.#covers === undefined
  }

  coversFirstEpoch(): boolean {
    return this.#covers === 'first-epoch'
  }

  /** Has it written now, unless it is. @param covers of no effect when it is */
  begin(covers: Covers = 'none'): Promise<unknown> {
    if (this.#covers === undefined) this.#follow(covers, this.#writer.submitted(covers))
    return this.stored
  }

  /** Waits for an end that comes soon. @param ms after which it is written all the same */
  hold(ms: number): void {
    if (this.isHeld && this.#timer === undefined) this.#timer = setTimeout(() => void this.begin(), ms)
  }

  /** The task has ended, and is written by that. Only while it is held. */
  async end(): Promise<void> {
    try {
      const writing = this.#writer.ended()
      this.#follow('none', writing)
      await writing
    } catch (error) {
      this.#isLost = true
      throw error
    }
  }

  #follow(covers: Covers, writing: Promise<unknown>): void {
    this.#covers = covers
    clearTimeout(this.#timer)
    writing.then(
      (value) => {
        this.#isStored = true
        this.#stored.resolve(value)
      },
      (error: unknown) => this.#stored.reject(error),
    )
  }
}
