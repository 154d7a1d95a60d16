/** Work that goes in circles, comes from too far or is not from whom it says: THREATS P2P-07 and P2P-14, with real binds between nodes. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MemoryNetwork } from '../../daemon/net/memory-net.ts'
import { bindOf } from '../../daemon/tasks/order-codec.ts'
import type { Channel } from '../../daemon/net/mesh-net.ts'
import { RESUME_CHANNEL, TASK_CHANNEL } from '../../daemon/tasks/remote-worker.ts'
import { TaskChannel } from '../../daemon/tasks/task-channel.ts'
import { manyhands } from '../../proto/gen/wire.js'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { orderBy } from '../support/orders.ts'
import { seedOf, type TaskNode, taskMesh } from '../support/task-node.ts'

let nodes: TaskNode[]
let a: TaskNode
let b: TaskNode
let c: TaskNode

beforeEach(async () => {
  nodes = await taskMesh(new MemoryNetwork(), ['a', 'b', 'c'])
  ;[a, b, c] = nodes as [TaskNode, TaskNode, TaskNode]
})

afterEach(async () => {
  for (const node of nodes) await node.close()
})

const codeOf = (error: unknown): string => (error instanceof MeshError ? error.code : String(error))

/** Ids of nodes that are not there */
const strangers = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => nodeIdFromSeed(seedOf(`stranger ${index}`)))

/** Sends a bind with this path: "result", or the code it was refused with. */
async function bind(from: TaskNode, to: TaskNode, path: readonly string[], task = 'task'): Promise<string> {
  const answer = Promise.withResolvers<string>()
  const channel = new TaskChannel(from.net.openChannel(to.id, TASK_CHANNEL, new Uint8Array(0)), (message) => {
    if (message.result) answer.resolve('result')
  })
  void channel.ended.then((error) => answer.resolve(error === undefined ? 'closed' : codeOf(error)))
  channel.send({ bind: bindOf(orderBy(from.id, task, { path }), to.id) })
  const result = await answer.promise
  channel.close()
  return result
}

function offer(from: TaskNode, to: TaskNode, path: readonly string[]): Promise<string> {
  const requires = { capability: 'isolate', grade: '', labels: [] }
  const body = manyhands.Offer.encode({ taskId: 'task', requires, count: 1, path: [...path] }).finish()
  return from.net.request(to.id, 'offer', body).then(() => 'bid', codeOf)
}

describe.each([
  ['a bind', bind, 'result'],
  ['an offer', offer, 'bid'],
] as const)('%s', (_, send, accepted) => {
  test('P2P-14: A to B to A: a node does not take what came through it before', async () => {
    expect(await send(b, a, [a.id, b.id])).toBe('E_HOPS')
    expect(await send(c, a, [a.id, b.id, c.id])).toBe('E_HOPS')
    expect(a.executor.runs).toBe(0)
  })

  test('P2P-14: as many hops as allowed are taken, one more and a hundred are not', async () => {
    const path = (hops: number): string[] => [...strangers(hops - 1), a.id]
    expect(await send(a, b, path(LIMITS.hops + 1))).toBe('E_HOPS')
    expect(await send(a, b, path(100))).toBe('E_HOPS')
    expect(b.executor.runs).toBe(0)
    expect(await send(a, b, path(LIMITS.hops))).toBe(accepted)
  })

  test('P2P-14: a path must end with its sender', async () => {
    expect(await send(a, b, [a.id, c.id])).toBe('E_PROTOCOL')
    expect(await send(a, b, [])).toBe('E_PROTOCOL')
    expect(b.executor.runs).toBe(0)
    expect(await send(a, b, [c.id, a.id])).toBe(accepted)
  })
})

