/** Finding single records in the blocks of a store. */
import { gapError } from './errors.ts'
import type { JournalRecord } from './journal.ts'
import type { LevelStore, StoreOp } from './level-store.ts'
import { type DecodedRecord, decodeRecord } from './record.ts'
import { blockKey } from './store-keys.ts'

export interface RecordRange {
  /** First one wanted; not before the oldest that is kept */
  readonly from: number
  /** Last one that may be told */
  readonly to: number
  readonly limit: number
}

/** @throws MeshError E_JOURNAL_GAP naming the first that is damaged, E_STORAGE */
export async function readRecords(store: LevelStore, { from, to, limit }: RecordRange): Promise<JournalRecord[]> {
  const records: JournalRecord[] = []
  const start = (await store.blockAt(from)) ?? from
  for await (const { first, block } of store.blocks(start)) {
    for (const record of recordsOf(first, block)) {
      if (record.sequence > to || records.length === limit) return records
      const { sequence, type, body, hash } = record
      if (sequence >= from) records.push({ sequence, type, body, hash })
    }
  }
  return records
}

/**
 * What a chain that begins after record `last` needs: its hash, and what keeps the rest of its block when it is not the last one in it.
 * @throws MeshError E_JOURNAL_GAP, E_STORAGE
 */
export async function cutAfter(store: LevelStore, last: number): Promise<{ hash: Uint8Array; ops: StoreOp[] }> {
  for await (const { first, block } of store.blocks((await store.blockAt(last)) ?? last)) {
    for (const { sequence, hash, end } of recordsOf(first, block)) {
      if (sequence !== last) continue
      const ops: StoreOp[] =
        end === block.length ? [] : [{ type: 'put', key: blockKey(last + 1), value: block.subarray(end) }]
      return { hash: Uint8Array.from(hash), ops }
    }
    break
  }
  throw gapError('a record is missing', last)
}

function* recordsOf(first: number, block: Uint8Array): Generator<DecodedRecord> {
  for (let at = 0, sequence = first; at < block.length; sequence++) {
    const record = decodeRecord(block, at)
    if (record.kind !== 'record' || record.sequence !== sequence) throw gapError('a record is damaged', sequence)
    yield record
    at = record.end
  }
}
