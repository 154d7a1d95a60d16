/** One program, one input, one result. */
import type { Candidate } from '../../protocol/api.ts'
import type { Ending } from '../../protocol/task/delegation.ts'
import type { Channel } from '../net/mesh-net.ts'
import { ActiveTask, sizeOf, type TaskContext } from './active-task.ts'
import { DelegationDriver, type DelegationOwner, type Found, type OfferAnswer } from './delegation-driver.ts'
import type { Intent } from './intent.ts'
import type { TaskRow } from './task-row.ts'
import type { TaskSpec } from './task-spec.ts'
import type { CallerHooks } from './tasks.ts'
import type { Order, OrderResult, Worker } from './worker.ts'

/** `recovered`: after a restart, with when the last holder must have stopped by, on the monotonic clock */
export interface Recovered {
  readonly heldUntil: number
}

export class RunTask extends ActiveTask implements DelegationOwner {
  readonly endsWithHolder = false
  readonly #driver: DelegationDriver

  constructor(
    context: TaskContext,
    row: TaskRow,
    spec: TaskSpec,
    intent: Intent,
    caller: CallerHooks,
    recovered?: Recovered,
  ) {
    super(context, row, spec, intent, caller)
    this.#driver = new DelegationDriver(this, startOf(row, this.due, recovered))
    intent.stored.catch(() =>
      this.#driver.feed({ type: 'fail', code: 'E_STORAGE', message: 'The task could not be stored' }),
    )
  }

  get config(): TaskContext['delegation'] {
    return { ...this.context.delegation, leaseMs: this.row.leaseMs }
  }

  cancel(): void {
    this.#driver.feed({ type: 'cancel' })
  }

  fence(node: string): void {
    this.#driver.feed({ type: 'fenced', node })
  }

  resume(channel: Channel, epoch: number): boolean {
    return this.#driver.resume(channel, epoch)
  }

  // ---- for the driver

  override order(epoch: number): Order {
    return super.order(epoch, 'run', this.spec.inputs, this.row.id)
  }

  worker(node: string): Worker {
    return this.context.worker(node)
  }

  find(avoid: readonly string[]): Promise<Found> | Found {
    return this.context.placer.find(this.spec.requires, { avoid, isFirst: this.row.epoch === 0 })
  }

  /** While nodes are asked, the intent becomes durable, with the epoch that one of them will get. */
  offer(node: string): Promise<OfferAnswer> {
    void this.intent.begin('first-epoch').catch(() => undefined)
    return this.context.placer.offer(node, this.row.id, sizeOf(this.spec, this.spec.inputs), this.spec.requires)
  }

  /**
   * A peer gets no bind before its epoch is on disk. The first may be covered by the record of the submission: it names the holder if nobody was asked;
   * if it was written while nodes were asked, the record that names the holder only follows, and a restart before it waits for the lease of whoever it was.
   * Work on this node may start at once, since it ends with this process and nothing of it leaves before (`hostCall`, `onAccepted`).
   */
  grant(epoch: number, node: string): Promise<void> | undefined {
    this.row.epoch = epoch
    this.row.holder = node
    const { intent, context } = this
    const isHere = node === context.self
    if (epoch === 1 && isHere && !intent.coversFirstEpoch()) return undefined
    if (epoch === 1 && intent.isHeld) return intent.begin('first-epoch').then(() => undefined)
    if (epoch > 1 || !intent.coversFirstEpoch())
      return Promise.all([intent.begin(), context.store.granted(this.row)]).then(() => undefined)
    context.store.granted(this.row, 'soon').catch(() => undefined)
    return isHere ? undefined : intent.stored.then(() => undefined)
  }

  onBound(node: string, epoch: number): void {
    this.working(node, epoch)
  }

  override onLog(...args: Parameters<ActiveTask['onLog']>): void {
    super.onLog(...args)
  }

  onHostCall(name: string, argsJson: string, signal: AbortSignal): Promise<string> {
    return this.hostCall(name, argsJson, signal)
  }

  onReady(): void {}
  onReply(): void {}
  onCallFailed(): void {}

  /** The receipt of work done here and the end of the task share one sync: both appends are made in this turn. */
  async onAccepted(result: OrderResult): Promise<void> {
    const { output, usage, error, receipt } = result
    const stored = this.conclude(error === undefined ? 'completed' : 'failed', error, {
      output,
      usage,
      receipts: [receipt],
    })
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

export function startOf(
  row: TaskRow,
  due: number | undefined,
  recovered: Recovered | undefined,
): ConstructorParameters<typeof DelegationDriver>[1] {
  return {
    ...(due === undefined ? {} : { deadline: due }),
    ...(recovered === undefined
      ? {}
      : { epoch: Math.max(1, row.epoch), heldUntil: recovered.heldUntil, holder: row.holder ?? '' }),
  }
}
