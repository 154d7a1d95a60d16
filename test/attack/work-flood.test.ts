/** One delegator floods a node with work while another needs it too: THREATS RES-01, at the node's own queue. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { MemoryNetwork } from '../../daemon/net/memory-net.ts'
import type { HandEvents } from '../../daemon/tasks/hand-events.ts'
import { MeshError } from '../../protocol/errors.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { orderBy } from '../support/orders.ts'
import { seedOf, type TaskNode, taskNode } from '../support/task-node.ts'

const SLOTS = 4
/** Of one delegator, as the node under test is set up */
const QUEUE_PER_ORIGIN = 500
const GREEDY = nodeIdFromSeed(seedOf('greedy'))
const MODEST = nodeIdFromSeed(seedOf('modest'))

let node: TaskNode
/** Whose orders have ended, in order */
let ended: string[]

beforeEach(() => {
  node = taskNode({ network: new MemoryNetwork(), name: 'worker', mesh: () => [node], slots: SLOTS })
  ended = []
})

afterEach(async () => {
  await node.close()
})

function eventsFor(origin: string): HandEvents {
  const ignore = (): void => undefined
  return {
    onLog: ignore,
    onHostCall: async () => 'null',
    onReady: ignore,
    onReply: ignore,
    onCallFailed: ignore,
    onResult: ({ error, again }) => ended.push(error === undefined && !again ? origin : 'unfinished'),
  }
}

/** Hands the node as many orders of one delegator. @returns the errors of those it did not take */
function flood(origin: string, count: number): unknown[] {
  const refused: unknown[] = []
  for (let index = 0; index < count; index++) {
    try {
      node.hands.take(orderBy(origin, `t${index}`), eventsFor(origin))
    } catch (error) {
      refused.push(error)
    }
  }
  return refused
}

test('RES-01: ten thousand orders of one are bounded and told when to come again; ten of another end within twice their own work', async () => {
  const gate = Promise.withResolvers<void>()
  node.executor.gate = gate.promise
  const refused = flood(GREEDY, 10_000)
  expect(refused).toHaveLength(10_000 - SLOTS - QUEUE_PER_ORIGIN)
  for (const error of refused) {
    expect(error).toBeInstanceOf(MeshError)
    expect(error).toHaveProperty('code', 'E_OVERLOADED')
    expect(error).toHaveProperty('retryAfterMs', expect.any(Number))
  }
  expect(flood(MODEST, 10)).toEqual([])

  gate.resolve()
  await expect.poll(() => ended.length).toBe(SLOTS + QUEUE_PER_ORIGIN + 10)
  expect(ended).not.toContain('unfinished')
  // Counted in orders and not in time: while ten of the one ran, at most ten of the other did, and those that had begun.
  expect(ended.lastIndexOf(MODEST) + 1).toBeLessThanOrEqual(2 * 10 + 2 * SLOTS)
})

test('RES-01: when all the room is taken by some, a late comer still gets its share', async () => {
  const gate = Promise.withResolvers<void>()
  node.executor.gate = gate.promise
  const others = [GREEDY, nodeIdFromSeed(seedOf('greedy too'))]
  for (const origin of others) flood(origin, 2 * QUEUE_PER_ORIGIN)
  expect(node.hands.state().queued).toBe(2 * QUEUE_PER_ORIGIN)
  expect(flood(MODEST, 10)).toEqual([])
  // What made room is given back to its delegator, and lost to nobody.
  expect(ended).toEqual(Array.from({ length: 10 }, () => 'unfinished'))
  gate.resolve()
  await expect.poll(() => ended.length).toBe(SLOTS + 2 * QUEUE_PER_ORIGIN + 10)
  expect(ended.filter((origin) => origin === MODEST)).toHaveLength(10)
  expect(ended.lastIndexOf(MODEST) - 10).toBeLessThanOrEqual(3 * 10 + 2 * SLOTS)
})
