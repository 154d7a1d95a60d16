import { afterEach, expect, test } from 'vitest'
import { type TaskNode, taskMesh } from '../../test/support/task-node.ts'
import { manyhands } from '../../proto/gen/wire.js'
import { orderBy, orderHooks } from '../../test/support/orders.ts'
import type { TaskView } from '../../protocol/api.ts'
import { toMeshError } from '../../protocol/errors.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import type { Channel, MeshNet } from '../net/mesh-net.ts'
import type { HandEvents } from './hand-events.ts'
import { RemoteWorker } from './remote-worker.ts'
import { ServedOrder } from './served-order.ts'
import type { Order } from './worker.ts'

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

/** The peer takes nothing of what is sent on it. */
class StuckChannel implements Channel {
  readonly peer = 'peer'
  readonly ended = new Promise<undefined>(() => undefined)
  readonly ends: string[] = []
  receive: (bytes: Uint8Array) => unknown = () => undefined
  send(): boolean {
    return false
  }
  sendAhead(): void {}
  onTaken(): void {}
  drained(): Promise<void> {
    return new Promise(() => undefined)
  }
  onMessage(handler: (bytes: Uint8Array) => unknown): void {
    this.receive = handler
  }
  close(): void {
    this.ends.push('closed')
  }
  abort({ message }: Error): void {
    this.ends.push(message)
  }
}

const message = (fields: manyhands.TaskMessage.$Properties): Uint8Array =>
  Buffer.concat([Buffer.of(0), manyhands.TaskMessage.encode(fields).finish()])

function stuckOrder(kind: Order['kind']): { channel: StuckChannel; served: ServedOrder; events: HandEvents } {
  const channel = new StuckChannel()
  const taken: HandEvents[] = []
  const served = new ServedOrder(channel, {
    accept: () => ({ order: orderBy('peer', 'task', { kind }), durable: Promise.resolve() }),
    take: (_, events) => {
      taken.push(events)
      return { call: () => undefined, finish: () => undefined, stop: () => undefined }
    },
    resume: () => undefined,
    tenure: () => ({ leaseMs: 60_000, renewMs: 30_000, marginMs: 1_000 }),
    hold: () => undefined,
    ended: () => undefined,
  })
  channel.receive(message({ bind: {} }))
  const [events] = taken
  if (events === undefined) throw new Error('the order was not taken')
  return { channel, served, events }
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
  const { channel, served, events } = stuckOrder('run')
  const codes: string[] = []
  const args = JSON.stringify('x'.repeat(2_000_000))
  for (let call = 0; call < CALLS; call++)
    events
      .onHostCall('take', args, new AbortController().signal)
      .catch((error: unknown) => codes.push(toMeshError(error).code))
  await new Promise(setImmediate)
  expect([new Set(codes), codes.length < CALLS, channel.ends]).toEqual([new Set(['E_OVERLOADED']), true, []])
  served.stop('E_STOPPING')
})

test('a session that is withdrawn ends its channel at once, whatever waits on either side', async () => {
  const text = JSON.stringify('x'.repeat(2_000_000))
  const { channel: there, events } = stuckOrder('session')
  for (let id = 0; id < 3; id++) events.onReply(id, text)
  there.receive(message({ withdraw: { code: 'E_CANCELED' } }))
  const here = new StuckChannel()
  const [a] = await slowPair()
  const net: MeshNet = Object.assign(a.net, { openChannel: () => here })
  const order = orderBy(a.id, 'task', { kind: 'session', inputs: [] })
  const placed = new RemoteWorker('peer', net).place(order, orderHooks({}))
  for (let id = 0; id < 3; id++) placed.call(id, text)
  placed.withdraw('E_CANCELED')
  await new Promise(setImmediate)
  expect([there.ends, here.ends]).toEqual([['closed'], ['closed']])
})
