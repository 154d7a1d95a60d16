/** A program bound once to a node and called many times by the client that holds the session. */
import type { Candidate, TaskView } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { JobFailure } from '../../protocol/job.ts'
import type { Ending } from '../../protocol/task/delegation.ts'
import { ActiveTask, sizeOf, type TaskContext } from './active-task.ts'
import { DelegationDriver, type DelegationOwner, type Found, type OfferAnswer } from './delegation-driver.ts'
import type { Intent } from './intent.ts'
import type { TaskRow } from './task-row.ts'
import type { TaskSpec } from './task-spec.ts'
import type { SessionCallbacks, TaskSession } from './tasks.ts'
import type { Order, OrderResult, Placed, Worker } from './worker.ts'

/**
 * A session lives in one isolate on one node: when that is lost, calls under way fail and the session ends. The client opens another; only it
 * knows which calls may be repeated. Before the first bind is confirmed, the search for a node goes on as for any task.
 */
export class SessionTask extends ActiveTask implements DelegationOwner, TaskSession {
  readonly endsWithHolder = true
  readonly #driver: DelegationDriver
  readonly #callbacks: SessionCallbacks
  readonly #open = new Set<number>()
  readonly #ready = Promise.withResolvers<void>()
  #isReady = false
  /** Why calls fail, once it has ended */
  #failure: JobFailure | undefined
  /** Who holds the session; set once */
  #placed: Placed | undefined

  constructor(context: TaskContext, row: TaskRow, spec: TaskSpec, intent: Intent, callbacks: SessionCallbacks) {
    super(context, row, spec, intent, callbacks)
    this.#callbacks = callbacks
    this.#ready.promise.catch(() => undefined)
    this.#driver = new DelegationDriver(this)
    intent.stored.catch(() =>
      this.#driver.feed({ type: 'fail', code: 'E_STORAGE', message: 'The task could not be stored' }),
    )
    this.ended.then(
      (task) => this.#end(task),
      () => this.#end(this.view),
    )
  }

  get config(): TaskContext['delegation'] {
    return { ...this.context.delegation, leaseMs: this.row.leaseMs }
  }

  get task(): TaskSession['task'] {
    return this.view
  }

  /** Resolves once a node holds the session with its program loaded. @throws MeshError why none does */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  call(id: number, inputJson: string): void {
    if (this.#failure !== undefined) return this.#fail(id, this.#failure)
    this.#open.add(id)
    // Until its end is stored nobody takes a call: it fails with the others, and for their reason
    if (!this.#driver.ended) this.#placed?.call(id, inputJson)
  }

  finish(): void {
    this.#placed?.finish()
  }

  cancel(): void {
    this.#driver.feed({ type: 'cancel' })
  }

  fence(node: string): void {
    if (this.#placed === undefined) return this.#driver.feed({ type: 'fenced', node })
    const { holder } = this.#driver
    const message = 'The node that held the session was put out of the mesh'
    if (holder === node) this.#driver.feed({ type: 'fail', code: 'E_EXECUTOR_LOST', message })
  }

  #fail(id: number, failure: JobFailure): void {
    this.#open.delete(id)
    this.#callbacks.onCallFailed(id, failure)
  }

  #end(task: TaskView): void {
    const failure = task.error ?? LOST
    this.#failure = failure
    for (const id of [...this.#open]) this.#fail(id, failure)
    // Whoever opens it has not got it yet, and hears of the end by that.
    if (!this.#isReady)
      return this.#ready.reject(new MeshError(failure.code, failure.message, { details: { failure } }))
    this.#callbacks.onEnd(task)
  }

  // ---- for the driver

  override order(epoch: number): Order {
    return super.order(epoch, 'session', [], this.row.id)
  }

  worker(node: string): Worker {
    return this.context.worker(node)
  }

  find(avoid: readonly string[]): Promise<Found> | Found {
    return this.context.placer.find(this.spec.requires, { avoid, isFirst: this.row.epoch === 0 })
  }

  offer(node: string): Promise<OfferAnswer> {
    return this.context.placer.offer(node, this.row.id, sizeOf(this.spec, []), this.spec.requires)
  }

  grant(epoch: number, node: string): Promise<void> | undefined {
    this.row.epoch = epoch
    this.row.holder = node
    return node === this.context.self ? undefined : this.intent.begin().then(() => undefined)
  }

  onBound(node: string, epoch: number): void {
    this.working(node, epoch)
    this.#placed = this.#driver.placed
  }

  onReady(): void {
    this.#isReady = true
    this.#ready.resolve()
  }

  override onLog(...args: Parameters<ActiveTask['onLog']>): void {
    super.onLog(...args)
  }

  onHostCall(name: string, argsJson: string, signal: AbortSignal): Promise<string> {
    return this.hostCall(name, argsJson, signal)
  }

  onReply(id: number, outputJson: string): void {
    if (this.#open.delete(id)) this.#callbacks.onReply(id, outputJson)
  }

  onCallFailed(id: number, failure: JobFailure): void {
    if (this.#open.has(id)) this.#fail(id, failure)
  }

  async onAccepted(result: OrderResult): Promise<void> {
    const { usage, error, receipt } = result
    const stored = this.conclude(error === undefined ? 'completed' : 'failed', error, { usage, receipts: [receipt] })
    await Promise.all([stored, result.durable])
  }

  onEnding(ending: Ending): void {
    this.ending(ending)
  }

  onStale(node: string, epoch: number, code: string): void {
    this.stale(node, epoch, code)
  }

  onRound(epoch: number, candidates: readonly Candidate[], note: string): void {
    this.round(epoch, candidates, note)
  }
}

const LOST: JobFailure = Object.freeze({ code: 'E_EXECUTOR_LOST', message: 'The session has ended' })
