/** What every task under way has in common: its row, its events, its end, and how all of that becomes durable. */
import type { Candidate, TaskEvent, TaskView } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import { DOOR_CALL } from '../../protocol/egress/door-call.ts'
import type { JobFailure, LogLine } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { DelegationConfig, Ending } from '../../protocol/task/delegation.ts'
import type { Found, OfferAnswer } from './delegation-driver.ts'
import { EventLog } from './event-log.ts'
import type { Intent } from './intent.ts'
import { dueAt, hasEnded, type TaskRow, viewOf } from './task-row.ts'
import type { Requirements, TaskSpec } from './task-spec.ts'
import type { TaskStore } from './task-store.ts'
import type { CallerHooks } from './tasks.ts'
import type { Order, OrderKind, Worker } from './worker.ts'

/** Finds and asks nodes. */
export interface Placer {
  find(requires: Requirements, search: Search): Promise<Found> | Found
  /** @throws MeshError when the node refuses or does not answer */
  offer(node: string, task: string, spec: OfferSize, requires: Requirements): Promise<OfferAnswer>
  /** Every node that could take it now, with how much at once; for maps. */
  able(
    requires: Requirements,
  ): Promise<{ readonly nodes: readonly { node: string; slots: number }[]; readonly candidates: readonly Candidate[] }>
}

export interface Search {
  /** Nodes that refused or lost the task */
  readonly avoid: readonly string[]
  /** Nobody had a lease yet */
  readonly isFirst: boolean
}

export interface OfferSize {
  readonly programBytes: number
  readonly inputBytes: number
}

export interface TaskContext {
  readonly self: string
  readonly store: TaskStore
  readonly placer: Placer
  readonly delegation: DelegationConfig
  /** Serves `fetch` of programs under this node's rules. Absent: the network is closed to them */
  readonly fetch?: (task: string, argsJson: string, signal: AbortSignal) => Promise<string>
  worker(node: string): Worker
  /** The row changed. Told of what is durable alone. */
  changed(task: ActiveTask, view: TaskView): void
  /** Something worth a line in the log. */
  note(what: string, facts: Readonly<Record<string, unknown>>): void
}

/** Rounds kept for `explain`. */
const KEPT_ROUNDS = 20
const STORE_RETRY_MS = 500

export abstract class ActiveTask {
  readonly row: TaskRow
  readonly events = new EventLog()
  protected readonly spec: TaskSpec
  protected readonly context: TaskContext
  protected readonly caller: CallerHooks
  /** Nothing of the task may leave this node before it is on disk. */
  protected readonly intent: Intent
  /** When its deadline passes, on the clock of `performance.now()` */
  protected readonly due: number | undefined
  readonly #ended = Promise.withResolvers<TaskView>()
  #closed = false
  /** Once it ended: what is shown of it then, which holds its output parsed */
  #final: TaskView | undefined
  /** While its end is not on disk: the row without it */
  #before: TaskRow | undefined
  /** Its end is written by the one record that there is of it */
  #isOneRecord = false

  constructor(context: TaskContext, row: TaskRow, spec: TaskSpec, intent: Intent, caller: CallerHooks) {
    this.context = context
    this.row = row
    this.due = dueAt(row, performance.now(), Date.now())
    this.spec = spec
    this.intent = intent
    this.caller = caller
    this.#ended.promise.catch(() => undefined)
    this.events.add({ type: 'state', state: row.state })
  }

  /** @throws MeshError E_STORAGE when the end cannot be stored now; the task goes on trying, and whoever asks once it is stored gets it */
  get ended(): Promise<TaskView> {
    return this.#final === undefined ? this.#ended.promise : Promise.resolve(this.#final)
  }

  get view(): TaskView {
    return this.#final ?? viewOf(this.shown)
  }

  /** The row as anybody may see it: an end is not told before it is on disk. */
  get shown(): TaskRow {
    const isStored = this.#isOneRecord && this.intent.isStored
    return isStored ? this.row : (this.#before ?? this.row)
  }

  /** About how many characters it holds: what it was given, what came of it, and what it logged. */
  get weight(): number {
    const { programBytes, inputBytes } = sizeOf(this.spec, this.spec.inputs)
    return programBytes + inputBytes + (this.row.output?.length ?? 0) + this.events.logged
  }

  abstract cancel(): void
  /** The node was put out of the mesh: leases it holds are void. */
  abstract fence(node: string): void

  protected order(epoch: number, kind: OrderKind, inputs: readonly string[], id: string): Order {
    const { spec, row, due } = this
    const left = due === undefined ? undefined : Math.max(1, Math.ceil(due - performance.now()))
    return {
      task: id,
      epoch,
      kind,
      program: spec.program,
      digest: spec.digest,
      inputs,
      limits: spec.limits,
      grade: spec.requires.grade,
      hostFunctions: this.#hostFunctions(),
      fresh: spec.fresh,
      delegator: this.context.self,
      leaseMs: row.leaseMs,
      deadlineMs: left,
      path: [this.context.self],
    }
  }

  protected onLog(line: LogLine, input: number, node: string): void {
    this.caller.onLog?.({ ...line, node })
    this.emit({ type: 'log', level: line.level, text: line.text, node, ...(this.row.kind === 'map' ? { input } : {}) })
  }

  /** A host call is an effect outside: it waits until the intent of the task is on disk. */
  protected async hostCall(name: string, argsJson: string, signal: AbortSignal): Promise<string> {
    const { fetch } = this.context
    if (name === DOOR_CALL && fetch !== undefined) {
      await this.intent.begin()
      return fetch(this.row.id, argsJson, signal)
    }
    const serve = this.caller.onHostCall
    if (serve === undefined || !this.spec.hostFunctions.includes(name)) {
      throw new MeshError('E_HOST_CALL', `The host function "${name}" is not offered to this program`)
    }
    await this.intent.begin()
    return serve(name, argsJson, signal)
  }

  /** Wherever the program runs, its requests come back here: the door leads home. Not from pieces of a map, which make no calls. */
  #hostFunctions(): readonly string[] {
    const { hostFunctions } = this.spec
    const offered =
      this.context.fetch !== undefined && this.row.kind !== 'map' && hostFunctions.length < LIMITS.hostFunctions
    return offered ? [...hostFunctions, DOOR_CALL] : hostFunctions
  }

