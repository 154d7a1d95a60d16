/** Who moved what, and whether all of it holds: the records of an artifact, read back and checked. */
import type { AuditPage, RecordView, VerifyView } from '../../../protocol/api.ts'
import { artifactId } from '../../../protocol/artifact/genesis.ts'
import { openRecord, type SealedRecord } from '../../../protocol/artifact/record.ts'
import { toMeshError } from '../../../protocol/errors.ts'
import { runGit } from '../store/git-process.ts'
import type { OpenStore } from '../store/journal-store.ts'

/** Records of one writer, newest first. @param after sequence before which the page begins */
export async function auditPage(
  store: OpenStore,
  id: string,
  options: { readonly writer?: string; readonly limit?: number; readonly after?: string },
): Promise<AuditPage> {
  const { limit = 50, writer = store.require(id).owner } = options
  const head = store.heads(id).get(writer)
  if (head === undefined) return { records: [] }
  const given = Number(options.after ?? head.sequence + 1)
  const before = Number.isSafeInteger(given) ? Math.min(given, head.sequence + 1) : head.sequence + 1
  const from = Math.max(0, before - 1 - limit)
  const texts = await store.envelopes(id, writer, from, before - 1 - from)
  const records = texts.map((text) => viewOf(openRecord(text))).reverse()
  return from === 0 ? { records } : { records, next: String(from + 1) }
}

function viewOf({ record, digest }: SealedRecord): RecordView {
  const { writer, sequence, moves, by, at } = record
  const attribution = Object.fromEntries(Object.entries(by).filter(([, value]) => value !== undefined))
  return { writer, sequence, digest, moves, by: attribution, at: new Date(at).toISOString() }
}

const PAGE = 500
const MAX_FAULTS = 100
const FSCK_MS = 10 * 60_000

/**
 * Reads every record of every writer and checks signature, chain, genesis and refs, and that the repository holds every object they name. A plain clone that
 * fetched refs/manyhands/* can do the same: nothing here needs the journal but the list of writers.
 */
export async function verifyArtifact(store: OpenStore, id: string, signal: AbortSignal): Promise<VerifyView> {
  const { owner, frozen } = store.require(id)
  const faults: string[] = frozen.map(
    (writer) => `${writer} signed two different records under one number: its refs are frozen`,
  )
  const writers: { writer: string; sequence: number; records: number }[] = []
  for (const [writer, head] of store.heads(id)) {
    let records = 0
    let last: SealedRecord | undefined
    try {
      for (;;) {
        signal.throwIfAborted()
        const texts = await store.envelopes(id, writer, records, PAGE)
        for (const text of texts) {
          const sealed = openRecord(text)
          const fault = linkFault(sealed, last, { id, owner, writer })
          if (fault !== undefined) faults.push(`record ${records + 1} of ${writer}: ${fault}`)
          last = sealed
          records++
        }
        if (texts.length < PAGE) break
      }
      if (last?.digest !== head.digest)
        faults.push(`the newest record of ${writer} is not the one that was acknowledged`)
    } catch (error) {
      if (signal.aborted) throw error
      faults.push(`record ${records + 1} of ${writer}: ${toMeshError(error).message}`)
    }
    writers.push({ writer, sequence: head.sequence, records })
  }
  const repository = await store.repository(id)
  const fsck = await runGit({
    args: ['fsck', '--full', '--no-dangling', '--no-progress', '--connectivity-only'],
    repository,
    foreign: true,
    limits: { wallMs: FSCK_MS },
    signal,
  })
  if (fsck.code !== 0)
    faults.push(`the repository lacks objects or holds damaged ones: ${fsck.stderr.split('\n')[0] ?? ''}`)
  return { valid: faults.length === 0, faults: faults.slice(0, MAX_FAULTS), owner, writers }
}

function linkFault(
  { record }: SealedRecord,
  last: SealedRecord | undefined,
  of: { readonly id: string; readonly owner: string; readonly writer: string },
): string | undefined {
  if (record.artifact !== of.id) return 'it is of another artifact'
  if (record.writer !== of.writer) return 'it is of another writer'
  if (record.sequence !== (last?.record.sequence ?? 0) + 1) return 'its number does not follow the one before'
  if (record.previous !== (last?.digest ?? null)) return 'it does not name the one before'
  if (last !== undefined && record.epoch < last.record.epoch) return 'its epoch is lower than the one before'
  if (of.writer !== of.owner || record.sequence > 1) return undefined
  if (record.genesis === undefined || artifactId(record.genesis) !== of.id)
    return 'it is not the birth of this artifact'
  return undefined
}