describe('P2P-07: task messages of a peer are bounded before they are built', () => {
  const fields = (tag: number, count: number): Buffer => Buffer.alloc(count * 2, Buffer.from([tag, 0]))
  const answer = (method: string, body: Uint8Array): Promise<string> =>
    a.net.request(b.id, method, body).then(() => 'answered', codeOf)

  const opened = async (kind: string, opening: Uint8Array): Promise<string> =>
    codeOf(await a.net.openChannel(b.id, kind, opening).ended)

  test.each([
    ['offer', answer, fields(0x42, 300)],
    [RESUME_CHANNEL, opened, fields(0x0a, 100)],
  ] as const)('%s', async (what, send, bomb) => {
    expect(await send(what, Buffer.from([0x0a, 0x7f]))).toBe('E_PROTOCOL')
    expect(await send(what, bomb)).toBe('E_PROTOCOL')
  })

  test.each([
    ['inputs', [], fields(0x2a, 2_000)],
    ['modules', [0x22], fields(0x12, 2_000)],
    ['labels', [0x3a], fields(0x1a, 2_000)],
  ])('a bind with too many %s', async (_, outer, bomb) => {
    const wrapped = (tags: readonly number[]): Buffer =>
      tags.reduce<Buffer>(
        (inner, tag) => Buffer.concat([Buffer.from([tag, (inner.length % 128) | 128, inner.length >> 7]), inner]),
        bomb,
      )
    const channel = a.net.openChannel(b.id, TASK_CHANNEL, new Uint8Array(0))
    channel.send(Buffer.concat([Buffer.from([0]), wrapped([...outer, 0x72])]))
    const error = await channel.ended
    expect(codeOf(error)).toBe('E_PROTOCOL')
    expect(error?.message).toContain('more fields')
  })
})

test('P2P-14: of a fan-out of ten thousand only what channels and slots allow is held, and the rest is refused', async () => {
  const gate = Promise.withResolvers<void>()
  b.executor.gate = gate.promise
  const answers = new Map<string, number>()
  const count = (answer: string): void => void answers.set(answer, (answers.get(answer) ?? 0) + 1)
  const all = Array.from({ length: 10_000 }, async (_, index) =>
    bind(a, b, [a.id], `t${index}`).then(count, (error: unknown) => count(codeOf(error))),
  )
  await expect.poll(() => [...answers.values()].reduce((sum, n) => sum + n, 0)).toBe(10_000 - LIMITS.channelsPerPeer)
  await expect.poll(() => b.peers.serving).toBe(LIMITS.channelsPerPeer)
  expect(b.hands.state()).toMatchObject({ busy: 4, queued: LIMITS.channelsPerPeer - 4 })
  expect(b.executor.runs).toBe(4)
  expect([...answers.keys()]).toEqual(['E_OVERLOADED'])
  gate.resolve()
  await Promise.all(all)
  expect(answers.get('result')).toBe(LIMITS.channelsPerPeer)
  await expect.poll(() => b.peers.serving).toBe(0)
})

test('RES-01: binds of one peer that never end are bounded together, and those of another are taken', async () => {
  const part = Buffer.alloc(1_000_001, 1)
  const channels = Array.from({ length: 12 }, () => a.net.openChannel(b.id, TASK_CHANNEL, new Uint8Array(0)))
  const ends: string[] = []
  for (const channel of channels) void channel.ended.then((error) => ends.push(codeOf(error)))
  const fill = async (channel: Channel): Promise<void> => {
    for (let count = 0; count < 23; count++) if (!channel.send(part)) await channel.drained()
  }
  for (const channel of channels) await fill(channel)
  await expect.poll(() => ends).toEqual(['E_OVERLOADED'])
  expect(await bind(c, b, [c.id])).toBe('result')
  for (const channel of channels) channel.close()
  await expect.poll(() => b.peers.serving).toBe(0)
  const again = a.net.openChannel(b.id, TASK_CHANNEL, new Uint8Array(0))
  await fill(again)
  await expect.poll(() => b.peers.serving).toBe(1)
  again.close()
})