  protected stale(node: string, epoch: number, code: string): void {
    this.context.note('refused what a node sent', {
      task: this.row.id,
      node,
      epoch,
      current: this.row.epoch,
      code,
    })
  }

  protected round(epoch: number, candidates: readonly Candidate[], note: string): void {
    const before = this.row.rounds.at(-1)
    // A search repeated with the same outcome tells nothing new.
    if (
      before !== undefined &&
      before.epoch === epoch &&
      JSON.stringify(before.candidates) === JSON.stringify(candidates)
    )
      return
    this.row.rounds = [...this.row.rounds.slice(-KEPT_ROUNDS + 1), { epoch, candidates, note }]
    if (note !== '') this.row.note = `waiting for a node: ${note}`
  }

  /** The task is on a node: tell watchers; the journal learns the holder with the next record. */
  protected working(node: string, epoch: number): void {
    this.row.state = 'working'
    this.row.holder = node
    this.row.epoch = Math.max(this.row.epoch, epoch)
    this.row.note = undefined
    this.emit({ type: 'state', state: 'working', lease: { node, epoch } })
    if (this.intent.isStored) return this.context.changed(this, this.view)
    const tell = (): void => {
      if (!hasEnded(this.row)) this.context.changed(this, this.view)
    }
    this.intent.stored.then(tell, () => undefined)
  }

  protected emit(event: TaskEvent): void {
    if (!this.#closed) this.events.add(event)
  }

  /** Stores the end, then tells everyone. Rejects, and goes on trying, while it cannot be stored. @param result what the row says of a result that was accepted */
  protected async conclude(
    state: 'completed' | 'failed' | 'canceled' | 'rejected',
    error?: JobFailure,
    result: Partial<Pick<TaskRow, 'output' | 'usage' | 'receipts'>> = {},
  ): Promise<void> {
    if (hasEnded(this.row)) return
    this.#before = { ...this.row }
    Object.assign(this.row, result)
    this.row.state = state
    this.row.endedAtMs = Date.now()
    this.row.note = undefined
    if (error !== undefined) this.row.error = error
    try {
      await this.#storeEnd()
    } catch (cause) {
      this.#ended.reject(cause)
      if (!this.intent.isLost) void this.#storeLater()
      throw cause
    }
    this.#tell()
  }

  #storeEnd(): Promise<unknown> {
    this.#isOneRecord = this.intent.isHeld
    return this.#isOneRecord ? this.intent.end() : this.context.store.ended(this.row)
  }

  protected ending(ending: Ending): void {
    const code = ending.code ?? 'E_INTERNAL'
    const hint = ending.hint === undefined ? {} : { hint: ending.hint }
    const error = { code, message: ending.message ?? 'The task ended without a result', ...hint }
    this.conclude(ending.state, error).catch(() => undefined)
  }

  #tell(): void {
    this.#before = undefined
    const view = viewOf(this.row)
    this.#final = view
    this.emit({ type: 'end', task: view })
    this.#closed = true
    this.#ended.resolve(view)
    this.context.changed(this, view)
  }

  async #storeLater(): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, STORE_RETRY_MS).unref())
      const outcome = await this.context.store.ended(this.row).then(
        () => 'stored',
        (error: unknown) => (error instanceof MeshError ? error.code : 'E_STORAGE'),
      )
      if (outcome === 'stored') return this.#tell()
      if (outcome === 'E_STOPPING') return
      if (outcome === 'E_TOO_LARGE') this.#leaveOutResult()
    }
  }

  /** What no record can hold could never be stored, and the task would be done again after each restart. */
  #leaveOutResult(): void {
    const { row } = this
    row.state = 'failed'
    row.output = undefined
    row.rounds = []
    row.error = {
      code: 'E_OUTPUT',
      message: 'The result is larger than the journal can hold',
      hint: 'Return less, or give large results as files of an artifact',
    }
  }
}

export function sizeOf(spec: TaskSpec, inputs: readonly string[]): OfferSize {
  return {
    programBytes: spec.program.modules.reduce((sum, module) => sum + module.source.length, 0),
    inputBytes: inputs.reduce((sum, input) => sum + input.length, 0),
  }
}
