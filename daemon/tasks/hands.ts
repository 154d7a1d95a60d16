/**
 * This node's hands: takes orders from anyone the mesh lets in (itself included), queues them fairly by delegator, runs them on an executor and signs a receipt
 * for each. Knows nothing of leases or networks.
 */
import { type ErrorCode, MeshError } from '../../protocol/errors.ts'
import { FairQueue } from '../../protocol/fair-queue.ts'
import { type Grade, type JobFailure, NO_USAGE } from '../../protocol/job.ts'
import { gradeSuffices } from '../../protocol/task/job-codec.ts'
import type { Executor } from '../exec/executor.ts'
import { runBatch } from './batch.ts'
import { type DigestedOrder, digestOfInputs, digestOfOutputs } from './digest.ts'
import { isNoFault } from './failure.ts'
import type { HandEvents, Held } from './hand-events.ts'
import { serveSession } from './order-session.ts'
import type { IssuedReceipt, ReceiptBook } from './receipt-book.ts'
import type { Order, OrderResult, PieceOutcome } from './worker.ts'

export interface HandsConfig {
  /** Orders run at once, sessions apart */
  readonly slots: number
  /** Sessions open at once */
  readonly sessions: number
  /** Orders that may wait, in all and of one delegator */
  readonly queue: number
  readonly queuePerOrigin: number
  /** Told when work begins or ends */
  readonly onChange?: () => void
}

export interface HandsState {
  readonly slots: number
  readonly busy: number
  readonly queued: number
  /** Estimate until a new order would start, milliseconds */
  readonly etaMs: number
}

interface Waiting {
  start(): void
  /** Gives the order back unfinished. */
  drop(): void
}

/** How much the newest run weighs in the average that the ETA is made of. */
const SMOOTHING = 0.2

export class Hands {
  readonly grade: Grade
  readonly #executor: Executor
  readonly #config: HandsConfig
  readonly #receipts: ReceiptBook
  readonly #queue: FairQueue<Waiting>
  readonly #stops = new Set<() => void>()
  readonly #outcomes = new Map<'ok' | ErrorCode, number>()
  #running = 0
  #sessions = 0
  #averageMs = 5
  #closing = false
  #idle: (() => void)[] = []

  constructor(executor: Executor, receipts: ReceiptBook, config: HandsConfig) {
    this.#executor = executor
    this.#receipts = receipts
    this.#config = config
    this.grade = executor.grade
    this.#queue = new FairQueue({ maxTotal: config.queue, maxPerOrigin: config.queuePerOrigin })
  }

  /** How many orders were finished, and how */
  get outcomes(): ReadonlyMap<'ok' | ErrorCode, number> {
    return this.#outcomes
  }

