/**
 * Coming back after an I/O error, without a restart of the process.
 *
 * A failed sync says nothing about what is on disk, and a later sync that succeeds proves nothing about the earlier one, so the old
 * handle is never written to again. Each attempt, with growing pauses:
 *
 *   1. wait until the disk takes and syncs data and has room to open the store; the old handle answers reads meanwhile
 *   2. note what the rows of the rejected batch were before it (the old handle does not show a batch whose write failed), close the old handle
 *   3. open the store anew: LevelDB copies what it finds in its log into a synced table, so what is read from here on is on disk
 *   4. verify everything; all that was acknowledged must be there
 *   5. if the rejected batch is there too, take it out again: one synced batch deletes its block and puts its rows back. That batch is
 *      written in any case, as proof that the store takes data
 *   6. write the mark
 *
 * So after a recovery a rejected append does not exist. If the process ends between the rejection and step 5, the next start finds the
 * batch as it would after a crash between sync and answer: as an unacknowledged record that happened. Callers name their
 * work by keys of their own (idempotency keys), so trying again after E_STORAGE is right in both cases.
 *
 * Damage is not an I/O error: when step 3 or 4 finds any, the attempts end, nothing is acknowledged and `health()` says why, until the
 * operator restores the journal.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { MeshError } from '../../protocol/errors.ts'
import { failpoint } from '../failpoint.ts'
import { gapError, storageError } from './errors.ts'
import { probeDisk } from './files.ts'
import { LevelStore, type StoreOp } from './level-store.ts'
import { type Mark, MarkWriter, readMark } from './mark.ts'
import { identityOp, type StorePlace, verifyStore } from './open-store.ts'
import type { ChainPoint } from './record.ts'
import { blockKey } from './store-keys.ts'

/** A batch that was rejected because its write failed; it may be on disk nevertheless, whole */
export interface RefusedBatch {
  readonly first: number
  readonly head: ChainPoint
  /** Store keys of the rows it wrote */
  readonly rows: readonly Uint8Array[]
}

export interface RecoveryInput {
  readonly place: StorePlace
  readonly types: ReadonlySet<string>
  /** The handle that failed; closed by the recovery */
  readonly store: LevelStore
  readonly mark: Mark
  /** What must be in the store */
  readonly acknowledged: ChainPoint
  readonly refused: RefusedBatch | undefined
  readonly pauseMs: { readonly first: number; readonly last: number }
  readonly signal: AbortSignal
  /** Told why an attempt failed */
  readonly onReason: (reason: string) => void
}

export interface Recovered {
  readonly store: LevelStore
  readonly mark: Mark
  /** What lies before the oldest kept record */
  readonly base: ChainPoint
  readonly writer: MarkWriter
}

/** Tries until the journal works again. @returns undefined when `signal` ended it or the store is damaged */
export async function recover(input: RecoveryInput): Promise<Recovered | undefined> {
  let undo: StoreOp[] | undefined
  for (let wait = input.pauseMs.first; ; wait = Math.min(wait * 2, input.pauseMs.last)) {
    try {
      await pause(wait, undefined, { signal: input.signal })
    } catch {
      return undefined
    }
    try {
      await probeDisk(input.place.folder)
      if (undo === undefined) {
        undo = undoOf(input.store, input.refused)
        await input.store.close()
      }
      return await reopen(input, undo)
    } catch (error) {
      input.onReason(reasonOf(error))
      if (isDamage(error)) return undefined
    }
  }
}

/** What puts the rows of a rejected batch back and removes its block. */
function undoOf(store: LevelStore, refused: RefusedBatch | undefined): StoreOp[] {
  if (refused === undefined) return []
  const block = blockKey(refused.first)
  if (store.get(block) !== undefined) throw gapError('the store shows a batch whose write failed', refused.first)
  const rows = refused.rows.map((key): StoreOp => {
    const value = store.get(key)
    return value === undefined ? { type: 'del', key } : { type: 'put', key, value }
  })
  return [{ type: 'del', key: block }, ...rows]
}

async function reopen(input: RecoveryInput, undo: readonly StoreOp[]): Promise<Recovered> {
  const { place, acknowledged, refused } = input
  const store = await LevelStore.open(place.folder, { create: false })
  try {
    const { base, head: found } = await verifyStore(store, input.mark.storeId, acknowledged, input.types)
    const ops: StoreOp[] = [identityOp(input.mark.storeId)]
    if (found.sequence > acknowledged.sequence) {
      if (refused === undefined || Buffer.compare(found.hash, refused.head.hash) !== 0) {
        throw gapError('records are there that were never written', acknowledged.sequence + 1)
      }
      failpoint('journal.recover.before-undo')
      ops.push(...undo)
    }
    await store.write(ops)
    const mark = await readMark(place.markFile)
    if (mark === undefined) throw storageError('its mark is missing')
    const writer = await MarkWriter.open(place.markFile, mark)
    await writer.write(acknowledged).catch(async (error: unknown) => {
      await writer.close()
      throw error
    })
    return { store, mark, base, writer }
  } catch (error) {
    await store.close()
    throw error
  }
}

const DAMAGE: ReadonlySet<string> = new Set([
  'E_JOURNAL_GAP',
  'E_JOURNAL_LOST',
  'E_JOURNAL_ROLLBACK',
  'E_JOURNAL_VERSION',
])

function isDamage(error: unknown): error is MeshError {
  return error instanceof MeshError && DAMAGE.has(error.code)
}

function reasonOf(error: unknown): string {
  if (isDamage(error)) return error.message
  return systemReason(error instanceof MeshError ? error.cause : error) ?? 'the store cannot be opened'
}

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'its disk is full',
  EDQUOT: 'its disk quota is used up',
  EIO: 'its disk reports an I/O error',
  EROFS: 'its disk is read-only',
  EACCES: 'its files may not be used',
  EMFILE: 'too many files are open',
}

/** What a failing disk said, in words without paths; undefined when `error` is not from the system. LevelDB gives the text of errno only. */
export function systemReason(error: unknown): string | undefined {
  if (!(error instanceof Error) || error instanceof MeshError) return undefined
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (REASONS[code] !== undefined) return REASONS[code]
  if (/No space left/.test(error.message)) return REASONS.ENOSPC
  if (/quota exceeded/i.test(error.message)) return REASONS.EDQUOT
  if (/Input\/output error/.test(error.message)) return REASONS.EIO
  if (/Read-only file system/.test(error.message)) return REASONS.EROFS
  if (/Permission denied/.test(error.message)) return REASONS.EACCES
  return code.startsWith('E') ? 'its files cannot be used' : undefined
}
