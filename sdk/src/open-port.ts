/** A port of a sandbox, open on this host's loopback. `node/open-port.ts` listens; browsers cannot. */
import type { BoxStream } from './box-stream.ts'
import { ManyhandsError } from './errors.ts'

export interface OpenPort {
  /** Here, on 127.0.0.1 */
  readonly port: number
  /** "http://127.0.0.1:<port>" */
  readonly url: string
  /** Ends its connections. Safe to call again. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** One connection into the sandbox. */
export type PortDialer = (signal: AbortSignal) => Promise<BoxStream>
export type PortOpener = (dial: PortDialer, port: number) => Promise<OpenPort>

export function noPort(): Promise<OpenPort> {
  return Promise.reject(new ManyhandsError('E_BAD_REQUEST', 'Cannot open a port: a browser cannot listen'))
}
