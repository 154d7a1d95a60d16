/**
 * Runs one delegation: feeds the state machine of `protocol/task/delegation.ts` with what happens and does what it says.
 * One driver is one run, one session, or one piece of a map.
 */
import { MeshError, toMeshError } from '../../protocol/errors.ts'
import { failureOf } from './failure.ts'
import type { Candidate } from '../../protocol/api.ts'
import {
  type Delegation,
  type DelegationConfig,
  type DelegationEffect,
  type DelegationInput,
  type Ending,
  startDelegation,
  stepDelegation,
} from '../../protocol/task/delegation.ts'
import type { LogLine } from '../../protocol/job.ts'
import type { JobFailure } from '../../protocol/job.ts'
import { resultFault } from './check-result.ts'
import type { Channel } from '../net/mesh-net.ts'
import type { Order, OrderHooks, OrderResult, Placed, Worker } from './worker.ts'

/** Who could take the work; the answer to the machine's `find`. */
export interface Found {
  readonly input: Extract<DelegationInput, { type: 'candidates' }>
  readonly candidates: readonly Candidate[]
}

export interface OfferAnswer {
  readonly score: number
  readonly candidate: Partial<Candidate>
}

/** What the driver needs of the task it belongs to. */
export interface DelegationOwner {
  readonly config: DelegationConfig
  /** What the work has become lives on its node alone (a session): when that is lost after it was bound, the task fails instead of beginning anew. */
  readonly endsWithHolder: boolean
  order(epoch: number): Order
  worker(node: string): Worker
  find(avoid: readonly string[]): Promise<Found> | Found
  /** @throws MeshError when the node refuses or does not answer */
  offer(node: string): Promise<OfferAnswer>
  /** Makes an epoch durable as far as it must be before this node may get a bind. */
  grant(epoch: number, node: string): Promise<void> | undefined
  onBound(node: string, epoch: number): void
  onLog(line: LogLine, input: number, node: string): void
  onHostCall(name: string, argsJson: string, signal: AbortSignal): Promise<string>
  onReady(): void
  onReply(id: number, outputJson: string): void
  onCallFailed(id: number, failure: JobFailure): void
  /** Stores the one accepted result. Rejects when it cannot be stored: the worker is not told then. */
  onAccepted(result: OrderResult, node: string, epoch: number): Promise<void>
  /** The end without an accepted result. */
  onEnding(ending: Ending): void
  /** A result or renewal came from a node that does not hold the lease, or a result that cannot be one; `code` says which. */
  onStale(node: string, epoch: number, code: string): void
  /** One search is decided; for `explain`. */
  onRound(epoch: number, candidates: readonly Candidate[], note: string): void
}

export class DelegationDriver {
  readonly #owner: DelegationOwner
  /** By epoch: what was placed, and where */
  readonly #placed = new Map<number, { readonly node: string; readonly work: Placed }>()
  #state: Delegation
  #timer: NodeJS.Timeout | undefined
  #round = new Map<string, Candidate>()
  /** The result being judged, while the machine steps. */
  #result: OrderResult | undefined
  #wasBound = false

  constructor(owner: DelegationOwner, start: Parameters<typeof startDelegation>[1] = {}) {
    this.#owner = owner
    const { state, effects } = startDelegation(performance.now(), start)
    this.#state = state
    // The owner is still being built: act when it is done.
    queueMicrotask(() => this.#act(effects))
  }

  get ended(): boolean {
    return this.#state.phase.kind === 'ended'
  }

  get holder(): string | undefined {
    const { phase } = this.#state
    return 'node' in phase ? phase.node : undefined
  }

  get epoch(): number {
    return this.#state.epoch
  }

  feed(input: DelegationInput): void {
    const { state, effects } = stepDelegation(this.#state, input, performance.now(), this.#owner.config)
    this.#state = state
    this.#act(effects)
  }

  /** What the current holder does: calls and the finish of a session. */
  get placed(): Placed | undefined {
    return this.#placed.get(this.#state.epoch)?.work
  }

  /** A node comes back on a channel in place of one that was lost. @returns false when the lease is not its own any more */
  resume(channel: Channel, epoch: number): boolean {
    const { phase } = this.#state
    if (this.#state.epoch !== epoch || this.holder !== channel.peer || phase.kind === 'granting') return false
    const placed = this.#placed.get(epoch)
    if (placed !== undefined) return placed.work.resume(channel)
    const node = channel.peer
    const work = this.#owner.worker(node).place(this.#owner.order(epoch), this.#hooks(node, epoch), channel)
    this.#placed.set(epoch, { node, work })
    return true
  }

  #act(effects: readonly DelegationEffect[]): void {
    for (const effect of effects) this.#do(effect)
    if (this.ended) this.#clear()
  }

  #do(effect: DelegationEffect): void {
    switch (effect.type) {
      case 'find':
        return void this.#find(effect.avoid)
      case 'offer':
        return this.#offer(effect.to)
      case 'grant':
        return this.#grant(effect.epoch, effect.node)
      case 'bind':
        return this.#bind(effect.node, effect.epoch)
      case 'renewed':
        return this.#placed.get(effect.epoch)?.work.renewed(effect.number)
      case 'withdraw':
        return this.#placed.get(effect.epoch)?.work.withdraw('E_CANCELED')
      case 'accept':
        return this.#accept(effect.node, effect.epoch)
      case 'refuse':
        return this.#onStale(effect.node, effect.epoch, effect.code)
      case 'settle':
        if (this.#result === undefined) this.#owner.onEnding(effect.ending)
        return
      case 'wake':
        return this.#wakeAt(effect.at)
    }
  }

  async #find(avoid: readonly string[]): Promise<void> {
    try {
      const found = this.#owner.find(avoid)
      const { input, candidates } = found instanceof Promise ? await found : found
      this.#round = new Map(candidates.map((candidate) => [candidate.node, candidate]))
      if (input.bindNow === undefined && input.nodes.length === 0)
        this.#endRound(this.#state.epoch + 1, 'no node can take it now')
      this.feed(input)
    } catch (error) {
      this.feed({ type: 'fail', ...failureOf(error) })
    }
  }

  #offer(to: readonly string[]): void {
    for (const node of to) {
      this.#owner.offer(node).then(
        ({ score, candidate }) => {
          this.#mark(node, { ...candidate, score })
          this.feed({ type: 'bid', bid: { node, score } })
        },
        (error: unknown) => {
          const { message, retryAfterMs } = toMeshError(error)
          this.#mark(node, { outcome: 'refused', reason: message })
          const retry = retryAfterMs === undefined ? {} : { retryAfterMs }
          this.feed({ type: 'refused', node, epoch: this.#state.epoch, ...retry })
        },
      )
    }
  }

  #grant(epoch: number, node: string): void {
    const durable = this.#owner.grant(epoch, node)
    if (durable === undefined) return this.feed({ type: 'granted', epoch })
    durable.then(
      () => this.feed({ type: 'granted', epoch }),
      (error: unknown) => {
        this.feed({ type: 'fail', ...failureOf(error) })
      },
    )
  }

