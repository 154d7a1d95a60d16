/** A thrown error as what a job's caller is told. */
import { toMeshError } from '../../protocol/errors.ts'
import type { JobFailure } from '../../protocol/job.ts'

/** The failure an error carries (`details.failure`, set where guest code did not load), else one made of its code and message. */
export function failureOf(error: unknown): JobFailure {
  const { code, message, details, hint } = toMeshError(error)
  const carried = details?.['failure']
  if (isFailure(carried)) return carried
  return { code, message, ...(hint === undefined ? {} : { hint }) }
}

function isFailure(value: unknown): value is JobFailure {
  return typeof value === 'object' && value !== null && 'code' in value && 'message' in value
}
