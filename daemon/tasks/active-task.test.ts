import { expect, test } from 'vitest'
import { taskNode } from '../../test/support/task-node.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { NewRecord } from '../journal/journal.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import { TASK_ENGINE_RECORDS } from './records.ts'

/** Holds smaller records than the real one, so that a test need not make 16 MiB. */
class SmallJournal extends MemoryJournal {
  override append(record: NewRecord): Promise<number> {
    if (record.body.length <= 50_000) return super.append(record)
    return Promise.reject(new MeshError('E_TOO_LARGE', 'Too large for a record'))
  }
}

test('an end that is larger than a record may be is stored without its output', async () => {
  const journal = new SmallJournal({ types: TASK_ENGINE_RECORDS })
  const node = taskNode({ network: new MemoryNetwork(), name: 'a', mesh: () => [node], journal })
  const program = { source: 'export default () => "x".repeat(100_000)' }
  const { id } = await node.engine.run({ program }, { subject: 'local' })
  await expect(node.engine.ended(id)).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
  await expect.poll(() => node.engine.get(id)?.state, { timeout: 5_000 }).toBe('failed')
  expect(await node.engine.ended(id)).toMatchObject({ error: { code: 'E_OUTPUT' } })
  await node.close()
})
