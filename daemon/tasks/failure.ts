/** A thrown error as what a job's caller is told. */
import { type ErrorCode, toMeshError } from '../../protocol/errors.ts'
import type { JobFailure } from '../../protocol/job.ts'

/** The failure an error carries (`details.failure`, set where guest code did not load), else one made of its code and message. */
export function failureOf(error: unknown): JobFailure {
  const { code, message, details, hint } = toMeshError(error)
  const carried = details?.['failure']
  if (isFailure(carried)) return carried
  return { code, message, ...(hint === undefined ? {} : { hint }) }
}

/** What an executor says of itself and not of the job: another node should do it. */
export function isNoFault(code: ErrorCode): boolean {
  return code === 'E_EXECUTOR_LOST' || code === 'E_OVERLOADED' || code === 'E_STOPPING'
}

function isFailure(value: unknown): value is JobFailure {
  return typeof value === 'object' && value !== null && 'code' in value && 'message' in value
}
