/**
 * The task engine: accepts runs, maps and sessions, keeps what must survive in the journal, and takes up after a restart what it had acknowledged.
 *
 * Invariants
 * E1  A task is acknowledged only when it is on disk; its end only when that is. Both may be one record where nobody wants to be told before the end.
 * E2  For one subject and idempotency key there is one task, whatever comes in parallel or after a restart.
 */
import { manyhands } from '../../proto/gen/wire.js'
import type {
  Explanation,
  MapItem,
  MapRequest,
  MapResults,
  ReceiptEnvelope,
  RunRequest,
  TaskKind,
  TaskState,
  TaskView,
} from '../../protocol/api.ts'
import { decodeBounded } from '../../protocol/bounded-decode.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { Limits } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { pieceSizeFor } from '../../protocol/task/map-plan.ts'
import type { Channel, MeshNet } from '../net/mesh-net.ts'
import { ActiveTask, type TaskContext } from './active-task.ts'
import { IdempotencyKeys } from './idempotency.ts'
import { Intent } from './intent.ts'
import { MapTask } from './map-task.ts'
import { pieceFromWire } from './order-codec.ts'
import { RecentTasks } from './recent-tasks.ts'
import { RESUME_CHANNEL } from './remote-worker.ts'
import { RunTask } from './run-task.ts'
import { SessionTask } from './session-task.ts'
import { specOf } from './submission.ts'
import { type MapState, newTaskId, type TaskRow, viewOf } from './task-row.ts'
import type { TaskSpec } from './task-spec.ts'
import type { KeyedRequest } from './task-store.ts'
import type { RunHooks, SessionCallbacks, SessionRequest, TaskCaller, TaskPage, Tasks, TaskSession } from './tasks.ts'

export interface EngineOptions {
  readonly context: Omit<TaskContext, 'changed'>
  readonly net: MeshNet
  readonly defaults: Limits
  readonly ceilings: Limits
  /** Tasks under way at once; more are refused */
  readonly maxActive: number
}

/** Inputs of one piece together, bytes: what one bind comfortably carries. */
const PIECE_BYTES = 1 << 20
/** How long the record of a run whose client waits for the end may wait for that end. */
const HOLD_MS = 10
const RESUME_BOUNDS = { what: 'opening of a channel', maxBytes: 1 << 10, maxFields: 8 }

export class TaskEngine implements Tasks {
  readonly #options: EngineOptions
  readonly #context: TaskContext
  readonly #active = new Map<string, ActiveTask>()
  readonly #recent = new RecentTasks<ActiveTask>()
  readonly #listeners = new Set<(task: TaskView) => void>()
  readonly #keys: IdempotencyKeys
  /** Tasks accepted since the start */
  accepted = 0
  #closing = false
  /** What was under way before the start is under way again */
  #recovered = false

