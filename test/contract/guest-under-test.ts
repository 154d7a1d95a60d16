/** What the suites of agents have in common. */
import { expect } from 'vitest'
import type {
  ExecOptions,
  GuestConnection,
  GuestEnd,
  GuestProcess,
} from '../../daemon/exec/sandbox/guest/guest-connection.ts'

export interface GuestUnderTest {
  readonly connection: GuestConnection
  /** A folder the guest may write to; exists and is empty */
  readonly folder: string
  /** Another conversation with the same agent, as after a crash of the daemon */
  again(): Promise<GuestConnection>
  /** False where the kernel's terminals know no Ctrl-C. @default true */
  readonly typedSignals?: boolean
  /** A server on the guest's loopback that sends back what it gets */
  echo?(connection: GuestConnection): Promise<{ readonly port: number; stop(): void }>
  /** Sends a text from inside to a port of the guest's loopback and gives the answer */
  talk?(connection: GuestConnection, port: number, text: string): Promise<string>
  stop(): Promise<void>
}

export interface Done {
  readonly out: string
  readonly err: string
  readonly end: GuestEnd
}

export async function collect(process: GuestProcess): Promise<Done> {
  const parts: Record<1 | 2, Uint8Array[]> = { 1: [], 2: [] }
  for await (const { fd, bytes } of process.output) parts[fd].push(bytes)
  return { out: Buffer.concat(parts[1]).toString(), err: Buffer.concat(parts[2]).toString(), end: await process.ended }
}

export const code = (wanted: string): unknown => expect.objectContaining({ code: wanted })
export const OK: GuestEnd = { kind: 'exit', code: 0 }
export const MIB = 1 << 20

/** What the cases of a suite work with; `box` is another after a new conversation. */
export interface GuestTools {
  readonly box: GuestConnection
  readonly folder: string
  /** A path in the guest's folder */
  at(path: string): string
  sh(script: string, more?: Partial<ExecOptions>): Promise<Done>
  /** @throws Error after five seconds in which it did not hold */
  until(holds: () => Promise<boolean>): Promise<void>
}
