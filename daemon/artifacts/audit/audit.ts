/** Who moved what, and whether all of it holds: the records of an artifact, read back and checked. */
import type { AuditPage, RecordView, VerifyView } from '../../../protocol/api.ts'
import { openRecord, type SealedRecord } from '../../../protocol/artifact/record.ts'
import { verifyRepository } from '../records/verify.ts'
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

/**
 * Reads every record of every writer and checks signature, chain, genesis, refs and objects, from the repository alone, as a plain clone could; and that it holds
 * the records which were acknowledged here, which only the journal knows.
 */
export async function verifyArtifact(store: OpenStore, id: string, signal: AbortSignal): Promise<VerifyView> {
  const { owner } = store.require(id)
  const { faults, writers } = await verifyRepository(await store.repository(id), { artifact: id, signal })
  const found = new Map(writers.map(({ writer, sequence }) => [writer, sequence]))
  const behind = [...store.heads(id)].flatMap(([writer, { sequence }]) => {
    const at = found.get(writer) ?? 0
    return at >= sequence ? [] : [`record ${sequence} of ${writer} was acknowledged, and the repository ends at ${at}`]
  })
  const all = [...faults, ...behind]
  const shown = writers.map(({ writer, sequence, records }) => ({ writer, sequence, records }))
  return { valid: all.length === 0, faults: all, owner, writers: shown }
}