  #bind(node: string, epoch: number): void {
    this.#mark(node, { outcome: 'chosen' })
    this.#endRound(epoch, '')
    const work = this.#owner.worker(node).place(this.#owner.order(epoch), this.#hooks(node, epoch))
    this.#placed.set(epoch, { node, work })
  }

  #hooks(node: string, epoch: number): OrderHooks {
    const owner = this.#owner
    const current = (): boolean => this.#state.epoch === epoch && !this.ended
    let isBound = false
    return {
      onTaking: () => this.feed({ type: 'taking', node, epoch }),
      onBound: () => {
        // Each time would be one more event of the task, kept for those who watch it late
        if (isBound) return
        isBound = true
        this.feed({ type: 'bound', node, epoch })
        if (!current()) return
        this.#wasBound = true
        owner.onBound(node, epoch)
      },
      onRefused: (error) => {
        this.#mark(node, { outcome: 'refused', reason: error.message })
        const retry = error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }
        this.feed({ type: 'refused', node, epoch, ...retry })
      },
      onLog: (line, input) => {
        if (current()) owner.onLog(line, input, node)
      },
      // A host call is an effect: a node that does not hold the lease any more makes none.
      onHostCall: async (name, args, signal) => {
        if (current()) return owner.onHostCall(name, args, signal)
        throw new MeshError('E_STALE_LEASE', 'The lease of this work is over')
      },
      onReady: () => {
        if (current()) owner.onReady()
      },
      onReply: (id, output) => {
        if (current()) owner.onReply(id, output)
      },
      onCallFailed: (id, failure) => {
        if (current()) owner.onCallFailed(id, failure)
      },
      onRenew: (number) => this.feed({ type: 'renew', node, epoch, number }),
      onResult: (result) => this.#onResult(result, node, epoch),
      onLost: () => {
        if (current() && !this.#givesUp()) this.feed({ type: 'lost', node })
      },
    }
  }

  #onResult(result: OrderResult, node: string, epoch: number): void {
    const isCurrent = this.#state.epoch === epoch && !this.ended
    const fault = isCurrent && this.holder === node ? resultFault(this.#owner.order(epoch), result, node) : undefined
    if (fault !== undefined) return this.#refuse(node, epoch, fault)
    if (result.again && this.#state.epoch === epoch && this.#givesUp()) return
    const verdict = result.again ? 'again' : result.error === undefined ? 'completed' : 'failed'
    // Work that is given back is no result: an end that comes of it is one without a result, and the owner must be told
    this.#result = result.again ? undefined : result
    this.feed({ type: 'result', node, epoch, verdict })
    this.#result = undefined
  }

  /** Any member can send a result of any epoch: what it says ends its own work, not that of who has the lease. */
  #onStale(node: string, epoch: number, code: string): void {
    this.#owner.onStale(node, epoch, code)
    const placed = this.#placed.get(epoch)
    if (placed?.node === node) placed.work.withdraw(code)
  }

  /** The node has done what it does and it is not what was asked: the work goes to another. */
  #refuse(node: string, epoch: number, fault: string): void {
    const placed = this.#placed.get(epoch)?.work
    this.#owner.onStale(node, epoch, `E_PROTOCOL: ${fault}`)
    if (!this.#givesUp()) this.feed({ type: 'result', node, epoch, verdict: 'again' })
    placed?.withdraw('E_PROTOCOL')
  }

  #givesUp(): boolean {
    if (!this.#owner.endsWithHolder || !this.#wasBound) return false
    this.feed({ type: 'fail', code: 'E_EXECUTOR_LOST', message: 'The node or process that held the session was lost' })
    return true
  }

  #accept(node: string, epoch: number): void {
    const result = this.#result
    if (result === undefined) return
    const placed = this.#placed.get(epoch)?.work
    this.#owner.onAccepted(result, node, epoch).then(
      () => placed?.accepted(),
      () => undefined,
    )
  }

  #mark(node: string, change: Partial<Candidate>): void {
    const candidate = this.#round.get(node)
    if (candidate !== undefined) this.#round.set(node, { ...candidate, ...change })
  }

  #endRound(epoch: number, note: string): void {
    this.#owner.onRound(epoch, [...this.#round.values()], note)
  }

  #wakeAt(at: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.feed({ type: 'tick' }), Math.max(1, at - performance.now()))
  }

  #clear(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
