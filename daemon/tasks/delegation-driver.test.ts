import { expect, test } from 'vitest'
import { orderBy } from '../../test/support/orders.ts'
import { NO_USAGE } from '../../protocol/job.ts'
import { DELEGATION_DEFAULTS, type Ending } from '../../protocol/task/delegation.ts'
import type { Channel } from '../net/mesh-net.ts'
import { DelegationDriver, type DelegationOwner } from './delegation-driver.ts'
import { NOTHING_PLACED } from './local-worker.ts'
import type { OrderHooks, OrderResult } from './worker.ts'

function ignore(): void {}

/** Binds to one node after the other; what each may say is in `places`. */
function ownerOf(places: OrderHooks[], served: string[]): DelegationOwner {
  const nodes = ['first', 'second']
  return {
    config: DELEGATION_DEFAULTS,
    endsWithHolder: false,
    order: (epoch) => orderBy('delegator', 'task', { epoch }),
    worker: (node) => ({
      node,
      place: (_, hooks) => {
        places.push(hooks)
        return NOTHING_PLACED
      },
    }),
    find: () => ({ input: { type: 'candidates', nodes: [], bindNow: nodes.shift() ?? 'none' }, candidates: [] }),
    offer: () => Promise.reject(new Error('nobody is offered it')),
    grant: () => undefined,
    onHostCall: async (name) => {
      served.push(name)
      return 'null'
    },
    onAccepted: async () => undefined,
    onBound: ignore,
    onLog: ignore,
    onReady: ignore,
    onReply: ignore,
    onCallFailed: ignore,
    onEnding: ignore,
    onStale: ignore,
    onRound: ignore,
  }
}

test('host calls of a node that lost its lease, and of any node after the end, are refused', async () => {
  const places: OrderHooks[] = []
  const served: string[] = []
  const driver = new DelegationDriver(ownerOf(places, served))
  const call = (place: number, name: string) => places[place]?.onHostCall(name, '[]', new AbortController().signal)
  await new Promise(setImmediate)
  places[0]?.onBound()
  await call(0, 'while-held')
  driver.feed({ type: 'fenced', node: 'first' })
  await new Promise(setImmediate)
  places[1]?.onBound()
  await expect(call(0, 'by-the-first')).rejects.toMatchObject({ code: 'E_STALE_LEASE' })
  await call(1, 'by-the-second')
  driver.feed({ type: 'cancel' })
  await expect(call(1, 'after-the-end')).rejects.toMatchObject({ code: 'E_STALE_LEASE' })
  expect(served).toEqual(['while-held', 'by-the-second'])
})

const GIVEN_BACK: OrderResult = {
  again: true,
  output: undefined,
  error: undefined,
  pieces: [],
  usage: NO_USAGE,
  receipt: '',
  durable: Promise.resolve(),
}

test('work that is given back for the last time ends, and its owner is told', async () => {
  const places: OrderHooks[] = []
  const endings: Ending[] = []
  const owner: DelegationOwner = {
    ...ownerOf(places, []),
    config: { ...DELEGATION_DEFAULTS, maxEpochs: 2 },
    onEnding: (ending) => endings.push(ending),
  }
  const driver = new DelegationDriver(owner)
  for (const place of [0, 1]) {
    await new Promise(setImmediate)
    places[place]?.onBound()
    places[place]?.onResult(GIVEN_BACK)
  }
  expect(driver.ended).toBe(true)
  expect(endings).toMatchObject([{ state: 'failed', code: 'E_EXECUTOR_LOST' }])
})

test('a node that never had the work, or has it no more, does not take it from the one that has', async () => {
  const withdrawn: string[] = []
  const resumed: string[] = []
  const places: OrderHooks[] = []
  const owner = ownerOf(places, [])
  const driver = new DelegationDriver({
    ...owner,
    worker: (node) => ({
      node,
      place: (order, hooks) => {
        owner.worker(node).place(order, hooks)
        const resume = (channel: Channel): boolean => resumed.push(channel.peer) > 0
        return { ...NOTHING_PLACED, resume, withdraw: () => withdrawn.push(node) }
      },
    }),
  })
  await new Promise(setImmediate)
  places[0]?.onBound()
  const by = (peer: string): Channel => ({
    peer,
    ended: Promise.resolve(undefined),
    send: () => true,
    sendAhead: ignore,
    drained: async () => undefined,
    onTaken: ignore,
    onMessage: ignore,
    close: ignore,
    abort: ignore,
  })
  const tries = [driver.resume(by('stranger'), 1), driver.resume(by('first'), 2), driver.resume(by('first'), 1)]
  expect(tries).toEqual([false, false, true])
  expect(withdrawn).toEqual([])
  driver.feed({ type: 'cancel' })
  expect(withdrawn).toEqual(['first'])
  expect(driver.resume(by('first'), 1)).toBe(false)
  expect(resumed).toEqual(['first'])
})

test('a node that confirms its lease again and again is heard once', async () => {
  const places: OrderHooks[] = []
  const bound: string[] = []
  const driver = new DelegationDriver({ ...ownerOf(places, []), onBound: (node) => bound.push(node) })
  await new Promise(setImmediate)
  for (let time = 0; time < 3; time++) places[0]?.onBound()
  expect(bound).toEqual(['first'])
  driver.feed({ type: 'cancel' })
})
