/**
 * The seam between the task engine and whatever runs code. Implementations: `isolate/` (jailed V8 isolates).
 * Inputs and outputs are JSON *text*: the daemon never parses what it only passes on.
 */
import type { Grade, JobFailure, Limits, LogLine, Program, Usage } from '../../protocol/job.ts'

export type { Grade, Limits, LogLine, ModuleType, Program } from '../../protocol/job.ts'
export { GRADES } from '../../protocol/job.ts'

export interface JobSpec {
  readonly program: Program
  readonly limits: Limits
  /** Trust domain: jobs of different domains never share a process */
  readonly domain: string
  /** Names the guest finds on `env` as async functions */
  readonly hostFunctions: readonly string[]
}

export interface JobHooks {
  onLog?(line: LogLine): void
  /**
   * Serves one host call. Arguments arrive and results leave as JSON text.
   * A rejection reaches the guest as its code and message only if it is a `MeshError`; anything else as `E_HOST_CALL` without detail.
   */
  onHostCall?(name: string, argsJson: string, signal: AbortSignal): Promise<string>
  /** Ends the job with `E_CANCELED`. */
  readonly signal?: AbortSignal
}

export type JobOutcome =
  | { readonly ok: true; readonly output: string; readonly usage: Usage }
  | { readonly ok: false; readonly error: JobFailure; readonly usage: Usage }

/** A program loaded once and called many times in one isolate; calls may overlap. */
export interface ExecutorSession {
  /**
   * Calls the default export. Never throws: the outcome comes to `onReply` given at open, once for each id.
   * Calls made in one turn of the event loop travel together.
   */
  call(id: number, inputJson: string): void
  /** Resolves with the end of the session: by `close`, by a limit, or by the death of its process. Calls still open get replies first. */
  readonly ended: Promise<{ readonly error: JobFailure | undefined; readonly usage: Usage }>
  close(): void
}

export interface SessionHooks extends JobHooks {
  onReply(id: number, outcome: { ok: true; output: string } | { ok: false; error: JobFailure }): void
}

export interface ExecutorState {
  /** Jobs that can run at once */
  readonly slots: number
  /** Jobs running now */
  readonly busy: number
}

export interface Executor {
  readonly kind: string
  readonly grade: Grade
  state(): ExecutorState
  /** Runs the program once in an environment never used before. Never rejects for what the guest did. */
  run(job: JobSpec, inputJson: string, hooks?: JobHooks): Promise<JobOutcome>
  /** Loads the program. @throws MeshError E_SYNTAX, E_IMPORT, E_GUEST when it does not load, E_MEMORY, E_DEADLINE when loading exceeds a limit */
  open(job: JobSpec, hooks: SessionHooks): Promise<ExecutorSession>
  /** Makes an environment ready so that the next run starts at once. */
  warm(): Promise<void>
  /** Ends every job with E_EXECUTOR_LOST and every process. */
  close(): Promise<void>
}
