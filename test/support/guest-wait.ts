/** Waiting for something in a sandbox to be ready. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { GuestConnection, GuestProcess } from '../../daemon/exec/sandbox/guest/guest-connection.ts'
import { MeshError } from '../../protocol/errors.ts'

export interface WaitOptions {
  /** Milliseconds. @default 30000 */
  readonly timeoutMs?: number
}

const DEFAULT_MS = 30_000
/** Between two attempts to connect, milliseconds. */
const PAUSE_MS = 20

/** Resolves when something listens on the port. @throws MeshError E_TIMEOUT, and what `dial` throws */
export async function waitForPort(guest: GuestConnection, port: number, options: WaitOptions = {}): Promise<void> {
  const deadline = performance.now() + (options.timeoutMs ?? DEFAULT_MS)
  for (;;) {
    try {
      return (await guest.dial(port)).close()
    } catch (error) {
      if (!(error instanceof MeshError) || error.code !== 'E_UNREACHABLE') throw error
    }
    if (performance.now() >= deadline)
      throw new MeshError('E_TIMEOUT', `Nothing listens on port ${port} of the sandbox yet`)
    await sleep(PAUSE_MS)
  }
}

/** Reads a process's output until it matches, and gives what was read. @throws MeshError E_TIMEOUT, E_CONFLICT when the process ends before */
export async function waitForLog(process: GuestProcess, pattern: RegExp, options: WaitOptions = {}): Promise<string> {
  const late = sleep(options.timeoutMs ?? DEFAULT_MS, undefined, { ref: false })
  const decoder = { 1: new TextDecoder(), 2: new TextDecoder() }
  const reading = process.output[Symbol.asyncIterator]()
  let text = ''
  for (;;) {
    const next = await Promise.race([reading.next(), late])
    if (next === undefined)
      throw new MeshError('E_TIMEOUT', `The process has not written anything that matches ${String(pattern)} yet`)
    if (next.done === true)
      throw new MeshError('E_CONFLICT', `The process ended without writing anything that matches ${String(pattern)}`)
    text += decoder[next.value.fd].decode(next.value.bytes, { stream: true })
    if (pattern.test(text)) return text
  }
}
