/** Rows that outlive the task they are of, for a while: idempotency keys, and the epochs of what was done for peers. */
import { manyhands } from '../../proto/gen/wire.js'
import type { Journal, TableWrite } from '../journal/journal.ts'
import { createdAtOf } from './task-row.ts'

/** A key that comes again this long after its task was made finds that the task is gone; an epoch is refused this long when it comes again. */
const KEPT_MS = 24 * 60 * 60_000
/** Rows looked at, and dropped, by one record. */
const PAGE = 1_000

/** @param now wall clock. It may have jumped since a row was written: one from far ahead is as old as one from far back */
export async function dropOldRows(journal: Journal, now: number): Promise<void> {
  const isOld = (atMs: number): boolean => Math.abs(now - atMs) > KEPT_MS
  await drop(journal, 'tenure', (value) => isOld(manyhands.TenureRow.decode(value).atMs))
  await drop(journal, 'key', (value) => {
    const { task } = manyhands.KeyRow.decode(value)
    return isOld(createdAtOf(task)) && journal.get('task', task) === undefined
  })
}

async function drop(journal: Journal, table: string, isOver: (value: Uint8Array) => boolean): Promise<void> {
  for (let after: string | undefined; ; ) {
    const page = await journal.range(table, after === undefined ? { limit: PAGE } : { after, limit: PAGE })
    after = page.at(-1)?.key
    if (after === undefined) return
    const writes: TableWrite[] = page.filter(({ value }) => isOver(value)).map(({ key }) => ({ table, key }))
    if (writes.length > 0) await journal.append({ type: 'task.dropped', body: Buffer.from(table), writes })
  }
}
