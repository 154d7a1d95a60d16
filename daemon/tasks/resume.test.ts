import { afterEach, expect, test, vi } from 'vitest'
import { type TaskNode, taskMesh, taskNode } from '../../test/support/task-node.ts'
import { manyhands } from '../../proto/gen/wire.js'
import { MemoryNetwork } from '../net/memory-net.ts'
import type { Channel } from '../net/mesh-net.ts'
import { RESUME_CHANNEL } from './remote-worker.ts'

const caller = { subject: 'local' }
const open: TaskNode[] = []
afterEach(async () => {
  for (const node of open.splice(0)) await node.close()
})

async function pair(leaseMs: number, network = new MemoryNetwork()): Promise<[TaskNode, TaskNode]> {
  const nodes = await taskMesh(network, ['a', 'b'], { leaseMs })
  open.push(...nodes)
  return nodes as [TaskNode, TaskNode]
}

/** The connection is reset, and made anew. */
async function reset(a: TaskNode, b: TaskNode): Promise<void> {
  await a.net.disconnect(b.id, 'reset')
  await a.net.connect(b.id, [`memory://${b.id}`])
  a.net.setReady(b.id)
  b.net.setReady(a.id)
}

const working = (node: TaskNode, id: string) => expect.poll(() => node.engine.get(id)?.state).toBe('working')

test('F09: a result larger than a frame is handed in after its channel was lost, and is not worked out again', async () => {
  const [a, b] = await pair(5_000)
  const gate = Promise.withResolvers<void>()
  b.executor.gate = gate.promise
  const { id } = await a.engine.map(
    {
      program: { source: 'export default (n) => "x".repeat(n)' },
      inputs: [900_000, 900_000, 900_000],
      pieceSize: 3,
      fresh: true,
      requires: { on: 'other' },
    },
    caller,
  )
  await working(a, id)
  await expect.poll(() => b.executor.runs).toBeGreaterThan(0)
  await reset(a, b)
  gate.resolve()
  expect(await a.engine.ended(id)).toMatchObject({ state: 'completed', progress: { done: 3, failed: 0, retried: 0 } })
  expect(b.executor.runs).toBe(3)
})

test('F09: work goes on for longer than its lease after its channel was lost, and so do its host calls', async () => {
  const [a, b] = await pair(1_500)
  const gate = Promise.withResolvers<void>()
  b.executor.gate = gate.promise
  const served: string[] = []
  const lines: string[] = []
  const task = await a.engine.run(
    {
      program: { source: 'export default async (n, env) => (await env.add(n, 1)) * 2' },
      input: 4,
      requires: { on: 'other' },
    },
    caller,
    {
      hostFunctions: ['add'],
      onHostCall: async (name, args) => {
        served.push(name)
        return JSON.stringify((JSON.parse(args) as number[]).reduce((sum, n) => sum + n))
      },
      onLog: ({ text }) => void lines.push(text),
    },
  )
  await working(a, task.id)
  const bound = performance.now()
  await reset(a, b)
  await expect.poll(() => performance.now() - bound, { timeout: 5_000 }).toBeGreaterThan(2_000)
  gate.resolve()
  expect(await a.engine.ended(task.id)).toMatchObject({ state: 'completed', output: 10, attempts: 1 })
  expect([served, b.executor.runs]).toEqual([['add'], 1])
})

test('P2P-13: nobody takes up work whose lease is not its own', async () => {
  const [a, b] = await pair(1_500)
  b.executor.gate = new Promise(() => undefined)
  const task = await a.engine.run({ program: { source: 'export default 1' }, requires: { on: 'other' } }, caller)
  await working(a, task.id)
  for (const [taskId, epoch] of [
    [task.id, 2],
    ['t0nosuchtask', 1],
  ] as const) {
    const channel = b.net.openChannel(a.id, RESUME_CHANNEL, manyhands.Resume.encode({ taskId, epoch }).finish())
    expect(await channel.ended).toMatchObject({ code: 'E_STALE_LEASE' })
  }
  expect(a.engine.get(task.id)).toMatchObject({ state: 'working', attempts: 1 })
  await a.engine.cancel(task.id)
})

test('F01: a delegator that has not yet taken up its tasks after a restart turns down no work on them', async () => {
  const network = new MemoryNetwork()
  const [a, b] = await pair(5_000, network)
  const gate = Promise.withResolvers<void>()
  b.executor.gate = gate.promise
  const { id } = await a.engine.run(
    { program: { source: 'export default (n) => n + 3' }, input: 4, requires: { on: 'other' } },
    caller,
  )
  await working(a, id)
  await expect.poll(() => b.executor.runs).toBe(1)
  const channels: Channel[] = []
  const { openChannel } = b.net
  vi.spyOn(b.net, 'openChannel').mockImplementation((...args) => {
    const channel = openChannel.apply(b.net, args)
    channels.push(channel)
    return channel
  })
  await a.close()
  const after = taskNode({ network, name: 'a', mesh: () => [after, b], journal: a.journal, leaseMs: 5_000 })
  open.push(after)
  await after.net.connect(b.id, [`memory://${b.id}`])
  after.net.setReady(b.id)
  b.net.setReady(after.id)
  await expect.poll(() => channels.length, { timeout: 5_000 }).toBeGreaterThan(0)
  await channels[0]?.ended
  expect(await after.engine.recover()).toBe(1)
  gate.resolve()
  expect(await after.engine.ended(id)).toMatchObject({ state: 'completed', output: 7 })
  expect(b.executor.runs).toBe(1)
})
