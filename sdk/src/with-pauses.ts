import { deferred } from './wait.ts'

/** Stands between the items of a source where it paused. */
export const PAUSE = Symbol('pause')

/**
 * The items of a source, and `PAUSE` once when it has given none for `ms` to twice that. Ends in that time after the signal aborts, also while the
 * source stands still.
 */
export async function* withPauses<T>(
  source: AsyncIterable<T>,
  ms: number,
  signal: AbortSignal,
): AsyncGenerator<T | typeof PAUSE> {
  const items = source[Symbol.asyncIterator]()
  // one timer for all items, of which there may be a million
  let tick = deferred<typeof PAUSE>()
  const timer = setInterval(() => {
    tick.resolve(PAUSE)
    tick = deferred()
  }, ms)
  let ended = false
  try {
    while (!ended) {
      const next = items.next()
      // it may fail while nobody is at it
      next.catch(() => undefined)
      for (let ticks = 0; ; ticks++) {
        const got = await Promise.race([next, tick.promise])
        if (signal.aborted) return
        if (got === PAUSE) {
          if (ticks === 1) yield PAUSE
          continue
        }
        ended = got.done === true
        if (got.done !== true) yield got.value
        break
      }
    }
  } catch (error) {
    ended = true
    throw error
  } finally {
    clearInterval(timer)
    // one that stands still would not end by being asked to
    if (!ended) items.return?.().catch(() => undefined)
  }
}
