/** When a task becomes durable, and what waits for that: each test is one place at which the process may end. */
import { afterEach, expect, test } from 'vitest'
import { HeldJournal } from '../../test/support/held-journal.ts'
import { type TaskNode, taskMesh, taskNode } from '../../test/support/task-node.ts'
import { MeshError } from '../../protocol/errors.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import { TASK_ENGINE_RECORDS } from './records.ts'

const keyed = { subject: 'local', key: 'k' }
const patient = { isPatient: true }
const double = { program: { source: 'export default (n) => n * 2' }, input: 4 }
const open: TaskNode[] = []

afterEach(async () => {
  for (const node of open.splice(0)) await node.close()
})

async function held(...peers: string[]): Promise<{ nodes: TaskNode[]; journal: HeldJournal; node: TaskNode }> {
  const journal = new HeldJournal(new MemoryJournal({ types: TASK_ENGINE_RECORDS }))
  const network = new MemoryNetwork()
  const nodes: TaskNode[] = []
  const node = taskNode({ network, name: 'a', mesh: () => nodes, journal, leaseMs: 500 })
  nodes.push(node, ...(await taskMesh(network, peers, { mesh: () => nodes })))
  open.push(...nodes)
  for (const peer of nodes.slice(1)) {
    await node.net.connect(peer.id, [`memory://${peer.id}`])
    node.net.setReady(peer.id)
    peer.net.setReady(node.id)
  }
  return { nodes, journal, node }
}

/** The process ends and another begins with what was on disk. */
async function restart(node: TaskNode, journal: HeldJournal): Promise<TaskNode> {
  await node.close()
  const network = new MemoryNetwork()
  const after = taskNode({ network, name: 'a', mesh: () => [after], journal: journal.disk, leaseMs: 500 })
  open.push(after)
  return after
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(1)
}

const runsOf = (nodes: readonly TaskNode[]): number => nodes.reduce((sum, { executor }) => sum + executor.runs, 0)
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

test('a run that ends at once is written once, by its end, and nobody hears of it before', async () => {
  const { node, journal } = await held()
  const heard: string[] = []
  node.engine.onChange(({ state }) => heard.push(state))
  let answered = false
  const answer = node.engine.run(double, keyed, patient).finally(() => (answered = true))
  await until(() => journal.waiting.length > 0)
  await pause(30)
  expect(journal.waiting).toEqual(['receipt.issued', 'task.ended'])
  expect([heard, answered, (await node.engine.list({ limit: 9 })).tasks]).toEqual([[], false, []])
  await journal.sync()
  const { id } = await answer
  expect(await node.engine.ended(id)).toMatchObject({ state: 'completed', output: 8 })
  expect(heard).toEqual(['completed'])
  const after = await restart(node, journal)
  expect(await after.engine.recover()).toBe(0)
  expect(await after.engine.run(double, keyed, patient)).toMatchObject({ id, output: 8 })
  expect(after.executor.runs).toBe(0)
})

test('F01: when the process ends before that, nothing is left of it, and the next try with its key is one task', async () => {
  const { node, journal } = await held()
  void node.engine.run(double, keyed, patient).catch(() => undefined)
  await until(() => journal.waiting.includes('task.ended'))
  const after = await restart(node, journal)
  expect(await after.engine.recover()).toBe(0)
  const { id } = await after.engine.run(double, keyed, patient)
  expect(await after.engine.ended(id)).toMatchObject({ state: 'completed', output: 8 })
  expect((await after.engine.list({ limit: 9 })).tasks).toMatchObject([{ id }])
})

test('F01: a run that takes longer is written while it runs, and goes on after a restart', async () => {
  const { node, journal } = await held()
  node.executor.gate = new Promise(() => undefined)
  const answer = node.engine.run(double, keyed, patient)
  await until(() => journal.waiting.length > 0)
  expect(journal.waiting).toEqual(['task.submitted'])
  await journal.sync()
  const { id } = await answer
  const after = await restart(node, journal)
  expect(await after.engine.recover()).toBe(1)
  // It was here, and ended with the process: no lease is waited out
  expect(await after.engine.ended(id)).toMatchObject({ output: 8, lease: { node: node.id, epoch: 2 } })
})

test('an end that is not on disk is shown to nobody: not by its id, nor in a list', async () => {
  const { node, journal } = await held()
  const gate = Promise.withResolvers<void>()
  node.executor.gate = gate.promise
  const answer = node.engine.run(double, keyed)
  await until(() => journal.waiting.length > 0)
  await journal.sync()
  const { id } = await answer
  gate.resolve()
  await until(() => journal.waiting.includes('task.ended'))
  const shown = [node.engine.get(id), ...(await node.engine.list({ limit: 9 })).tasks]
  expect(shown.map((task) => [task?.state, task?.output, task?.endedAt])).toEqual([
    ['working', undefined, undefined],
    ['working', undefined, undefined],
  ])
  await journal.sync()
  expect(await node.engine.ended(id)).toMatchObject({ state: 'completed', output: 8 })
  expect(node.engine.get(id)).toMatchObject({ state: 'completed', output: 8 })
})

