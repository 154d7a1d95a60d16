/** What a job is, how it ended and what it used: shared by executors, tasks, receipts and the local API. */
import type { ErrorCode } from './errors.ts'

/** What separates one job from the next, from weakest to strongest. The order is the comparison. */
export const GRADES = ['process', 'jailed', 'gvisor', 'microvm'] as const
export type Grade = (typeof GRADES)[number]

export type ModuleType = 'js' | 'json' | 'text'

/** An ES module program. `main` names the module whose default export is called with `(input, env)`. Sources are JavaScript: types are stripped before. */
export interface Program {
  readonly main: string
  readonly modules: readonly { readonly name: string; readonly type: ModuleType; readonly source: string }[]
}

/** All set; the engine has filled in defaults and clamped to the node's ceilings. */
export interface Limits {
  /** From the moment the job is on an executor until its result, milliseconds */
  readonly wallMs: number
  /** CPU time of the job, milliseconds */
  readonly cpuMs: number
  readonly memoryBytes: number
  /** Length of the JSON text returned: of the run, or of each call */
  readonly outputBytes: number
  /** All console output together, with the end of each line */
  readonly logBytes: number
  /** Number of host calls */
  readonly hostCalls: number
  /** Arguments and results of all host calls together */
  readonly hostCallBytes: number
}

/** With less no job can begin: refused rather than raised, as a caller should know what it gets. Memory is what an empty isolate needs. */
export const LIMIT_FLOORS: Limits = {
  wallMs: 1,
  cpuMs: 1,
  memoryBytes: 8 << 20,
  outputBytes: 1,
  logBytes: 0,
  hostCalls: 0,
  hostCallBytes: 0,
}

/** What a line of console output costs beside its text: lines without any are not free. */
export const LINE_END_BYTES = 1

export interface LogLine {
  readonly level: 'debug' | 'info' | 'log' | 'warn' | 'error'
  readonly text: string
}

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

/** What two pieces of work used together; of memory, the more of the two. */
export function addUsage(one: Usage, other: Usage): Usage {
  return {
    wallMs: one.wallMs + other.wallMs,
    cpuMs: one.cpuMs + other.cpuMs,
    memoryBytes: Math.max(one.memoryBytes, other.memoryBytes),
    outputBytes: one.outputBytes + other.outputBytes,
    logBytes: one.logBytes + other.logBytes,
    hostCalls: one.hostCalls + other.hostCalls,
    calls: one.calls + other.calls,
  }
}
