import { expect, test } from 'vitest'
import { DEFAULT_LIMITS } from '../../test/support/task-node.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { TASK_ENGINE_RECORDS } from './records.ts'
import { Retention } from './retention.ts'
import type { MapState, TaskRow } from './task-row.ts'
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
