import { expect, test } from 'vitest'
import { DEFAULT_LIMITS } from '../../test/support/task-node.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { TASK_ENGINE_RECORDS } from './records.ts'
import type { TaskRow } from './task-row.ts'
import { TaskStore } from './task-store.ts'

const MIB = 1 << 20

/** Counts the bytes of tasks that are read. */
class Counting extends MemoryJournal {
  bytes = 0

  override get(table: string, key: string): Uint8Array | undefined {
    const value = super.get(table, key)
    if (table === 'task') this.bytes += value?.byteLength ?? 0
    return value
  }
}

function ended(id: string, output: string): TaskRow {
  return {
    ...{ id, kind: 'run', state: 'completed', name: undefined, subject: 'local', program: 'ab', createdAtMs: 1 },
    ...{ endedAtMs: 2, epoch: 1, holder: undefined, leaseMs: 1, deadlineMs: undefined, attached: false, output },
    ...{ error: undefined, usage: undefined, note: undefined, rounds: [], receipts: [], map: undefined },
  }
}

const idOf = (n: number): string => `t${n.toString().padStart(5, '0')}`

async function storeOf(count: number, outputBytes: number): Promise<{ journal: Counting; store: TaskStore }> {
  const journal = new Counting({ types: TASK_ENGINE_RECORDS })
  const store = new TaskStore(journal, DEFAULT_LIMITS)
  const output = JSON.stringify('x'.repeat(outputBytes))
  for (let n = 0; n < count; n++) await store.endedAtOnce(ended(idOf(n), output))
  journal.bytes = 0
  return { journal, store }
}

test('a page reads the outputs of the tasks in it, and of no others', async () => {
  const { journal, store } = await storeOf(20, MIB)
  const { rows, next } = await store.page({ limit: 2 })
  expect([rows.map(({ id }) => id), next]).toEqual([[idOf(19), idOf(18)], idOf(18)])
  expect(journal.bytes).toBeLessThan(3 * MIB)
})

test('a page is short rather than large, filtered or not, and the next goes on where it ended', async () => {
  const { journal, store } = await storeOf(40, MIB)
  const first = await store.page({ limit: 500 })
  expect(journal.bytes).toBeLessThan(34 * MIB)
  const second = await store.page({ limit: 500, ...(first.next === undefined ? {} : { after: first.next }) })
  expect([...first.rows, ...second.rows].map(({ id }) => id)).toEqual(
    Array.from({ length: 40 }, (_, n) => idOf(39 - n)),
  )
  expect(second.next).toBeUndefined()
  journal.bytes = 0
  const failed = await store.page({ limit: 500, state: 'failed' })
  expect([failed.rows, failed.next]).toEqual([[], first.next])
  expect(journal.bytes).toBeLessThan(34 * MIB)
})
