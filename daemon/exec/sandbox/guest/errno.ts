/** What the kernel inside a sandbox answered, as an error of ours. Numbers are those of Linux, the same on x86-64 and arm64 (asm-generic/errno.h). */
import { type ErrorCode, MeshError } from '../../../../protocol/errors.ts'

interface Row {
  readonly code: ErrorCode
  readonly text: string
}

const ROWS: Readonly<Record<number, Row>> = {
  1: { code: 'E_FORBIDDEN', text: 'that is not permitted' },
  2: { code: 'E_NOT_FOUND', text: 'there is no such file or folder' },
  7: { code: 'E_TOO_LARGE', text: 'the arguments are too long' },
  8: { code: 'E_BAD_REQUEST', text: 'that is no program for this machine' },
  11: { code: 'E_PIDS', text: 'the sandbox has no process left' },
  12: { code: 'E_MEMORY', text: 'the sandbox has no memory left' },
  13: { code: 'E_FORBIDDEN', text: 'the user of the sandbox may not do that' },
  16: { code: 'E_CONFLICT', text: 'it is in use' },
  17: { code: 'E_CONFLICT', text: 'it exists already' },
  18: { code: 'E_BAD_REQUEST', text: 'the two places are on different file systems' },
  20: { code: 'E_NOT_FOUND', text: 'a part of the path is not a folder, or there is no such folder' },
  21: { code: 'E_BAD_REQUEST', text: 'it is a folder' },
  22: { code: 'E_BAD_REQUEST', text: 'it is not the kind of file, or not the kind of path, that is wanted' },
  23: { code: 'E_OVERLOADED', text: 'too many files are open' },
  24: { code: 'E_OVERLOADED', text: 'too many files are open' },
  27: { code: 'E_TOO_LARGE', text: 'the file is too large' },
  28: { code: 'E_DISK', text: 'no space is left' },
  30: { code: 'E_FORBIDDEN', text: 'that part of the file system is read-only' },
  36: { code: 'E_BAD_REQUEST', text: 'the name is too long' },
  39: { code: 'E_CONFLICT', text: 'the folder is not empty' },
  40: { code: 'E_SYMLINK', text: 'a symbolic link is in the way' },
  98: { code: 'E_CONFLICT', text: 'another program listens there' },
  111: { code: 'E_UNREACHABLE', text: 'nothing listens there' },
  122: { code: 'E_DISK', text: 'no space is left' },
}

/** @param doing the action that failed, e.g. 'Cannot read "/a"' */
export function errnoError(number: number, doing: string): MeshError {
  const row = ROWS[number]
  if (row === undefined) return new MeshError('E_CONFLICT', `${doing}: the sandbox answered with error ${number}`)
  const hint = row.code === 'E_SYMLINK' ? { hint: 'Name the file by its real path' } : {}
  return new MeshError(row.code, `${doing}: ${row.text}`, hint)
}