test('JRN-13: a host call, which is an effect outside, is made once the task is on disk', async () => {
  const { node, journal } = await held()
  const calls: string[] = []
  const onHostCall = async (name: string): Promise<string> => JSON.stringify(calls.push(name))
  const request = { program: { source: 'export default async (n, env) => env.charge()' }, input: 1 }
  const answer = node.engine.run(request, keyed, { ...patient, hostFunctions: ['charge'], onHostCall })
  await until(() => journal.waiting.length > 0)
  await pause(30)
  expect([journal.waiting, calls]).toEqual([['task.submitted'], []])
  await journal.sync()
  await until(() => journal.waiting.length === 2)
  await journal.sync()
  expect(await node.engine.ended((await answer).id)).toMatchObject({ state: 'completed', output: 1 })
  expect(calls).toEqual(['charge'])
})

test('F15: a run that cannot be written at its end is refused, and never was', async () => {
  const { node, journal } = await held()
  const answer = node.engine.run(double, keyed, patient)
  await until(() => journal.waiting.includes('task.ended'))
  journal.refuse(new MeshError('E_STORAGE', 'The disk is full'))
  await expect(answer).rejects.toMatchObject({ code: 'E_STORAGE' })
  await pause(700)
  expect([journal.waiting, (await node.engine.list({ limit: 9 })).tasks]).toEqual([[], []])
  const again = node.engine.run(double, keyed, patient)
  await until(() => journal.waiting.includes('task.ended'))
  await journal.sync()
  expect(await again).toMatchObject({ state: 'completed', output: 8 })
})

test('D1: a peer gets its bind once a record on disk covers the epoch, and waits for no other', async () => {
  const { node, journal, nodes } = await held('b', 'c')
  const answer = node.engine.run({ ...double, requires: { on: 'other' } }, keyed, patient)
  await until(() => journal.waiting.includes('task.granted'))
  await pause(30)
  expect([journal.waiting, runsOf(nodes)]).toEqual([['task.submitted', 'task.granted'], 0])
  expect(journal.hurried).toEqual(['task.submitted'])
  await journal.sync(1)
  await until(() => journal.waiting.includes('task.ended'))
  expect([journal.waiting, runsOf(nodes)]).toEqual([['task.granted', 'task.ended'], 1])
  await journal.sync()
  expect(await node.engine.ended((await answer).id)).toMatchObject({ output: 8, lease: { epoch: 1 } })
})

test('D1: the only able peer gets its bind unasked, once the one record that names it is on disk', async () => {
  const { node, journal, nodes } = await held('b')
  const answer = node.engine.run({ ...double, requires: { on: 'other' } }, keyed, patient)
  await until(() => journal.waiting.length > 0)
  await pause(30)
  expect([journal.waiting, runsOf(nodes)]).toEqual([['task.submitted'], 0])
  await journal.sync(1)
  await until(() => journal.waiting.includes('task.ended'))
  const after = await restart(node, journal)
  expect(await after.engine.recover()).toBe(1)
  const [task] = (await after.engine.list({ limit: 9 })).tasks
  expect(task).toMatchObject({ attempts: 1, lease: { node: nodes[1]?.id, epoch: 1 } })
  answer.catch(() => undefined)
})

test('D2: after a restart between the two records the first epoch counts as given, to whom is not known', async () => {
  const { node, journal, nodes } = await held('b', 'c')
  for (const peer of nodes.slice(1)) peer.executor.gate = new Promise(() => undefined)
  void node.engine.run({ ...double, requires: { on: 'other' } }, keyed).catch(() => undefined)
  await until(() => journal.waiting.length === 2)
  await journal.sync(1)
  await until(() => runsOf(nodes) === 1)
  const after = await restart(node, journal)
  const began = performance.now()
  expect(await after.engine.recover()).toBe(1)
  const [task] = (await after.engine.list({ limit: 9 })).tasks
  expect(task).toMatchObject({ state: 'submitted', attempts: 1 })
  expect(task?.lease).toBeUndefined()
  // Nobody is looked for while somebody may hold the lease
  while ((await after.engine.explain(task?.id ?? '')).rounds.length === 0) await pause(5)
  expect(performance.now() - began).toBeGreaterThan(450)
  expect((await after.engine.explain(task?.id ?? '')).rounds[0]?.epoch).toBe(2)
})

test('what a peer notes of a bind goes with its receipt, and the result waits for both', async () => {
  const network = new MemoryNetwork()
  const journal = new HeldJournal(new MemoryJournal({ types: TASK_ENGINE_RECORDS }))
  const nodes: TaskNode[] = []
  const peer = taskNode({ network, name: 'b', mesh: () => nodes, journal })
  const [node] = (await taskMesh(network, ['a'], { mesh: () => nodes })) as [TaskNode]
  nodes.push(node, peer)
  open.push(...nodes)
  await node.net.connect(peer.id, [`memory://${peer.id}`])
  node.net.setReady(peer.id)
  peer.net.setReady(node.id)
  const { id } = await node.engine.run({ ...double, requires: { on: 'other' } }, keyed)
  await until(() => journal.waiting.includes('receipt.issued'))
  expect([journal.waiting, journal.hurried]).toEqual([['tenure.bound', 'receipt.issued'], ['receipt.issued']])
  await pause(30)
  expect(node.engine.get(id)?.state).toBe('working')
  await journal.sync()
  expect(await node.engine.ended(id)).toMatchObject({ output: 8, lease: { node: peer.id } })
})
