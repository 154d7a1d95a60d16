/** A mesh cut in two and healed: THREATS F07, at the level of the task engines. */
import { afterEach, expect, test } from 'vitest'
import { MemoryNetwork } from '../../daemon/net/memory-net.ts'
import { verifyReceipt } from '../../protocol/receipt/receipt.ts'
import { type TaskNode, taskMesh } from '../support/task-node.ts'

const LEASE_MS = 800
const caller = { subject: 'local' }
const double = { program: { source: 'export default (n) => n * 2' } }
let nodes: TaskNode[] = []

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.close()
})

async function until(what: string, holds: () => boolean): Promise<void> {
  await expect.poll(holds, { message: what, timeout: 10_000, interval: 5 }).toBe(true)
}

const holderOf = (delegator: TaskNode, task: string): string | undefined => delegator.engine.get(task)?.lease?.node

test('F07: each side goes on with its own work, the cut off part is done again once, and after the heal all agree', async () => {
  const network = new MemoryNetwork()
  nodes = await taskMesh(network, ['a', 'b', 'c', 'd'], { leaseMs: LEASE_MS, slots: 16 })
  const [a, b, c, d] = nodes as [TaskNode, TaskNode, TaskNode, TaskNode]
  const gate = Promise.withResolvers<void>()
  for (const node of [b, c, d]) node.executor.gate = gate.promise
  const open = await Promise.all(
    Array.from({ length: 9 }, (_, n) => a.engine.run({ ...double, input: n, requires: { on: 'other' } }, caller)),
  )
  await until('others hold all of them', () => open.every(({ id }) => a.engine.get(id)?.state === 'working'))
  const away = new Set([c.id, d.id])
  const cutOff = open.filter(({ id }) => away.has(holderOf(a, id) ?? ''))
  const near = open.filter(({ id }) => holderOf(a, id) === b.id)
  expect(cutOff.length).toBeGreaterThan(0)

  network.partition([
    [a.id, b.id],
    [c.id, d.id],
  ])
  b.executor.gate = undefined
  // Both sides: local work, and work between nodes of the side.
  for (const [asks, does] of [
    [a, b],
    [c, d],
  ] as const) {
    asks.executor.gate = undefined
    does.executor.gate = undefined
    for (const on of ['local', does.name]) {
      const task = await asks.engine.run({ ...double, input: 7, requires: { on } }, caller)
      expect(await asks.engine.ended(task.id)).toMatchObject({ state: 'completed', output: 14 })
    }
  }
  for (const { id } of cutOff) {
    expect(await a.engine.ended(id)).toMatchObject({ state: 'completed', lease: { node: b.id, epoch: 2 } })
  }

  // The lost side finishes late and hands in what it did: nobody wants it any more.
  network.heal()
  gate.resolve()
  await until('nothing is held for another any more', () => nodes.every(({ peers }) => peers.serving === 0))
  for (const [n, { id }] of open.entries()) {
    expect(await a.engine.ended(id)).toMatchObject({ state: 'completed', output: n * 2 })
    const receipts = await a.engine.receipts(id)
    expect(receipts).toHaveLength(1)
    const [receipt] = receipts
    const epoch = cutOff.some((task) => task.id === id) ? 2 : 1
    expect(receipt && verifyReceipt(receipt)).toMatchObject({ valid: true, task: id, node: holderOf(a, id), epoch })
  }
  expect(near.length + cutOff.length).toBe(open.length)

  // One mesh again: everybody works for everybody, whoever dials first.
  for (const [asks, does] of [
    [a, c],
    [d, b],
  ] as const) {
    const task = await asks.engine.run({ ...double, input: 3, requires: { on: does.name } }, caller)
    expect(await asks.engine.ended(task.id)).toMatchObject({ state: 'completed', output: 6, lease: { node: does.id } })
  }
}, 20_000)
