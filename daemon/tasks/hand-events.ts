/** Between this node's hands and whoever gave them an order. */
import type { JobFailure, LogLine } from '../../protocol/job.ts'
import type { OrderResult } from './worker.ts'

export interface HandEvents {
  onLog(line: LogLine, input: number): void
  onHostCall(name: string, argsJson: string, signal: AbortSignal): Promise<string>
  /** Session: its program is loaded. */
  onReady(): void
  onReply(id: number, outputJson: string): void
  onCallFailed(id: number, failure: JobFailure): void
  /** Once, unless the order was stopped */
  onResult(result: OrderResult): void
}

export interface Held {
  call(id: number, inputJson: string): void
  finish(): void
  /** Ends the work; no result follows. */
  stop(): void
}
