/** Waiting for something in a sandbox to be ready. */
import { MeshError } from '../../../../protocol/errors.ts'
import type { GuestConnection, GuestProcess } from './guest-connection.ts'

export interface WaitOptions {
  /** Milliseconds. @default 30000 */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

const DEFAULT_MS = 30_000
/** Between two attempts to connect, milliseconds: at first often, as most servers start fast. */
const FIRST_PAUSE_MS = 10
const LAST_PAUSE_MS = 250
/** Of a log, how much is looked at: a pattern longer than that is not found. */
const LOG_WINDOW = 256 << 10

/** Resolves when something listens on the port. @throws MeshError E_TIMEOUT, E_CANCELED, and what `dial` throws */
export async function waitForPort(guest: GuestConnection, port: number, options: WaitOptions = {}): Promise<void> {
  const deadline = performance.now() + (options.timeoutMs ?? DEFAULT_MS)
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(LAST_PAUSE_MS, pause * 1.5)) {
    try {
      const socket = await guest.dial(port, options.signal === undefined ? {} : { signal: options.signal })
      return socket.close()
    } catch (error) {
      if (!(error instanceof MeshError) || error.code !== 'E_UNREACHABLE') throw error
    }
    if (performance.now() >= deadline) throw late(`Nothing listens on port ${port} of the sandbox yet`)
    await pauseFor(pause, options.signal)
  }
}

/**
 * Reads a process's output until it matches, and gives what was read. The output is used up so far; `attach` gives it again.
 * @throws MeshError E_TIMEOUT, E_CANCELED; E_CONFLICT when the process ends before
 */
export async function waitForLog(process: GuestProcess, pattern: RegExp, options: WaitOptions = {}): Promise<string> {
  const decoder = { 1: new TextDecoder(), 2: new TextDecoder() }
  const stop = AbortSignal.timeout(options.timeoutMs ?? DEFAULT_MS)
  const signal = options.signal === undefined ? stop : AbortSignal.any([stop, options.signal])
  const aborted = new Promise<'aborted'>((resolve) => {
    signal.addEventListener('abort', () => resolve('aborted'), { once: true })
  })
  const reading = process.output[Symbol.asyncIterator]()
  const search = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''))
  let text = ''
  for (;;) {
    const next = await Promise.race([reading.next(), aborted])
    if (next === 'aborted') {
      if (options.signal?.aborted === true) throw new MeshError('E_CANCELED', 'The output was not waited for')
      throw late(`The process has not written anything that matches ${String(pattern)} yet`)
    }
    if (next.done === true) {
      throw new MeshError('E_CONFLICT', `The process ended without writing anything that matches ${String(pattern)}`)
    }
    text = (text + decoder[next.value.fd].decode(next.value.bytes, { stream: true })).slice(-LOG_WINDOW)
    if (search.test(text)) return text
  }
}

function late(message: string): MeshError {
  return new MeshError('E_TIMEOUT', message)
}

/** @throws MeshError E_CANCELED */
function pauseFor(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer)
      reject(new MeshError('E_CANCELED', 'The port was not waited for'))
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', end)
      resolve()
    }, ms)
    if (signal?.aborted === true) end()
    else signal?.addEventListener('abort', end, { once: true })
  })
}
