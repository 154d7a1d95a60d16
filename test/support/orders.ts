/** Orders as a delegator makes them, for tests that place them by hand. */
import { specOf } from '../../daemon/tasks/submission.ts'
import type { Order, OrderHooks } from '../../daemon/tasks/worker.ts'
import { DEFAULT_LIMITS } from './task-node.ts'

const DOUBLE = { program: { source: 'export default (n) => n * 2' } }
const SPEC = specOf(DOUBLE, ['1'], [], { defaults: DEFAULT_LIMITS, ceilings: DEFAULT_LIMITS })

/** A run that doubles 1. */
export function orderBy(delegator: string, task: string, fields: Partial<Order> = {}): Order {
  return {
    task,
    epoch: 1,
    kind: 'run',
    program: SPEC.program,
    digest: SPEC.digest,
    inputs: ['1'],
    limits: SPEC.limits,
    grade: undefined,
    hostFunctions: [],
    fresh: false,
    delegator,
    leaseMs: 60_000,
    deadlineMs: undefined,
    path: [delegator],
    ...fields,
  }
}

/** Hears only what a test wants to. */
export function orderHooks(heard: Partial<OrderHooks>): OrderHooks {
  const ignore = (): void => undefined
  return {
    onTaking: ignore,
    onBound: ignore,
    onRefused: ignore,
    onLog: ignore,
    onHostCall: async () => 'null',
    onReady: ignore,
    onReply: ignore,
    onCallFailed: ignore,
    onRenew: ignore,
    onResult: ignore,
    onLost: ignore,
    ...heard,
  }
}