  constructor(options: EngineOptions) {
    this.#options = options
    this.#context = { ...options.context, changed: (_task, view) => this.#changed(view) }
    this.#keys = new IdempotencyKeys(options.context.store)
    options.net.handleChannel(RESUME_CHANNEL, (channel, opening) => this.#onResume(channel, opening))
  }

  get working(): number {
    return this.#active.size
  }

  /** Tasks under way by state. */
  states(): Partial<Record<TaskState, number>> {
    const counts: Partial<Record<TaskState, number>> = {}
    for (const { row } of this.#active.values()) counts[row.state] = (counts[row.state] ?? 0) + 1
    return counts
  }

  async run(request: RunRequest, caller: TaskCaller, hooks: RunHooks = {}): Promise<TaskView> {
    const hostFunctions = hooks.hostFunctions ?? []
    const spec = specOf(request, [jsonText(request.input ?? null)], hostFunctions, this.#options)
    const keyed = this.#keys.describe('run', spec, caller)
    return this.#keys.once(
      keyed,
      async () => {
        const row = this.#newRow('run', spec, caller, request, hostFunctions.length > 0)
        const intent = this.#intent(row, spec, keyed)
        const task = new RunTask(this.#context, row, spec, intent, hooks)
        return this.#begin(task, intent, hooks.isPatient ?? false)
      },
      (id) => this.#known(id),
    )
  }

  async map(request: MapRequest, caller: TaskCaller): Promise<TaskView> {
    const inputs = request.inputs.map(jsonText)
    if (inputs.length === 0) throw new MeshError('E_BAD_REQUEST', 'Cannot map: there are no inputs')
    if (inputs.length > LIMITS.mapInputs)
      throw new MeshError(
        'E_TOO_LARGE',
        `Cannot map: ${inputs.length} inputs, at most ${LIMITS.mapInputs} are allowed`,
        { hint: 'Split it into several maps' },
      )
    const spec = { ...specOf(request, inputs, [], this.#options), fresh: request.fresh ?? false }
    const keyed = this.#keys.describe('map', spec, caller)
    return this.#keys.once(
      keyed,
      async () => {
        const map = await this.#planMap(spec, request.pieceSize)
        const row = this.#newRow('map', spec, caller, request, false, map)
        const intent = this.#intent(row, spec, keyed)
        return this.#begin(new MapTask(this.#context, row, spec, intent, map), intent, false)
      },
      (id) => this.#known(id),
    )
  }

  async session(request: SessionRequest, caller: TaskCaller, callbacks: SessionCallbacks): Promise<TaskSession> {
    const spec = specOf(request, [], request.hostFunctions, this.#options)
    const row = this.#newRow('session', spec, caller, request, true)
    const intent = this.#intent(row, spec)
    const submitted = intent.begin()
    const task = new SessionTask(this.#context, row, spec, intent, callbacks)
    this.#track(task, intent)
    await submitted
    await task.ready
    return task
  }

  async ended(id: string, signal?: AbortSignal): Promise<TaskView> {
    const task = this.#active.get(id) ?? this.#recent.get(id)
    if (task === undefined) return this.#known(id)
    if (signal === undefined) return task.ended
    signal.throwIfAborted()
    const aborted = Promise.withResolvers<never>()
    const onAbort = (): void => aborted.reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      return await Promise.race([task.ended, aborted.promise])
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  get(id: string): TaskView | undefined {
    const row = this.#row(id)
    return row === undefined ? undefined : viewOf(row)
  }

  async list(options: { limit: number; after?: string; state?: TaskState; kind?: TaskKind }): Promise<TaskPage> {
    if (options.after !== undefined && this.#row(options.after) === undefined)
      throw new MeshError('E_NOT_FOUND', `Cannot list tasks after "${options.after}": there is none with that id`, {
        hint: 'Give the cursor that the page before ended with; where that task was dropped since, begin again without one',
      })
    const { rows, next } = await this.#store.page(options)
    // What is under way is newer in memory than on disk.
    const tasks = rows.map((row) => viewOf(this.#active.get(row.id)?.shown ?? row))
    return next === undefined ? { tasks } : { tasks, next }
  }

  async results(id: string, from: number, limit: number): Promise<MapResults> {
    const row = this.#needRow(id)
    const { map } = row
    if (map === undefined)
      throw new MeshError('E_BAD_REQUEST', `Cannot read results by index: task ${id} is a ${row.kind}, not a map`)
    const items: (MapItem | null)[] = []
    const end = Math.min(map.total, from + limit)
    for (let index = from; index < end; ) {
      const piece = Math.floor(index / map.pieceSize)
      const last = Math.min(end, (piece + 1) * map.pieceSize)
      const results = this.#store.piece(id, piece)?.results
      for (; index < last; index++) items.push(results === undefined ? null : itemOf(results[index % map.pieceSize]))
    }
    return { from, items, complete: row.state !== 'submitted' && row.state !== 'working' }
  }

  async explain(id: string): Promise<Explanation> {
    return { task: id, rounds: this.#needRow(id).rounds }
  }

  async receipts(id: string): Promise<readonly ReceiptEnvelope[]> {
    const row = this.#needRow(id)
    const texts = row.map === undefined ? row.receipts : this.#pieceReceipts(row, row.map)
    return texts.filter((text) => text !== '').map((text) => JSON.parse(text) as ReceiptEnvelope)
  }

  async cancel(id: string): Promise<TaskView> {
    const task = this.#active.get(id)
    if (task === undefined) return this.#known(id)
    task.cancel()
    return task.ended
  }

  watch(id: string, from: number, listener: Parameters<Tasks['watch']>[2]): () => void {
    const task = this.#active.get(id) ?? this.#recent.get(id)
    if (task !== undefined) return task.events.watch(from, listener)
    const view = viewOf(this.#needRow(id))
    // Its events are gone; its end is not.
    queueMicrotask(() => listener(from + 1, { type: 'end', task: view }))
    return () => undefined
  }

  onChange(listener: (task: TaskView) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The node was put out of the mesh: whatever it holds goes to others. */
  fence(node: string): void {
    for (const task of [...this.#active.values()]) task.fence(node)
  }

  /**
   * Takes up what was acknowledged before this process began. A peer that held a lease may believe in it for its full length; work that
   * was here ended with the process. What needed its client is over.
   */
  async recover(): Promise<number> {
    const rows = await this.#store.open()
    for (const row of rows) await this.#recoverOne(row)
    this.#recovered = true
    return rows.length
  }

  /** Takes nothing new. Attached tasks end with their clients; the rest goes on after the next start. */
  close(): void {
    this.#closing = true
  }

  get #store(): TaskContext['store'] {
    return this.#context.store
  }

  async #recoverOne(row: TaskRow): Promise<void> {
    const spec = this.#store.spec(row)
    if (row.attached || spec === undefined) {
      row.state = 'failed'
      row.endedAtMs = Date.now()
      row.error = {
        code: 'E_CALLER_GONE',
        message: 'The daemon restarted, and the client that served this task was gone with it',
        hint: 'The effects of its last host calls are unknown: look at what they change before you run it again under a new key.',
      }
      await this.#store.ended(row)
      return
    }
    // An epoch without a holder may have been given to anyone.
    const elsewhere = row.kind === 'map' || (row.epoch > 0 && row.holder !== this.#context.self)
    const recovered = { heldUntil: performance.now() + (elsewhere ? row.leaseMs : 0) }
    const stored = Intent.known()
    const task =
      row.map === undefined
        ? new RunTask(this.#context, row, spec, stored, {}, recovered)
        : new MapTask(this.#context, row, spec, stored, row.map, recovered)
    this.#track(task, stored)
  }

  #newRow(
    kind: TaskKind,
    spec: TaskSpec,
    caller: TaskCaller,
    request: { readonly name?: string; readonly deadlineMs?: number },
    attached: boolean,
    map?: MapState,
  ): TaskRow {
    if (this.#closing) throw new MeshError('E_STOPPING', 'Cannot take the task: the daemon is shutting down')
    if (this.#active.size >= this.#options.maxActive) {
      throw new MeshError('E_OVERLOADED', `Cannot take the task: ${this.#active.size} are under way`, {
        hint: 'Wait for some of them to end, or cancel them: manyhands task ls --state working',
        retryAfterMs: 500,
      })
    }
    const createdAtMs = Date.now()
    return {
      id: newTaskId(createdAtMs),
      kind,
      state: 'submitted',
      name: request.name,
      subject: caller.subject,
      program: spec.digest,
      createdAtMs,
      endedAtMs: undefined,
      epoch: 0,
      holder: undefined,
      leaseMs: this.#context.delegation.leaseMs,
      deadlineMs: request.deadlineMs,
      attached,
      output: undefined,
      error: undefined,
      usage: undefined,
      note: undefined,
      rounds: [],
      receipts: [],
      map,
    }
  }

  #intent(row: TaskRow, spec: TaskSpec, keyed?: KeyedRequest): Intent {
    return new Intent({
      submitted: (covers) => this.#store.submitted(row, spec, keyed, covers),
      ended: () => this.#store.endedAtOnce(row, keyed),
    })
  }

  /** @param isPatient whoever asked waits for the end anyway */
  async #begin(task: ActiveTask, intent: Intent, isPatient: boolean): Promise<TaskView> {
    this.#track(task, intent)
    // The task takes its first step in a microtask made before this one, and may want the intent to say more than it would say here
    queueMicrotask(() => {
      if (isPatient && this.#store.writable) intent.hold(HOLD_MS)
      else void intent.begin()
    })
    await intent.stored
    return task.view
  }

  async #planMap(spec: TaskSpec, pieceSize: number | undefined): Promise<MapState> {
    const bytes = spec.inputs.reduce((sum, input) => sum + input.length, 0)
    const { nodes } = await this.#context.placer.able(spec.requires)
    const slots = nodes.reduce((sum, node) => sum + node.slots, 0)
    const size =
      pieceSize ??
      pieceSizeFor(spec.inputs.length, bytes, slots, { batchInputs: LIMITS.batchInputs, pieceBytes: PIECE_BYTES })
    return {
      total: spec.inputs.length,
      pieceSize: Math.min(size, LIMITS.batchInputs),
      done: 0,
      failed: 0,
      retried: 0,
      byNode: {},
    }
  }

  #track(task: ActiveTask, intent: Intent): void {
    this.accepted += 1
    this.#active.set(task.row.id, task)
    const settle = (): void => {
      this.#active.delete(task.row.id)
      if (!intent.isLost) this.#recent.add(task.row.id, task)
    }
    task.ended.then(settle, settle)
  }

  #changed(view: TaskView): void {
    for (const listener of this.#listeners) listener(view)
  }

  #row(id: string): TaskRow | undefined {
    return this.#active.get(id)?.shown ?? this.#store.get(id)
  }

  #needRow(id: string): TaskRow {
    const row = this.#row(id)
    if (row === undefined)
      throw new MeshError('E_NOT_FOUND', `There is no task ${id}`, {
        hint: 'See those of this node with: manyhands task ls; a task is known to the node that took it, as long as it is kept',
      })
    return row
  }

  #known(id: string): TaskView {
    return viewOf(this.#needRow(id))
  }

  #pieceReceipts(row: TaskRow, map: MapState): string[] {
    const texts: string[] = []
    for (let piece = 0; piece * map.pieceSize < map.total; piece++) {
      const stored = this.#store.piece(row.id, piece)
      if (stored !== undefined) texts.push(Buffer.from(stored.receipt).toString('utf8'))
    }
    return texts
  }

  #onResume(channel: Channel, opening: Uint8Array): void {
    const { taskId, epoch } = decodeBounded(manyhands.Resume, opening, RESUME_BOUNDS)
    const [id = '', piece] = taskId.split('/')
    const task = this.#active.get(id)
    let resumed = false
    if (task instanceof RunTask && piece === undefined) resumed = task.resume(channel, epoch)
    else if (task instanceof MapTask && piece !== undefined) resumed = task.resume(Number(piece), channel, epoch)
    if (resumed) return
    // Peers are connected before tasks are taken up again. The node tries again: only E_STALE_LEASE ends its work
    if (!this.#recovered && task === undefined)
      return channel.abort(new MeshError('E_SYNCING', 'The tasks of this node are not taken up yet'))
    this.#context.note('refused late work', { task: taskId, node: channel.peer, epoch })
    channel.abort(new MeshError('E_STALE_LEASE', 'The lease of this work is over'))
  }
}

/** @throws MeshError E_BAD_REQUEST for what JSON cannot say */
function jsonText(value: unknown): string {
  const text: string | undefined = JSON.stringify(value)
  return text ?? 'null'
}

function itemOf(wire: manyhands.PieceResult.$Properties | undefined): MapItem | null {
  if (wire === undefined) return null
  const piece = pieceFromWire(wire)
  return piece.ok ? { ok: true, output: JSON.parse(piece.output) as unknown } : piece
}
