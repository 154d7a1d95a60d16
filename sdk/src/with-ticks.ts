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
  let ticked = false
  let wake = deferred<void>()
  const timer = setInterval(() => {
    ticked = true
    wake.resolve()
  }, ms)
  let ended = false
  try {
    while (!ended) {
      const next = heard(items.next(), () => wake.resolve())
      while (next.result === undefined) {
        await wake.promise
        wake = deferred()
        if (signal.aborted) return
        if (next.result !== undefined || !ticked) continue
        ticked = false
        yield TICK
      }
      const item = await next.result
      ended = item.done === true
      if (item.done !== true) yield item.value
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

/** Listens once, however often it is looked at: what stands still for hours keeps nothing for each look. `result` is there, settled, when `done` is called. */
function heard<T>(promise: Promise<T>, done: () => void): { result: Promise<T> | undefined } {
  const found: { result: Promise<T> | undefined } = { result: undefined }
  const settle = (): void => {
    found.result = promise
    done()
  }
  promise.then(settle, settle)
  return found
}
