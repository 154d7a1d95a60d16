import { expect, test } from 'vitest'
import { DEFAULT_LIMITS } from '../../../test/support/task-node.ts'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { TASK_ENGINE_RECORDS } from '../../tasks/records.ts'
import { Retention } from '../../tasks/retention.ts'
import type { TaskRow } from '../../tasks/task-row.ts'
import { TaskStore } from '../../tasks/task-store.ts'
import { artifactRowsOf, type FilesRow, pinKey, readFilesRow, TASK_TABLES } from './files-row.ts'

const ENDED: Omit<TaskRow, 'id'> = {
  ...{
    kind: 'run',
    state: 'completed',
    name: undefined,
    subject: 'local',
    program: 'ab',
    createdAtMs: 1,
    endedAtMs: 2,
  },
  ...{ epoch: 1, holder: undefined, leaseMs: 1, deadlineMs: undefined, attached: false, output: '1', error: undefined },
  ...{ usage: undefined, note: undefined, rounds: [], receipts: [], map: undefined },
}

test('RES-05: what a task took, gave and was started by goes with it when it is dropped', async () => {
  const journal = new MemoryJournal({ types: [...TASK_ENGINE_RECORDS, 'task-files.changed'] })
  const store = new TaskStore(journal, DEFAULT_LIMITS)
  const goesWith = (task: string) => artifactRowsOf(journal, task)
  const retention = new Retention(store, journal, { retainTasks: 1, retainRecords: 1_000 }, goesWith)
  try {
    const rows = async (): Promise<number[]> =>
      Promise.all(Object.values(TASK_TABLES).map(async (table) => (await journal.range(table)).length))
    for (const id of ['t1', 't2', 't3']) {
      await store.ended({ ...ENDED, id })
      const pin = pinKey('local', `key of ${id}`)
      const row: FilesRow = { subject: 'local', input: { artifact: 'a', commit: 'c' }, pin }
      await journal.append({
        type: 'task-files.changed',
        body: Buffer.from(id),
        writes: [
          { table: TASK_TABLES.files, key: id, value: Buffer.from(JSON.stringify(row)) },
          { table: TASK_TABLES.open, key: id, value: new Uint8Array(0) },
          { table: TASK_TABLES.pin, key: pin, value: Buffer.from('c') },
          { table: TASK_TABLES.trigger, key: id, value: Buffer.from('{}') },
        ],
      })
    }
    expect(await rows()).toEqual([3, 3, 3, 3])
    expect(await retention.run()).toBe(2)
    expect(await rows()).toEqual([1, 1, 1, 1])
    expect(readFilesRow(journal, 't3')).toMatchObject({ input: { commit: 'c' } })
    expect(artifactRowsOf(journal, 't1')).toEqual([])
  } finally {
    retention.close()
  }
})
