/** A task as the node remembers it: the row of table "task", its protobuf form and the view the API shows. */
import { randomBytes } from 'node:crypto'
import { manyhands } from '../../proto/gen/wire.js'
import type { Explanation, Lease, MapProgress, TaskKind, TaskState, TaskView } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { JobFailure, Usage } from '../../protocol/job.ts'
import { failureFromWire, failureToWire, usageFromWire } from '../../protocol/task/job-codec.ts'

export interface MapState {
  total: number
  pieceSize: number
  done: number
  failed: number
  retried: number
  byNode: Record<string, number>
}

export type Rounds = Explanation['rounds']

/** Mutable: its one owner is the task it belongs to. */
export interface TaskRow {
  readonly id: string
  readonly kind: TaskKind
  state: TaskState
  readonly name: string | undefined
  readonly subject: string
  /** sha256 of the program, hex */
  readonly program: string
  readonly createdAtMs: number
  endedAtMs: number | undefined
  /** Of the last lease that may have been given */
  epoch: number
  holder: string | undefined
  readonly leaseMs: number
  readonly deadlineMs: number | undefined
  /** Ends when its client goes: it has host functions, or is a session */
  readonly attached: boolean
  /** JSON text */
  output: string | undefined
  error: JobFailure | undefined
  usage: Usage | undefined
  note: string | undefined
  rounds: Rounds
  /** DSSE envelopes as JSON texts */
  receipts: string[]
  readonly map: MapState | undefined
}

const ENDED: ReadonlySet<TaskState> = new Set<TaskState>(['completed', 'failed', 'canceled', 'rejected'])

export function hasEnded(row: Pick<TaskRow, 'state'>): boolean {
  return ENDED.has(row.state)
}

/**
 * When the task's deadline passes, on the monotonic clock that reads `now`; undefined without one. Asked once, when the task is taken up: from then
 * on jumps of the wall clock are not felt. Over a restart only the wall clock tells how much is gone, and it never adds to what was asked for.
 */
export function dueAt(
  row: Pick<TaskRow, 'createdAtMs' | 'deadlineMs'>,
  now: number,
  wallNow: number,
): number | undefined {
  if (row.deadlineMs === undefined) return undefined
  const left = row.createdAtMs + row.deadlineMs - wallNow
  return now + Math.min(Math.max(left, 0), row.deadlineMs)
}

/** Sorts by time of creation: 9 characters of milliseconds in base 36, then 10 random ones. */
export function newTaskId(nowMs: number): string {
  return `t${nowMs.toString(36).padStart(9, '0')}${randomBytes(8).toString('hex').slice(0, 10)}`
}

/** Milliseconds since 1970, of an id that `newTaskId` made. */
export function createdAtOf(id: string): number {
  return Number.parseInt(id.slice(1, 10), 36)
}

export function encodeRow(row: TaskRow): Uint8Array {
  return manyhands.TaskRow.encode({
    id: row.id,
    kind: row.kind,
    state: row.state,
    name: row.name ?? '',
    subject: row.subject,
    program: row.program,
    createdAtMs: row.createdAtMs,
    endedAtMs: row.endedAtMs ?? 0,
    epoch: row.epoch,
    holder: row.holder ?? '',
    leaseMs: row.leaseMs,
    deadlineMs: row.deadlineMs ?? 0,
    attached: row.attached,
    output: row.output === undefined ? new Uint8Array(0) : Buffer.from(row.output),
    ...(row.error ? { error: failureToWire(row.error) } : {}),
    ...(row.usage ? { usage: { ...row.usage } } : {}),
    note: row.note ?? '',
    rounds: row.rounds.length === 0 ? new Uint8Array(0) : Buffer.from(JSON.stringify(row.rounds)),
    receipts: row.receipts.map((receipt) => Buffer.from(receipt)),
    ...(row.map ? { map: { ...row.map } } : {}),
  }).finish()
}

/** @throws MeshError E_JOURNAL_GAP when the row does not decode */
export function decodeRow(bytes: Uint8Array): TaskRow {
  try {
    return fromWire(manyhands.TaskRow.decode(bytes))
  } catch (cause) {
    throw new MeshError('E_JOURNAL_GAP', 'Cannot read a task from the journal: its row does not decode', { cause })
  }
}

function fromWire(wire: manyhands.TaskRow): TaskRow {
  return {
    id: wire.id,
    kind: kindOf(wire.kind),
    state: stateOf(wire.state),
    name: wire.name || undefined,
    subject: wire.subject,
    program: wire.program,
    createdAtMs: wire.createdAtMs,
    endedAtMs: wire.endedAtMs || undefined,
    epoch: wire.epoch,
    holder: wire.holder || undefined,
    leaseMs: wire.leaseMs,
    deadlineMs: wire.deadlineMs || undefined,
    attached: wire.attached,
    output: wire.output.byteLength === 0 ? undefined : textOf(wire.output),
    error: wire.error ? failureFromWire(wire.error) : undefined,
    usage: wire.usage ? usageFromWire(wire.usage) : undefined,
    note: wire.note || undefined,
    rounds: wire.rounds.byteLength === 0 ? [] : roundsOf(textOf(wire.rounds)),
    receipts: wire.receipts.map(textOf),
    map: wire.map ? mapOf(wire.map) : undefined,
  }
}

function mapOf(wire: manyhands.MapRow.$Properties): MapState {
  return {
    total: wire.total ?? 0,
    pieceSize: wire.pieceSize ?? 1,
    done: wire.done ?? 0,
    failed: wire.failed ?? 0,
    retried: wire.retried ?? 0,
    byNode: { ...wire.byNode },
  }
}

/** Our own bytes back from our own journal: only the outer shape needs checking. */
function roundsOf(text: string): Rounds {
  const value: unknown = JSON.parse(text)
  if (!Array.isArray(value)) throw new TypeError('rounds are not a list')
  return value as Rounds
}

function kindOf(value: string): TaskKind {
  if (value === 'run' || value === 'map' || value === 'session') return value
  throw new TypeError(`unknown task kind "${value}"`)
}

function stateOf(value: string): TaskState {
  switch (value) {
    case 'submitted':
    case 'working':
    case 'input-required':
    case 'completed':
    case 'failed':
    case 'canceled':
    case 'rejected':
      return value
    default:
      throw new TypeError(`unknown task state "${value}"`)
  }
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}

export function progressOf(map: MapState): MapProgress {
  return { total: map.total, done: map.done, failed: map.failed, retried: map.retried, byNode: { ...map.byNode } }
}

export function viewOf(row: TaskRow): TaskView {
  const lease: Lease | undefined = row.holder === undefined ? undefined : { node: row.holder, epoch: row.epoch }
  return {
    id: row.id,
    kind: row.kind,
    state: row.state,
    ...(row.name === undefined ? {} : { name: row.name }),
    program: row.program,
    createdAt: new Date(row.createdAtMs).toISOString(),
    ...(row.endedAtMs === undefined ? {} : { endedAt: new Date(row.endedAtMs).toISOString() }),
    ...(lease === undefined ? {} : { lease }),
    attempts: row.epoch,
    ...(row.output === undefined ? {} : { output: JSON.parse(row.output) as unknown }),
    ...(row.error === undefined ? {} : { error: row.error }),
    ...(row.usage === undefined ? {} : { usage: row.usage }),
    ...(row.note === undefined ? {} : { note: row.note }),
    ...(row.map === undefined ? {} : { progress: progressOf(row.map) }),
  }
}
