import { afterEach, expect, test } from 'vitest'
import { type TaskNode, taskMesh } from '../../test/support/task-node.ts'
import { manyhands } from '../../proto/gen/wire.js'
import { orderBy } from '../../test/support/orders.ts'
import type { TaskView } from '../../protocol/api.ts'
import { toMeshError } from '../../protocol/errors.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import type { Channel } from '../net/mesh-net.ts'
import type { HandEvents } from './hand-events.ts'
import { ServedOrder } from './served-order.ts'

/** Of two megabytes each, more than may wait */
const CALLS = 30
const caller = { subject: 'local' }
const open: TaskNode[] = []
afterEach(async () => {
  for (const node of open.splice(0)) await node.close()
})

/** Nodes a and b, and what goes from one to the other takes a while. */
async function slowPair(): Promise<[TaskNode, TaskNode]> {
  const network = new MemoryNetwork()
  const nodes = await taskMesh(network, ['a', 'b'])
  open.push(...nodes)
  const [a, b] = nodes as [TaskNode, TaskNode]
  network.setQuality({ delayMs: 20 }, a.id, b.id)
  return [a, b]
}

test('answers of a session that are too much at once fail one by one, and the session goes on', async () => {
  const [a] = await slowPair()
  const gate = 'new Promise((resolve) => setTimeout(resolve, 100))'
  const source = `export default async (n) => { await ${gate}; return "x".repeat(n) }`
  const program = { main: 'main.js', modules: [{ name: 'main.js', type: 'js' as const, source }] }
  const replied: number[] = []
  const failed: string[] = []
  const done = Promise.withResolvers<TaskView>()
  const session = await a.engine.session({ program, hostFunctions: [], requires: { on: 'other' } }, caller, {
    onReply: (id) => replied.push(id),
    onCallFailed: (_id, { code }) => failed.push(code),
    onEnd: (task) => done.resolve(task),
  })
  for (let id = 0; id < 70; id++) session.call(id, '1000000')
  await expect.poll(() => replied.length + failed.length, { timeout: 20_000 }).toBe(70)
  expect(new Set(failed)).toEqual(new Set(['E_OVERLOADED']))
  expect(replied.length).toBeGreaterThan(30)
  session.call(70, '3')
  session.finish()
  expect(await done.promise).toMatchObject({ state: 'completed' })
  expect(replied).toContain(70)
})

test('answers of host calls that are too much at once fail one by one, and the run goes on', async () => {
  const [a, b] = await slowPair()
  const source = `export default async (n, env) => {
    const settled = []
    const call = () => env.take().then(() => settled.push('answered'), () => settled.push('failed'))
    await Promise.all(Array.from({ length: n }, call))
    return settled
  }`
  const answered = Promise.withResolvers<string>()
  let waiting = 0
  const request = { program: { source }, input: CALLS, requires: { on: 'other' } }
  const view = await a.engine.run(request, caller, {
    hostFunctions: ['take'],
    onHostCall: () => {
      if (++waiting === CALLS) answered.resolve(JSON.stringify('x'.repeat(2_000_000)))
      return answered.promise
    },
  })
  const ended = await a.engine.ended(view.id)
  expect([ended.state, ended.attempts, b.executor.runs]).toEqual(['completed', 1, 1])
  expect(new Set(ended.output as string[])).toEqual(new Set(['answered', 'failed']))
})

test('host calls whose arguments are too much at once fail one by one, and the channel stays', async () => {
  let aborted: Error | undefined
  const held: { events?: HandEvents } = {}
  const channel: Channel & { message?: (bytes: Uint8Array) => unknown } = {
    peer: 'peer',
    ended: new Promise(() => undefined),
    send: () => false,
    sendAhead: () => undefined,
    drained: () => new Promise(() => undefined),
    onTaken: () => undefined,
    onMessage: (handler) => void (channel.message = handler),
    close: () => undefined,
    abort: (error) => void (aborted = error),
  }
  const served = new ServedOrder(channel, {
    accept: () => ({ order: orderBy('peer', 'task'), durable: Promise.resolve() }),
    take: (_, events) => {
      held.events = events
      return { call: () => undefined, finish: () => undefined, stop: () => undefined }
    },
    resume: () => undefined,
    tenure: () => ({ leaseMs: 60_000, renewMs: 30_000, marginMs: 1_000 }),
    hold: () => undefined,
    ended: () => undefined,
  })
  channel.message?.(Buffer.concat([Buffer.of(0), manyhands.TaskMessage.encode({ bind: {} }).finish()]))
  const codes: string[] = []
  const args = JSON.stringify('x'.repeat(2_000_000))
  for (let call = 0; call < CALLS; call++)
    held.events
      ?.onHostCall('take', args, new AbortController().signal)
      .catch((error: unknown) => codes.push(toMeshError(error).code))
  await new Promise(setImmediate)
  expect([new Set(codes), codes.length < CALLS, aborted]).toEqual([new Set(['E_OVERLOADED']), true, undefined])
  served.stop('E_STOPPING')
})
