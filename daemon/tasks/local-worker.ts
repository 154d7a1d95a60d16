/** This node's own hands as a place for tasks: no network; as long as this process lives its leases are renewed. */
import { toMeshError } from '../../protocol/errors.ts'
import type { Hands } from './hands.ts'
import type { Order, OrderHooks, Placed, Worker } from './worker.ts'

export class LocalWorker implements Worker {
  readonly node: string
  readonly #hands: Hands

  constructor(node: string, hands: Hands) {
    this.node = node
    this.#hands = hands
  }

  place(order: Order, hooks: OrderHooks): Placed {
    try {
      const held = this.#hands.take(order, { ...hooks, onResult: (result) => (stopRenewing(), hooks.onResult(result)) })
      let renewals = 0
      const timer = setInterval(() => hooks.onRenew(++renewals), order.leaseMs / 3)
      const stopRenewing = (): void => clearInterval(timer)
      // After this call returns, so that the caller knows what it placed when it hears of it.
      queueMicrotask(() => hooks.onBound())
      return {
        renewed: ignore,
        accepted: ignore,
        withdraw: () => {
          stopRenewing()
          held.stop()
        },
        call: (id, input) => held.call(id, input),
        finish: () => held.finish(),
        resume: never,
      }
    } catch (error) {
      queueMicrotask(() => hooks.onRefused(toMeshError(error)))
      return NOTHING_PLACED
    }
  }
}

function ignore(): void {}

function never(): boolean {
  return false
}

export const NOTHING_PLACED: Placed = Object.freeze({
  renewed: ignore,
  accepted: ignore,
  withdraw: ignore,
  call: ignore,
  finish: ignore,
  resume: never,
})
