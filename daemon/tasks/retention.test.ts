import { expect, test } from 'vitest'
import { DEFAULT_LIMITS } from '../../test/support/task-node.ts'
import { manyhands } from '../../proto/gen/wire.js'
import type { RangeOptions } from '../journal/journal.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { dropOldRows } from './old-rows.ts'
import { TASK_ENGINE_RECORDS } from './records.ts'
import { Retention } from './retention.ts'
import { encodeRow, type MapState, newTaskId, type TaskRow } from './task-row.ts'
import { TaskStore } from './task-store.ts'

const NO_RESULT = {
  ...{ epoch: 1, holder: undefined, leaseMs: 1, deadlineMs: undefined, attached: false, output: undefined },
  ...{ error: undefined, usage: undefined, note: undefined, rounds: [], receipts: [] },
}

function endedMap(id: string, map: MapState): TaskRow {
  const what = { kind: 'map', state: 'completed', name: undefined, subject: 'local', program: 'ab' } as const
  return { id, ...what, createdAtMs: 1, endedAtMs: 2, ...NO_RESULT, map }
}

test('a map of more pieces than one record may remove is dropped whole, and so are those after it', async () => {
  const journal = new MemoryJournal({ types: TASK_ENGINE_RECORDS })
  const store = new TaskStore(journal, DEFAULT_LIMITS)
  const retention = new Retention(store, journal, { retainTasks: 0, retainRecords: 1_000 })
  try {
    const map: MapState = { total: 5_000, pieceSize: 1, done: 5_000, failed: 0, retried: 0, byNode: {} }
    for (const id of ['t1', 't2']) {
      const row = endedMap(id, map)
      for (const piece of [0, 2_500, 4_999]) await store.pieceEnded(row, piece, { first: piece })
      await store.ended(row)
    }
    expect(await retention.run()).toBe(2)
    expect(await journal.range('task')).toEqual([])
    expect(await journal.range('piece')).toEqual([])
  } finally {
    retention.close()
  }
})

function endedRun(id: string): TaskRow {
  const what = { kind: 'run', state: 'completed', name: undefined, subject: 'local', program: 'ab' } as const
  return { id, ...what, createdAtMs: 1, endedAtMs: 2, ...NO_RESULT, map: undefined }
}

/** Outputs may be large: tasks are counted and chosen without reading them. */
class NoValues extends MemoryJournal {
  override range(table: string, options?: RangeOptions): Promise<{ key: string; value: Uint8Array }[]> {
    if (table === 'task') throw new Error('reads the tasks with their outputs')
    return super.range(table, options)
  }
}

test('one round drops all that is too much, whatever is still under way before it; that neither goes nor counts', async () => {
  const journal = new NoValues({ types: TASK_ENGINE_RECORDS })
  const store = new TaskStore(journal, DEFAULT_LIMITS)
  const retention = new Retention(store, journal, { retainTasks: 10, retainRecords: 10_000 })
  const id = (n: number): string => `t${n.toString().padStart(5, '0')}`
  try {
    for (let n = 0; n < 700; n++) {
      const writes = [{ table: 'open', key: id(n), value: new Uint8Array(0) }]
      await journal.append({
        type: 'task.submitted',
        body: new Uint8Array(0),
        writes: [...writes, { table: 'task', key: id(n), value: encodeRow({ ...endedRun(id(n)), state: 'working' }) }],
      })
    }
    for (let n = 700; n < 1_500; n++) await store.endedAtOnce(endedRun(id(n)))
    expect(await retention.run()).toBe(790)
    expect(await journal.keys('task')).toEqual([
      ...Array.from({ length: 700 }, (_, n) => id(n)),
      ...Array.from({ length: 10 }, (_, n) => id(1_490 + n)),
    ])
    await store.ended(endedRun(id(0)))
    expect(await retention.run()).toBe(1)
    expect(store.get(id(0))).toBeUndefined()
    expect(await retention.run()).toBe(0)
  } finally {
    retention.close()
  }
})

test('idempotency keys of dropped tasks, and epochs accepted from peers, go when they are a day old', async () => {
  const now = Date.parse('2026-11-22T12:00:00Z')
  const hours = (count: number): number => now + count * 60 * 60_000
  const journal = new MemoryJournal({ types: TASK_ENGINE_RECORDS })
  const store = new TaskStore(journal, DEFAULT_LIMITS)
  const ages = { old: hours(-25), young: hours(-23), ahead: hours(25), kept: hours(-25) }
  for (const [name, atMs] of Object.entries(ages)) {
    const id = newTaskId(atMs)
    await store.endedAtOnce(endedRun(id), { subject: 'local', key: name, request: 'ab' })
    if (name !== 'kept') await store.drop(id)
    const value = manyhands.TenureRow.encode({ epoch: 1, atMs }).finish()
    await journal.append({ type: 'tenure.bound', body: value, writes: [{ table: 'tenure', key: name, value }] })
  }
  await dropOldRows(journal, now)
  const left = Object.keys(ages).filter((name) => store.key('local', name) !== undefined)
  expect(left).toEqual(['young', 'kept'])
  expect(await journal.keys('tenure')).toEqual(['young'])
})
