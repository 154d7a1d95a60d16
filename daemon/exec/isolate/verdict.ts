/**
 * What a job is told when it ended badly. The same excess shows in many shapes: a clean error, a RangeError, an isolate disposed by V8, a
 * process that aborts, hangs or is killed. All evidence about one job goes through `verdict`, and for one cause there is one code.
 */
import { type ErrorCode, ERRORS } from '../../../protocol/errors.ts'
import type { JobFailure } from '../../../protocol/job.ts'

/** Why the daemon ended a job or its process. The first cause counts; later ones follow from it. */
export type Cause = 'deadline' | 'cpu' | 'memory' | 'output' | 'log' | 'calls' | 'canceled' | 'closing'

/** How a host process ended without being told to by a cause of one job. */
export interface HostDeath {
  /** `hung`: no heartbeat. `violation`: a frame that is not allowed. `exit`: by itself or from outside */
  readonly how: 'exit' | 'hung' | 'violation'
  readonly signal: string | undefined
  /** Last lines it wrote to standard error */
  readonly stderr: string
}

export interface Evidence {
  readonly cause?: Cause | undefined
  /** What the guest or the host process said */
  readonly reported?: JobFailure | undefined
  /** The host process named this job: its isolate broke for want of memory, or it did what no program can do by the rules */
  readonly accused?: 'memory' | 'abuse' | undefined
  readonly death?: HostDeath | undefined
  /** No other job was in the process when it died */
  readonly alone?: boolean
  /** Nothing outside has seen anything of this job yet, so it can be run again */
  readonly repeatable?: boolean
  /** Growth of the process since the job came, and what the job may use; bytes */
  readonly grownBytes?: number
  readonly memoryBytes?: number
}

export type Verdict =
  | { readonly kind: 'failed'; readonly error: JobFailure }
  /** Run it again: `solo` in a process of its own, so that the next death has one suspect */
  | { readonly kind: 'again'; readonly solo: boolean }

const CAUSE_CODES: Readonly<Record<Cause, ErrorCode>> = {
  deadline: 'E_DEADLINE',
  cpu: 'E_CPU',
  memory: 'E_MEMORY',
  output: 'E_OUTPUT',
  log: 'E_LOG_BUDGET',
  calls: 'E_CALL_BUDGET',
  canceled: 'E_CANCELED',
  closing: 'E_EXECUTOR_LOST',
}

const HINTS: Partial<Record<ErrorCode, string>> = {
  E_DEADLINE: 'Do less in one job, or raise limits.wallMs.',
  E_CPU: 'Do less in one job, or raise limits.cpuMs.',
  E_MEMORY: 'Hold less data at once, or raise limits.memoryBytes.',
  E_OUTPUT: 'Return less, or raise limits.outputBytes.',
  E_LOG_BUDGET: 'Log less, or raise limits.logBytes.',
  E_CALL_BUDGET: 'Make fewer or smaller host calls, or raise limits.hostCalls and limits.hostCallBytes.',
}

/** Signals with which a runtime ends itself when it cannot get memory: abort, trap, illegal instruction, bad address. */
const SELF_INFLICTED = new Set(['SIGABRT', 'SIGTRAP', 'SIGILL', 'SIGSEGV', 'SIGBUS'])
/** V8's and the C++ library's words for it. */
const OUT_OF_MEMORY = /out of memory|allocation failed|bad_alloc|failed to reserve/i
/** From this part of its limit on, a death without other explanation is one of memory: the kernel may have been quicker than we. */
const NEAR_LIMIT = 0.8

export function verdict(evidence: Evidence): Verdict {
  const { cause, reported, accused, death, alone, repeatable } = evidence
  if (cause !== undefined) return failed(limitFailure(CAUSE_CODES[cause]))
  if (reported !== undefined) return failed(classify(reported))
  if (accused === 'memory') return failed(limitFailure('E_MEMORY'))
  if (accused === 'abuse' || death === undefined) return failed(limitFailure('E_EXECUTOR_LOST'))
  if (alone !== true && repeatable === true) return { kind: 'again', solo: true }
  if (alone === true && ranOutOfMemory(death, evidence)) return failed(limitFailure('E_MEMORY'))
  return failed(limitFailure('E_EXECUTOR_LOST'))
}

/** For the neighbours of a job that is known to have brought the process down. */
export function neighbourVerdict(evidence: Evidence): Verdict {
  const own = evidence.cause !== undefined || evidence.reported !== undefined || evidence.accused !== undefined
  return !own && evidence.repeatable === true ? { kind: 'again', solo: false } : verdict({ ...evidence, alone: false })
}

/** A failure the guest or its host reported, with memory's other shapes folded into E_MEMORY. */
export function classify(failure: JobFailure): JobFailure {
  const noMemory = failure.name === 'RangeError' && /array buffer allocation failed/i.test(failure.message)
  if (noMemory && failure.code === 'E_GUEST') {
    const { name: _, ...position } = failure
    return { ...position, ...limitFailure('E_MEMORY') }
  }
  const hint = failure.hint ?? HINTS[failure.code]
  return hint === undefined ? failure : { ...failure, hint }
}

function ranOutOfMemory(death: HostDeath, { grownBytes = 0, memoryBytes = Infinity }: Evidence): boolean {
  if (death.how !== 'exit') return false
  if (OUT_OF_MEMORY.test(death.stderr)) return true
  // the jail reports its child's signal as 128 + number in its own exit, which the caller has turned back into a name
  return (death.signal !== undefined && SELF_INFLICTED.has(death.signal)) || grownBytes > NEAR_LIMIT * memoryBytes
}

function limitFailure(code: ErrorCode): JobFailure {
  const hint = HINTS[code]
  return { code, message: ERRORS[code].title, ...(hint === undefined ? {} : { hint }) }
}

function failed(error: JobFailure): Verdict {
  return { kind: 'failed', error }
}
