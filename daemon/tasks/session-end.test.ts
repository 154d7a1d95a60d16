import { afterEach, expect, test } from 'vitest'
import { HeldJournal } from '../../test/support/held-journal.ts'
import { ScriptedExecutor } from '../../test/support/scripted-executor.ts'
import { type TaskNode, taskNode } from '../../test/support/task-node.ts'
import type { TaskView } from '../../protocol/api.ts'
import { NO_USAGE } from '../../protocol/job.ts'
import type { ExecutorSession } from '../exec/executor.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import { TASK_ENGINE_RECORDS } from './records.ts'

let node: TaskNode | undefined
afterEach(() => node?.close())

/** Its sessions end when a test says so. */
class EndingExecutor extends ScriptedExecutor {
  readonly end = Promise.withResolvers<Awaited<ExecutorSession['ended']>>()
  override async open(): Promise<ExecutorSession> {
    return { ended: this.end.promise, call: () => undefined, close: () => undefined }
  }
}

test('calls of a session that has ended fail for the reason of its end, also before that is stored', async () => {
  const journal = new HeldJournal(new MemoryJournal({ types: TASK_ENGINE_RECORDS }))
  const executor = new EndingExecutor()
  const only: TaskNode = taskNode({ network: new MemoryNetwork(), name: 'a', mesh: () => [only], journal, executor })
  node = only
  const program = { main: 'main.js', modules: [{ name: 'main.js', type: 'js' as const, source: 'export default 1' }] }
  const failed = new Map<number, string>()
  const done = Promise.withResolvers<TaskView>()
  const opening = only.engine.session(
    { program, hostFunctions: [] },
    { subject: 'local' },
    {
      onReply: () => undefined,
      onCallFailed: (id, { code }) => failed.set(id, code),
      onEnd: (task) => done.resolve(task),
    },
  )
  await expect.poll(() => journal.waiting.length).toBeGreaterThan(0)
  await journal.sync()
  const session = await opening
  session.call(1, '1')
  executor.end.resolve({ error: { code: 'E_DEADLINE', message: 'too long' }, usage: NO_USAGE })
  await expect.poll(() => journal.waiting).toContain('task.ended')
  session.call(2, '2')
  expect(failed.size).toBe(0)
  await journal.sync()
  expect(await done.promise).toMatchObject({ state: 'failed', error: { code: 'E_DEADLINE' } })
  session.call(3, '3')
  expect([...failed]).toEqual([1, 2, 3].map((id) => [id, 'E_DEADLINE']))
})
