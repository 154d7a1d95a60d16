/**
 * The one error class of the SDK. `code` is the contract: the registry of codes is documented in docs/ERRORS.md, and a newer daemon may name a code
 * that this version does not list. Everything the SDK rejects with is a `ManyhandsError`, except an abort, which rejects with the signal's own reason.
 */
import type { Problem } from '../../protocol/api.ts'

export type ErrorCode = Problem['code']
/** Where and why a program failed, in its own source. */
export type JobFailure = NonNullable<Problem['failure']>

export interface ManyhandsErrorOptions {
  /** What to do about it, one sentence */
  readonly hint?: string | undefined
  /** Wait this long before trying again, milliseconds */
  readonly retryAfterMs?: number | undefined
  readonly details?: Readonly<Record<string, unknown>> | undefined
  /** Set when the program itself failed */
  readonly failure?: JobFailure | undefined
  /** Id of the task it happened in */
  readonly task?: string | undefined
  readonly cause?: unknown
}

export class ManyhandsError extends Error {
  override readonly name = 'ManyhandsError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  /** Milliseconds */
  readonly retryAfterMs: number | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined
  readonly failure: JobFailure | undefined
  readonly task: string | undefined

  constructor(code: ErrorCode, message: string, options: ManyhandsErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint
    this.retryAfterMs = options.retryAfterMs
    this.details = options.details
    this.failure = options.failure
    this.task = options.task
  }
}

/** The error of a program that failed in `task`. */
export function failureError(failure: JobFailure, task?: string): ManyhandsError {
  return new ManyhandsError(failure.code, failure.message, { hint: failure.hint, failure, task })
}

/** The error a daemon reported. */
export function problemError(problem: Problem): ManyhandsError {
  return new ManyhandsError(problem.code, problem.detail, {
    hint: problem.hint ?? problem.failure?.hint,
    retryAfterMs: problem.retryAfterMs,
    details: problem.details,
    failure: problem.failure,
  })
}

/** What the daemon sent breaks the protocol: a fault in it, or something else answering in its place. */
export function protocolError(message: string, cause?: unknown): ManyhandsError {
  return new ManyhandsError('E_PROTOCOL', message, {
    hint: 'Check that the daemon and the SDK are of the same version',
    cause,
  })
}

export function closedError(): ManyhandsError {
  return new ManyhandsError('E_CONFLICT', 'Cannot use the mesh: this connection was closed', {
    hint: 'Call connect() again',
  })
}
