import { MeshError } from '../../protocol/errors.ts'

const RESTORE =
  'Keep the folder as it is and restore the journal together with its mark from a backup, or begin again with a new identity'

/** A hole or damage. @param sequence first record that is missing or damaged; absent when the store cannot tell */
export function gapError(what: string, sequence?: number, cause?: unknown): MeshError {
  const where = sequence === undefined ? '' : `, first at record ${sequence}`
  return new MeshError('E_JOURNAL_GAP', `Cannot trust the journal: ${what}${where}`, {
    hint: RESTORE,
    cause,
    ...(sequence === undefined ? {} : { details: { sequence } }),
  })
}

export function lostError(what: string, cause?: unknown): MeshError {
  return new MeshError('E_JOURNAL_LOST', `Cannot open the journal: ${what}`, { hint: RESTORE, cause })
}

export function rollbackError(what: string, details: { head: number; acknowledged: number }): MeshError {
  return new MeshError('E_JOURNAL_ROLLBACK', `Cannot open the journal: ${what}`, { hint: RESTORE, details })
}

export function versionError(what: string, details?: { sequence: number }): MeshError {
  return new MeshError('E_JOURNAL_VERSION', `Cannot read the journal: ${what}`, {
    hint: 'Run the version of manyhands that wrote it, or a newer one',
    ...(details === undefined ? {} : { details }),
  })
}

export function storageError(what: string, cause?: unknown): MeshError {
  return new MeshError('E_STORAGE', `Cannot write the journal: ${what}`, {
    hint: 'Free space on its disk or repair it; the journal comes back by itself',
    retryAfterMs: 1000,
    cause,
  })
}

/** As `storageError`, at the start of a daemon, which does not try again by itself. */
export function unopenableError(folder: string, why: string, cause: unknown): MeshError {
  return new MeshError('E_STORAGE', `Cannot open the journal in ${folder}: ${why}`, {
    hint: 'Free space on its disk or repair it, then start again',
    cause,
  })
}

export function lockedError(cause?: unknown): MeshError {
  return new MeshError('E_JOURNAL_LOCKED', 'Cannot open the journal: another process uses it', {
    hint: 'Stop the other daemon of this home first',
    cause,
  })
}

export function closedError(): MeshError {
  return new MeshError('E_STOPPING', 'Cannot use the journal: it is closed')
}
