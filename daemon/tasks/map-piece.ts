/** One piece of a map under delegation. Its node is not found by offers but handed to it by the map's plan. */
import type { LogLine } from '../../protocol/job.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { DelegationConfig, DelegationInput, Ending } from '../../protocol/task/delegation.ts'
import type { Channel } from '../net/mesh-net.ts'
import { DelegationDriver, type DelegationOwner, type Found } from './delegation-driver.ts'
import type { Order, OrderResult, Worker } from './worker.ts'

export interface MapPieceOptions {
  readonly config: DelegationConfig
  /** Where it goes first */
  readonly node: string
  /** The last epoch that may have been given */
  readonly epoch: number
  order(epoch: number): Order
  worker(node: string): Worker
  grant(epoch: number): Promise<void> | undefined
  bound(node: string, epoch: number): void
  log(line: LogLine, input: number, node: string): void
  /** The piece came back from a node and waits to be assigned again. */
  waiting(outcome: 'refused' | 'lost', from: string, retryAfterMs?: number): void
  accepted(result: OrderResult, node: string, epoch: number): Promise<void>
  failed(ending: Ending): void
  stale(node: string, epoch: number, code: string): void
}

export class MapPiece implements DelegationOwner {
  readonly config: DelegationConfig
  readonly endsWithHolder = false
  readonly #options: MapPieceOptions
  readonly #driver: DelegationDriver
  #node: string | undefined
  #bound = false
  #assigned: ((found: Found) => void) | undefined
  avoid: readonly string[] = []

  constructor(options: MapPieceOptions) {
    this.#options = options
    // A map as a whole has patience; its pieces wait as long as it does.
    this.config = { ...options.config, patienceMs: Number.POSITIVE_INFINITY }
    this.#node = options.node
    this.#driver = new DelegationDriver(this, { epoch: options.epoch })
  }

  /** A node has it, or may have it. Else it waits to be assigned. */
  get isWithNode(): boolean {
    return this.#node !== undefined
  }

  feed(input: DelegationInput): void {
    this.#driver.feed(input)
  }

  resume(channel: Channel, epoch: number): boolean {
    return this.#driver.resume(channel, epoch)
  }

  assign(node: string): void {
    this.#node = node
    this.#assigned?.(bindNow(node))
    this.#assigned = undefined
  }

  // ---- for the driver

  order(epoch: number): Order {
    return this.#options.order(epoch)
  }

  worker(node: string): Worker {
    return this.#options.worker(node)
  }

  find(avoid: readonly string[]): Promise<Found> | Found {
    this.avoid = avoid
    const from = this.#node
    // The first search: the plan has decided before this piece began.
    if (from !== undefined && this.#driver?.epoch === this.#options.epoch) return bindNow(from)
    const { promise, resolve } = Promise.withResolvers<Found>()
    this.#assigned = resolve
    const outcome = this.#bound ? 'lost' : 'refused'
    this.#bound = false
    this.#node = undefined
    this.#options.waiting(outcome, from ?? '')
    return promise
  }

  offer(): Promise<never> {
    return Promise.reject(new MeshError('E_INTERNAL', 'Pieces of a map are assigned, not offered'))
  }

  grant(epoch: number): Promise<void> | undefined {
    return this.#options.grant(epoch)
  }

  onBound(node: string, epoch: number): void {
    this.#bound = true
    this.#options.bound(node, epoch)
  }

  onLog(line: LogLine, input: number, node: string): void {
    this.#options.log(line, input, node)
  }

  onHostCall(): Promise<never> {
    return Promise.reject(new MeshError('E_HOST_CALL', 'Maps offer no host functions'))
  }

  onReady(): void {}
  onReply(): void {}
  onCallFailed(): void {}

  onAccepted(result: OrderResult, node: string, epoch: number): Promise<void> {
    return this.#options.accepted(result, node, epoch)
  }

  onEnding(ending: Ending): void {
    if (ending.state !== 'canceled') this.#options.failed(ending)
  }

  onStale(node: string, epoch: number, code: string): void {
    this.#options.stale(node, epoch, code)
  }

  onRound(): void {}
}

function bindNow(node: string): Found {
  return { input: { type: 'candidates', nodes: [], bindNow: node }, candidates: [] }
}
