/** Errors as problem+json (RFC 9457): code, sentence and hint of a MeshError; of anything else nothing but that it happened. */
import type { Problem } from '../../protocol/api.ts'
import { ERRORS, isErrorCode, type MeshError, toMeshError } from '../../protocol/errors.ts'
import type { JobFailure } from '../../protocol/job.ts'

/** Where `type` leads: a heading of the project's documents, which every copy has, and no server that may not be there */
const DOCUMENT = 'docs/ERRORS.md'

export function toProblem(thrown: unknown): Problem {
  const error = toMeshError(thrown)
  const { status, title } = ERRORS[error.code]
  const { details, failure } = splitDetails(error)
  return {
    type: `${DOCUMENT}#${error.code.toLowerCase()}`,
    title,
    status,
    detail: error.message,
    code: error.code,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
    ...(details === undefined ? {} : { details }),
    ...(failure === undefined ? {} : { failure }),
  }
}

/** `details.failure` of a MeshError is where in the guest's source it happened: it has a place of its own in a problem. */
function splitDetails(error: MeshError): { details: Problem['details']; failure: JobFailure | undefined } {
  if (error.details === undefined) return { details: undefined, failure: undefined }
  const { failure, ...rest } = error.details
  if (!isJobFailure(failure)) return { details: error.details, failure: undefined }
  return { details: Object.keys(rest).length === 0 ? undefined : rest, failure }
}

function isJobFailure(value: unknown): value is JobFailure {
  if (typeof value !== 'object' || value === null) return false
  return 'code' in value && isErrorCode(value.code) && 'message' in value && typeof value.message === 'string'
}
