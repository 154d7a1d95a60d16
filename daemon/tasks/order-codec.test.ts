import { expect, test } from 'vitest'
import { orderBy, orderHooks } from '../../test/support/orders.ts'
import { DEFAULT_LIMITS, type TaskNode, taskMesh } from '../../test/support/task-node.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import { bindOf, orderOf } from './order-codec.ts'
import { RemoteWorker } from './remote-worker.ts'

test('a batch without inputs is refused: nothing would end it, and it would keep its slot', async () => {
  const nodes = await taskMesh(new MemoryNetwork(), ['a', 'b'])
  const [a, b] = nodes as [TaskNode, TaskNode]
  const answer = Promise.withResolvers<string>()
  const hooks = orderHooks({
    onBound: () => answer.resolve('bound'),
    onRefused: ({ code }) => answer.resolve(code),
  })
  new RemoteWorker(b.id, a.net).place(orderBy(a.id, 'task', { kind: 'batch', inputs: [] }), hooks)
  expect(await answer.promise).toBe('E_PROTOCOL')
  expect(b.hands.state().busy).toBe(0)
  for (const node of nodes) await node.close()
})

test('the shortest lease that can be configured is taken as it is, never as a longer one', () => {
  const order = orderBy('delegator', 'task', { leaseMs: 200 })
  const context = { self: 'self', peer: 'delegator', defaults: DEFAULT_LIMITS }
  expect(orderOf(bindOf(order, 'self'), context).leaseMs).toBe(200)
})
