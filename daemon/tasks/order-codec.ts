/** Orders and their results as protobuf messages: what travels on a task channel. */
import { randomBytes } from 'node:crypto'
import { manyhands } from '../../proto/gen/wire.js'
import { MeshError } from '../../protocol/errors.ts'
import type { Limits } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import {
  failureFromWire,
  failureToWire,
  isGrade,
  limitsFromWire,
  programFromWire,
  usageFromWire,
} from '../../protocol/task/job-codec.ts'
import { programDigest } from '../programs/program.ts'
import type { Order, OrderKind, OrderResult, PieceOutcome } from './worker.ts'

const { JobKind } = manyhands
const KINDS: Readonly<Record<OrderKind, manyhands.JobKind>> = {
  run: JobKind.JOB_RUN,
  batch: JobKind.JOB_BATCH,
  session: JobKind.JOB_SESSION,
}

export function bindOf(order: Order, audience: string): manyhands.Bind.$Properties {
  return {
    taskId: order.task,
    epoch: order.epoch,
    kind: KINDS[order.kind],
    program: { main: order.program.main, modules: order.program.modules.map((module) => ({ ...module })) },
    inputs: order.inputs.map((input) => Buffer.from(input)),
    limits: { ...order.limits },
    requires: { grade: order.grade ?? '' },
    hostFunctions: [...order.hostFunctions],
    leaseMs: order.leaseMs,
    deadlineMs: order.deadlineMs ?? 0,
    hops: order.path.length,
    path: [...order.path],
    nonce: randomBytes(12).toString('hex'),
    audience,
    fresh: order.fresh,
  }
}

export interface OrderContext {
  readonly self: string
  readonly peer: string
  readonly defaults: Limits
}

/**
 * Reads a bind that arrived from `peer`.
 * @throws MeshError E_PROTOCOL when it breaks a limit, E_REPLAYED when it is meant for another node, E_HOPS when it came round or too far
 */
export function orderOf(bind: manyhands.Bind.$Properties, context: OrderContext): Order {
  const path = bind.path ?? []
  if (bind.audience !== context.self)
    throw new MeshError('E_REPLAYED', 'Cannot accept the task: it is meant for another node')
  checkPath(path, context)
  const inputs = bind.inputs ?? []
  const bytes = inputs.reduce((sum, input) => sum + input.byteLength, 0)
  if (inputs.length > LIMITS.batchInputs || bytes > LIMITS.inputBytes) {
    throw new MeshError('E_PROTOCOL', `Cannot accept the task: ${inputs.length} inputs of ${bytes} bytes are too much`)
  }
  const hostFunctions = bind.hostFunctions ?? []
  if (hostFunctions.length > LIMITS.hostFunctions)
    throw new MeshError('E_PROTOCOL', 'Cannot accept the task: too many host functions')
  const task = bind.taskId ?? ''
  if (!/^[\w/-]{1,80}$/.test(task)) throw new MeshError('E_PROTOCOL', 'Cannot accept the task: its id is malformed')
  const program = programFromWire(bind.program)
  const kind = kindOf(bind.kind)
  if (kind === 'run' && inputs.length !== 1)
    throw new MeshError('E_PROTOCOL', 'Cannot accept the task: a run takes one input')
  if (kind === 'batch' && inputs.length === 0)
    throw new MeshError('E_PROTOCOL', 'Cannot accept the task: a batch takes at least one input')
  const grade = bind.requires?.grade
  if (grade && !isGrade(grade))
    throw new MeshError('E_GRADE', 'Cannot accept the task: it demands a grade unknown here')
  return {
    task,
    epoch: bind.epoch ?? 0,
    kind,
    program,
    digest: programDigest(program),
    inputs: inputs.map((input) => Buffer.from(input).toString('utf8')),
    limits: limitsFromWire(bind.limits, context.defaults),
    grade: grade && isGrade(grade) ? grade : undefined,
    hostFunctions,
    fresh: bind.fresh ?? false,
    delegator: context.peer,
    // Never taken for longer than the shortest that a delegator may be configured to give: it would give the work to another meanwhile
    leaseMs: Math.min(Math.max(bind.leaseMs ?? 0, 200), 600_000),
    deadlineMs: bind.deadlineMs ? bind.deadlineMs : undefined,
    path,
  }
}

/**
 * The path tells truly who passed the task on, at least its last step: the peer itself.
 * @throws MeshError E_HOPS, E_PROTOCOL
 */
export function checkPath(path: readonly string[], context: Pick<OrderContext, 'self' | 'peer'>): void {
  if (path.length > LIMITS.hops)
    throw new MeshError('E_HOPS', `Cannot accept the task: passed on ${path.length} times, at most ${LIMITS.hops}`)
  if (path.includes(context.self))
    throw new MeshError('E_HOPS', 'Cannot accept the task: it came through this node before')
  if (path.at(-1) !== context.peer)
    throw new MeshError('E_PROTOCOL', 'Cannot accept the task: its path does not end with its sender')
}

function kindOf(kind: manyhands.JobKind | null | undefined): OrderKind {
  switch (kind) {
    case JobKind.JOB_BATCH:
      return 'batch'
    case JobKind.JOB_SESSION:
      return 'session'
    default:
      return 'run'
  }
}

export function resultToWire(
  order: Pick<Order, 'task' | 'epoch'>,
  result: OrderResult,
): manyhands.JobResult.$Properties {
  return {
    taskId: order.task,
    epoch: order.epoch,
    output: result.output === undefined ? new Uint8Array(0) : Buffer.from(result.output),
    ...(result.error ? { error: failureToWire(result.error) } : {}),
    usage: { ...result.usage },
    receipt: Buffer.from(result.receipt),
    pieces: result.pieces.map((piece) =>
      piece.ok ? { output: Buffer.from(piece.output) } : { error: failureToWire(piece.error) },
    ),
    again: result.again,
  }
}

export function resultFromWire(wire: manyhands.JobResult.$Properties): OrderResult {
  return {
    again: wire.again ?? false,
    output: wire.error ? undefined : textOf(wire.output),
    error: wire.error ? failureFromWire(wire.error) : undefined,
    pieces: (wire.pieces ?? []).map(pieceFromWire),
    usage: usageFromWire(wire.usage),
    receipt: textOf(wire.receipt),
    durable: Promise.resolve(),
  }
}

export function pieceFromWire(wire: manyhands.PieceResult.$Properties): PieceOutcome {
  return wire.error ? { ok: false, error: failureFromWire(wire.error) } : { ok: true, output: textOf(wire.output) }
}

function textOf(bytes: Uint8Array | null | undefined): string {
  return bytes ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8') : ''
}
