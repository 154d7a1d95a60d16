/** A disk of this host that takes no more, in words. */
import { ManyhandsError } from '../../sdk/src/errors.ts'

const CODES: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EFBIG', 'EIO'])

/** Why a place that the user named cannot be written at all. */
export function unopenable(error: unknown, path: string): ManyhandsError {
  return (
    unwritable(error, path) ??
    new ManyhandsError('E_BAD_REQUEST', `Cannot write ${path}`, {
      hint: 'Check the folder and its rights',
      cause: error,
    })
  )
}

/** A folder or file of the node that this user may not use. Undefined when the error is another one. */
export function notAllowed(error: unknown): ManyhandsError | undefined {
  if (!(error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM')))
    return undefined
  const path = pathOf(error)
  if (path === undefined) return undefined
  return new ManyhandsError('E_FORBIDDEN', `Cannot use ${path}: permission denied`, {
    hint: 'Check whose it is and its rights, or name a folder for all of the node with MANYHANDS_HOME',
    cause: error,
  })
}

function pathOf(error: unknown): string | undefined {
  return error instanceof Error && 'path' in error && typeof error.path === 'string' ? error.path : undefined
}

/** Undefined when the error is another one. @param path that was written, where it is known */
export function unwritable(error: unknown, path = pathOf(error)): ManyhandsError | undefined {
  if (!(error instanceof Error && 'code' in error && CODES.has(error.code))) return undefined
  // "ENOSPC: no space left on device, write"
  const why = error.message.replace(/^E[A-Z]+: /, '').replace(/, \w+( '.*')?$/s, '')
  return new ManyhandsError('E_STORAGE', `Cannot write ${path ?? 'a file'}: ${why}`, {
    hint: 'Free space there, or name another place',
    cause: error,
  })
}
