/** Failures of the engine as errors of ours. What the engine says may name host paths: it is kept as cause, for the log alone. */
import { type ErrorCode, MeshError } from '../../../../protocol/errors.ts'

const LOST = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'EACCES',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EHOSTUNREACH',
])

/** @param action e.g. "start the sandbox" */
export function engineError(action: string, error: unknown): MeshError {
  if (error instanceof MeshError) return error
  const status = fieldOf(error, 'statusCode')
  if (status === 404) return make('E_NOT_FOUND', action, 'the engine does not know it', error)
  if (status === 409 || status === 304) return make('E_CONFLICT', action, 'its state does not allow that', error)
  if (typeof status === 'number') return make('E_ENGINE', action, `the engine answered ${status}`, error)
  const name = fieldOf(error, 'name')
  if (name === 'TimeoutError' || name === 'AbortError')
    return make('E_ENGINE_LOST', action, 'the engine did not answer in time', error)
  const code = fieldOf(error, 'code')
  if (LOST.has(String(code)) || /socket hang up|aborted/.test(error instanceof Error ? error.message : ''))
    return make('E_ENGINE_LOST', action, 'the engine is gone', error)
  return make('E_ENGINE', action, 'the engine failed', error)
}

function make(code: ErrorCode, action: string, what: string, cause: unknown): MeshError {
  return new MeshError(code, `Cannot ${action}: ${what}`, { cause })
}

/** What the engine itself said, for decisions on known texts and for the log. */
export function engineText(error: unknown): string {
  const cause = error instanceof MeshError ? error.cause : error
  return cause instanceof Error ? cause.message : ''
}

/** The engine did not answer in time, whatever else it does meanwhile. */
export function isLate(error: unknown): boolean {
  return error instanceof MeshError && error.code === 'E_ENGINE_LOST' && fieldOf(error.cause, 'name') === 'TimeoutError'
}

function fieldOf(error: unknown, name: string): unknown {
  return typeof error === 'object' && error !== null ? Reflect.get(error, name) : undefined
}
