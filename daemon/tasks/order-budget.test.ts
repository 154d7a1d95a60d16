import { afterEach, expect, test } from 'vitest'
import { type TaskNode, taskMesh } from '../../test/support/task-node.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import type { HandEvents } from './hand-events.ts'

const open: TaskNode[] = []
afterEach(async () => {
  for (const node of open.splice(0)) await node.close()
})

/** Nodes a and b; with the first order, b also does `extra`, and later it is honest. */
async function meshWith(extra: (events: HandEvents) => void): Promise<TaskNode> {
  const nodes = await taskMesh(new MemoryNetwork(), ['a', 'b'], { leaseMs: 300 })
  open.push(...nodes)
  const [a, b] = nodes
  if (a === undefined || b === undefined) throw new Error('no nodes')
  const take = b.hands.take.bind(b.hands)
  let isHonest = false
  b.hands.take = (order, events) => {
    if (!isHonest) extra(events)
    isHonest = true
    return take(order, events)
  }
  return a
}

const limits = { logBytes: 1000, hostCalls: 3, hostCallBytes: 1000 }
const request = { program: { source: 'export default (n) => n * 2' }, input: 2, limits, requires: { on: 'other' } }
const signal = new AbortController().signal

test('a node that makes more host calls than the task may make loses the task, and the caller serves no more than that', async () => {
  const a = await meshWith((events) => {
    for (let call = 0; call < 50; call++) events.onHostCall('f', '[]', signal).catch(() => undefined)
  })
  let served = 0
  const onHostCall = async (): Promise<string> => {
    served += 1
    return 'null'
  }
  const task = await a.engine.run(request, { subject: 'local' }, { hostFunctions: ['f'], onHostCall })
  expect(await a.engine.ended(task.id)).toMatchObject({ state: 'completed', output: 4, attempts: 2 })
  expect(served).toBe(limits.hostCalls)
})

test('a node that sends more console output than the task may have loses the task, and the caller gets no more than that', async () => {
  const a = await meshWith((events) => {
    for (let line = 0; line < 5000; line++) events.onLog({ level: 'log', text: '' }, 0)
  })
  let lines = 0
  const task = await a.engine.run(request, { subject: 'local' }, { onLog: () => void (lines += 1) })
  expect(await a.engine.ended(task.id)).toMatchObject({ state: 'completed', output: 4, attempts: 2 })
  expect(lines).toBe(limits.logBytes)
})
