/** How a job ended and what it used: shared by executors, tasks, receipts and the local API. */
import type { ErrorCode } from './errors.ts'

/** What a failed job tells its caller. Positions and stacks are those of the guest's own source; no host path, no inner detail. */
export interface JobFailure {
  readonly code: ErrorCode
  readonly message: string
  /** Class of the guest's error, e.g. "TypeError", when the guest threw */
  readonly name?: string
  /** Guest module */
  readonly file?: string
  /** 1-based */
  readonly line?: number
  /** 1-based */
  readonly column?: number
  /** A few lines of the guest's source around the position, with a caret */
  readonly frame?: string
  /** Frames inside the guest's modules */
  readonly stack?: string
  /** What to do about it */
  readonly hint?: string
}

export interface Usage {
  readonly wallMs: number
  readonly cpuMs: number
  /** Highest seen */
  readonly memoryBytes: number
  readonly outputBytes: number
  readonly logBytes: number
  readonly hostCalls: number
  /** Calls made in a session, or inputs of a batch */
  readonly calls: number
}

export const NO_USAGE: Usage = Object.freeze({
  wallMs: 0,
  cpuMs: 0,
  memoryBytes: 0,
  outputBytes: 0,
  logBytes: 0,
  hostCalls: 0,
  calls: 0,
})
