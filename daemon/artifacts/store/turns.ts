/** Whose turn it is to change an artifact: one at a time for each, in order of arrival; others are not held up. Waiting is bounded in number and time. */
import { MeshError } from '../../../protocol/errors.ts'

/** Waiting for one artifact. */
const MAX_WAITING = 64
const DEFAULT_WAIT_MS = 10_000

interface Line {
  waiting: number
  last: Promise<void>
}

export class Turns {
  readonly #lines = new Map<string, Line>()

  /** Artifacts somebody works on now. */
  get size(): number {
    return this.#lines.size
  }

  /**
   * Runs `work` alone for `key`. The signal ends the wait, not the work.
   * @throws MeshError E_OVERLOADED when too many wait, E_TIMEOUT when the turn did not come; the signal's reason; what `work` throws
   */
  async run<T>(key: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted()
    const line = this.#lines.get(key) ?? { waiting: 0, last: Promise.resolve() }
    if (line.waiting >= MAX_WAITING) {
      throw new MeshError('E_OVERLOADED', `Cannot change an artifact now: ${MAX_WAITING} others wait for it`, {
        retryAfterMs: 500,
      })
    }
    const before = line.last
    const { promise: mine, resolve: done } = Promise.withResolvers<void>()
    line.last = before.then(() => mine)
    line.waiting++
    this.#lines.set(key, line)
    try {
      // without a wait there is nothing to time
      if (line.waiting > 1) await ended(before, signal ?? AbortSignal.timeout(DEFAULT_WAIT_MS), signal === undefined)
      return await work()
    } finally {
      done()
      if (--line.waiting === 0) this.#lines.delete(key)
    }
  }

  /** Ends when nobody works any more. */
  async idle(): Promise<void> {
    while (this.#lines.size > 0) await Promise.all([...this.#lines.values()].map((line) => line.last))
  }
}

async function ended(before: Promise<void>, signal: AbortSignal, isDefault: boolean): Promise<void> {
  const { promise: given, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => {
    reject(
      isDefault
        ? new MeshError('E_TIMEOUT', 'Cannot change an artifact: its turn did not come in time')
        : signal.reason,
    )
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await Promise.race([before, given])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
