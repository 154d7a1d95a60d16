import { deferred } from './wait.ts'

/** Stands between the items of a source where time has passed. */
export const TICK = Symbol('tick')

/** The items of a source, and `TICK` each `ms` in which one is waited for. Ends in that time after the signal aborts, also while the source stands still. */
export async function* withTicks<T>(
  source: AsyncIterable<T>,
  ms: number,
  signal: AbortSignal,
): AsyncGenerator<T | typeof TICK> {
  const items = source[Symbol.asyncIterator]()
  // one timer for all items, of which there may be a million
  let tick = deferred<typeof TICK>()
  const timer = setInterval(() => {
    tick.resolve(TICK)
    tick = deferred()
  }, ms)
  let ended = false
  try {
    while (!ended) {
      const next = items.next()
      // it may fail while nobody is at it
      next.catch(() => undefined)
      let got = await Promise.race([next, tick.promise])
      for (; got === TICK; got = await Promise.race([next, tick.promise])) {
        if (signal.aborted) return
        yield TICK
      }
      ended = got.done === true
      if (got.done !== true) yield got.value
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