  state(): HandsState {
    const { slots } = this.#config
    const queued = this.#queue.size
    const ahead = Math.max(0, this.#running + queued - slots + 1)
    return { slots, busy: this.#running, queued, etaMs: Math.round((ahead * this.#averageMs) / slots) }
  }

  /**
   * Accepts an order, now or never. Work starts when a slot is free.
   * @throws MeshError E_GRADE, E_OVERLOADED with retryAfterMs, E_STOPPING
   */
  take(order: Order, events: HandEvents): Held {
    this.#admit(order)
    return order.kind === 'session' ? this.#takeSession(order, events) : this.#takeWork(order, events)
  }

  /** Whether an order like this would be accepted now. @throws as `take` */
  check(kind: Order['kind'], origin: string, grade: Grade | undefined): void {
    if (this.#closing) throw new MeshError('E_STOPPING', 'This node is shutting down')
    if (!gradeSuffices(this.grade, grade)) {
      throw new MeshError('E_GRADE', `This node isolates by grade "${this.grade}", the task demands "${grade}"`, {
        hint: 'Ask for a lower grade, or another node; `manyhands capabilities` shows the grades',
      })
    }
    const full =
      kind === 'session'
        ? this.#sessions >= this.#config.sessions
        : this.#queue.sizeOf(origin) >= this.#config.queuePerOrigin
    if (full) throw this.#overloaded()
  }

  /** Takes nothing more; resolves when what runs has ended. */
  async drain(): Promise<void> {
    this.#closing = true
    if (this.#running + this.#queue.size + this.#sessions === 0) return
    await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Ends everything now. */
  stop(): void {
    this.#closing = true
    for (const stop of [...this.#stops]) stop()
  }

  #admit(order: Order): void {
    this.check(order.kind, order.delegator, order.grade)
  }

  #overloaded(): MeshError {
    const retryAfterMs = Math.min(5_000, Math.max(25, this.state().etaMs))
    return new MeshError('E_OVERLOADED', 'This node has no room for more work now', { retryAfterMs })
  }

  #takeWork(order: Order, events: HandEvents): Held {
    const abort = new AbortController()
    const waiting: Waiting = {
      start: () => void this.#run(order, events, abort),
      drop: () => events.onResult(unfinished()),
    }
    const stop = (): void => {
      abort.abort(new MeshError('E_CANCELED', 'The task was canceled'))
      this.#queue.removeWhere((_, other) => other === waiting)
      this.#settled()
    }
    if (this.#running < this.#config.slots && this.#queue.size === 0) waiting.start()
    else this.#enqueue(order.delegator, waiting)
    return { call: ignore, finish: ignore, stop }
  }

  /** A late comer may take the place of the newest order of whoever waits with most: that one goes back to its delegator. */
  #enqueue(origin: string, waiting: Waiting): void {
    const queued = this.#queue.push(origin, waiting)
    if (queued.type === 'refused') throw this.#overloaded()
    queued.dropped?.item.drop()
  }

  async #run(order: Order, events: HandEvents, abort: AbortController): Promise<void> {
    this.#running += 1
    this.#config.onChange?.()
    const stop = (): void => abort.abort(new MeshError('E_EXECUTOR_LOST', 'The node stopped'))
    this.#stops.add(stop)
    const startedAt = performance.now()
    try {
      const result = await this.#work(order, events, abort.signal)
      this.#averageMs += SMOOTHING * (performance.now() - startedAt - this.#averageMs)
      if (!abort.signal.aborted) events.onResult(result)
    } finally {
      this.#stops.delete(stop)
      this.#running -= 1
      this.#next()
      this.#config.onChange?.()
    }
  }

  #next(): void {
    while (this.#running < this.#config.slots) {
      const waiting = this.#queue.shift()
      if (waiting === undefined) break
      waiting.item.start()
    }
    this.#settled()
  }

  #settled(): void {
    if (!this.#closing || this.#running + this.#queue.size + this.#sessions > 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  async #work(order: Order, events: HandEvents, signal: AbortSignal): Promise<OrderResult> {
    const job = {
      program: order.program,
      limits: order.limits,
      domain: order.delegator,
      hostFunctions: order.hostFunctions,
    }
    if (order.kind === 'batch') {
      const { pieces, usage } = await runBatch(this.#executor, job, order, events, signal)
      const lost = pieces.some((piece) => !piece.ok && isNoFault(piece.error.code))
      return lost ? unfinished() : this.#finished(order, { pieces, usage })
    }
    const outcome = await this.#executor.run(job, order.inputs[0] ?? 'null', {
      onLog: (line) => events.onLog(line, 0),
      onHostCall: (name, args, callSignal) => events.onHostCall(name, args, callSignal),
      signal,
    })
    if (outcome.ok) return this.#finished(order, { output: outcome.output, usage: outcome.usage })
    if (isNoFault(outcome.error.code)) return unfinished()
    return this.#finished(order, { error: outcome.error, usage: outcome.usage })
  }

  #takeSession(order: Order, events: HandEvents): Held {
    this.#sessions += 1
    const held = serveSession(this.#executor, order, events, {
      finished: (facts) => (facts.lost ? unfinished() : this.#finished(order, facts)),
      ended: () => {
        this.#stops.delete(held.stop)
        this.#sessions -= 1
        this.#settled()
      },
    })
    this.#stops.add(held.stop)
    return held
  }

  #finished(order: Order, facts: Finished): OrderResult {
    const outcome = facts.error?.code ?? 'ok'
    this.#outcomes.set(outcome, (this.#outcomes.get(outcome) ?? 0) + 1)
    const digested: DigestedOrder = {
      order,
      grade: this.grade,
      input: facts.inputDigest ?? digestOfInputs(order.inputs),
      output: facts.outputDigest ?? digestOfOutputs(facts.output, facts.pieces ?? []),
      usage: facts.usage,
      failed: facts.error?.code,
    }
    const issued = this.#issue(digested)
    if (issued === undefined) return unfinished()
    const { envelope, durable } = issued
    return {
      again: false,
      output: facts.output,
      error: facts.error,
      pieces: facts.pieces ?? [],
      usage: facts.usage,
      receipt: envelope,
      durable,
    }
  }

  /** Work without a receipt is not done: while the journal cannot be read, it goes back to its delegator. */
  #issue(work: DigestedOrder): IssuedReceipt | undefined {
    try {
      return this.#receipts.issue(work)
    } catch {
      return undefined
    }
  }
}

interface Finished {
  readonly output?: string
  readonly error?: JobFailure | undefined
  readonly pieces?: readonly PieceOutcome[]
  readonly usage: OrderResult['usage']
  readonly inputDigest?: string
  readonly outputDigest?: string
}

function unfinished(): OrderResult {
  return {
    again: true,
    output: undefined,
    error: undefined,
    pieces: [],
    usage: NO_USAGE,
    receipt: '',
    durable: Promise.resolve(),
  }
}

function ignore(): void {}
