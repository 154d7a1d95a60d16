/** A disk of this host that takes no more, in words. */
import { ManyhandsError } from '../../sdk/src/errors.ts'

const CODES: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EFBIG', 'EIO'])

/** Undefined when the error is another one. @param path that was written, where it is known */
export function unwritable(error: unknown, path?: string): ManyhandsError | undefined {
  if (!(error instanceof Error && 'code' in error && CODES.has(error.code))) return undefined
  // "ENOSPC: no space left on device, write"
  const why = error.message.replace(/^E[A-Z]+: /, '').replace(/, \w+( '.*')?$/s, '')
  return new ManyhandsError('E_STORAGE', `Cannot write ${path ?? 'a file'}: ${why}`, {
    hint: 'Free space there, or name another place',
    cause: error,
  })
}
