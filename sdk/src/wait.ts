/** Waiting that ends. */
import { ManyhandsError } from './errors.ts'

interface Listeners {
  readonly all: Set<() => void>
  readonly tell: () => void
}

/** Those of a signal share one listener of its own: before version 24, Node warns of a leak where there are more than ten. */
const LISTENERS = new WeakMap<AbortSignal, Listeners>()

/** Calls `listener` once the signal aborts; one that has aborted before calls nobody. @returns what ends the listening; calling it again has no effect */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  const { all, tell } = listenersOf(signal)
  const entry = (): void => listener()
  if (all.size === 0) signal.addEventListener('abort', tell, { once: true })
  all.add(entry)
  return () => {
    // A signal with a listener is never collected as garbage
    if (all.delete(entry) && all.size === 0) signal.removeEventListener('abort', tell)
  }
}

function listenersOf(signal: AbortSignal): Listeners {
  const known = LISTENERS.get(signal)
  if (known) return known
  const all = new Set<() => void>()
  const listeners = { all, tell: () => all.forEach((listener) => listener()) }
  LISTENERS.set(signal, listeners)
  return listeners
}

/** @throws the signal's reason */
export function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const forget = onAbort(signal, () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
    const timer = setTimeout(() => {
      forget()
      resolve()
    }, ms)
  })
}

/** `promise`, or a rejection with the signal's reason as soon as it aborts; what was waited for goes on unheard. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  const aborted = deferred<never>()
  const forget = onAbort(signal, () => aborted.reject(signal.reason))
  if (signal.aborted) aborted.reject(signal.reason)
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    forget()
  }
}

/** Exponential from 50 ms to `maxMs` with full jitter, so that many clients of a restarted daemon do not return at one moment. */
export function backoffMs(attempt: number, maxMs: number): number {
  return Math.random() * Math.min(maxMs, 50 * 2 ** Math.min(attempt, 16)) + 10
}

/** Whether the daemon went away, as opposed to having refused: worth another try for what may be repeated. */
export function isLost(error: unknown): error is ManyhandsError {
  return error instanceof ManyhandsError && (error.code === 'E_UNREACHABLE' || error.code === 'E_STOPPING')
}

export interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(error: unknown): void
}

/** `Promise.withResolvers` for Node 20. */
export function deferred<T>(): Deferred<T> {
  let resolve: ((value: T) => void) | undefined
  let reject: ((error: unknown) => void) | undefined
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve: (value) => resolve?.(value), reject: (error) => reject?.(error) }
}
