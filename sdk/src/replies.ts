/** The shape of everything the daemon answers: one row for each JSON route, so a route without a check does not compile. */
import type {
  Candidate,
  CapabilityView,
  ChallengeView,
  Check,
  ConfigView,
  DoctorView,
  EventStream,
  ExecutorView,
  Explanation,
  Grade,
  InviteView,
  Lease,
  MapItem,
  MapProgress,
  MapResults,
  MembersView,
  MemberView,
  MeshEvent,
  OpenReply,
  PeerView,
  Problem,
  ReceiptCheck,
  ReceiptEnvelope,
  ReceiptsView,
  RouteName,
  Routes,
  StatusView,
  TaskEvent,
  TaskKind,
  TaskState,
  TaskView,
  TokenView,
  Upgrade,
} from '../../protocol/api.ts'
import { ARTIFACT_EVENTS, ARTIFACT_REPLIES, taskCommits } from './artifact-replies.ts'
import type { ErrorCode, JobFailure } from './errors.ts'
import { SANDBOX_REPLIES } from './sandbox-replies.ts'
import type { Shape } from './shape.ts'
import {
  anything,
  either,
  flag,
  isObject,
  list,
  nullable,
  number,
  object,
  oneOf,
  optional,
  record,
  text,
} from './shape.ts'

/** Codes are checked by form, not by list: a newer daemon may have more. */
const code: Shape<ErrorCode> = { accepts: (value) => typeof value === 'string' && /^E_[A-Z_]{1,40}$/.test(value) }
const grade = oneOf<Grade>('process', 'jailed', 'gvisor', 'microvm')
const role = oneOf('admin', 'member')
const kind = oneOf<TaskKind>('run', 'map', 'session')
const state = oneOf<TaskState>('submitted', 'working', 'input-required', 'completed', 'failed', 'canceled', 'rejected')
const literal = <T extends string>(value: T): Shape<T> => oneOf(value)

export const jobFailure: Shape<JobFailure> = object<JobFailure>({
  code,
  message: text,
  name: optional(text),
  file: optional(text),
  line: optional(number),
  column: optional(number),
  frame: optional(text),
  stack: optional(text),
  hint: optional(text),
})

export const problem: Shape<Problem> = object<Problem>({
  type: text,
  title: text,
  status: number,
  detail: text,
  code,
  hint: optional(text),
  retryAfterMs: optional(number),
  details: optional(record(anything)),
  failure: optional(jobFailure),
})

const lease = object<Lease>({ node: text, epoch: number })

const progress = object<MapProgress>({
  total: number,
  done: number,
  failed: number,
  retried: number,
  byNode: record(number),
})

const usage = object<NonNullable<TaskView['usage']>>({
  wallMs: number,
  cpuMs: number,
  memoryBytes: number,
  outputBytes: number,
  logBytes: number,
  hostCalls: number,
  calls: number,
})

export const taskView: Shape<TaskView> = object<TaskView>({
  id: text,
  kind,
  state,
  name: optional(text),
  program: text,
  createdAt: text,
  endedAt: optional(text),
  lease: optional(lease),
  attempts: number,
  output: anything,
  error: optional(jobFailure),
  usage: optional(usage),
  note: optional(text),
  commits: optional(taskCommits),
  progress: optional(progress),
})

const mapItem: Shape<MapItem> = either(
  object<Extract<MapItem, { ok: true }>>({ ok: oneOf(true), output: anything }),
  object<Extract<MapItem, { ok: false }>>({ ok: oneOf(false), error: jobFailure }),
)

const candidate = object<Candidate>({
  node: text,
  name: text,
  score: optional(number),
  rttMs: optional(number),
  etaMs: optional(number),
  queued: optional(number),
  outcome: oneOf('chosen', 'bid', 'refused', 'silent', 'filtered', 'not-asked'),
  reason: text,
})

const executor = object<ExecutorView>({ kind: text, grade, slots: number, free: number, queued: number })

const peer = object<PeerView>({
  id: text,
  name: text,
  role,
  connected: flag,
  rttMs: optional(number),
  address: optional(text),
  distanceMs: optional(number),
  capabilities: list(text),
  executors: list(executor),
  version: optional(text),
  seenSecondsAgo: optional(number),
})

const capability = object<CapabilityView>({
  label: text,
  nodes: list(
    object<CapabilityView['nodes'][number]>({
      id: text,
      name: text,
      rttMs: optional(number),
      grade: optional(grade),
      free: optional(number),
      slots: optional(number),
    }),
  ),
})

const status = object<StatusView>({
  id: text,
  name: text,
  version: text,
  mesh: object<StatusView['mesh']>({
    id: text,
    name: text,
    epoch: number,
    members: number,
    role,
    isMember: flag,
  }),
  addresses: list(text),
  apiUrl: optional(text),
  peers: object<StatusView['peers']>({ known: number, connected: number }),
  executors: list(executor),
  tasks: object<StatusView['tasks']>({ working: number, queued: number, total: number }),
  journal: object<StatusView['journal']>({ sequence: number, healthy: flag, reason: optional(text) }),
  health: oneOf('ok', 'degraded', 'read-only'),
  uptimeSeconds: number,
  joinedAfterMs: optional(number),
  pid: number,
  memoryBytes: number,
  startedAt: text,
  paths: record(text),
})

const envelope = object<ReceiptEnvelope>({
  payloadType: text,
  payload: text,
  signatures: list(object<ReceiptEnvelope['signatures'][number]>({ keyid: text, sig: text })),
})

const members = object<MembersView>({
  meshId: text,
  meshName: text,
  epoch: number,
  members: list(object<MemberView>({ id: text, name: text, role, sinceEpoch: number })),
  revoked: list(object<MembersView['revoked'][number]>({ id: text, epoch: number })),
})

type Of<T extends { type: string }, Name extends T['type']> = Extract<T, { type: Name }>

const taskEvents: { readonly [Name in TaskEvent['type']]: Shape<Of<TaskEvent, Name>> } = {
  state: object<Of<TaskEvent, 'state'>>({
    type: literal('state'),
    state,
    lease: optional(lease),
    note: optional(text),
  }),
  log: object<Of<TaskEvent, 'log'>>({ type: literal('log'), level: text, text, node: text, input: optional(number) }),
  progress: object<Of<TaskEvent, 'progress'>>({ type: literal('progress'), progress }),
  end: object<Of<TaskEvent, 'end'>>({ type: literal('end'), task: taskView }),
}

const meshEvents: { readonly [Name in MeshEvent['type']]: Shape<Of<MeshEvent, Name>> } = {
  ...ARTIFACT_EVENTS,
  'peer-up': object<Of<MeshEvent, 'peer-up'>>({ type: literal('peer-up'), peer: text, name: text }),
  'peer-down': object<Of<MeshEvent, 'peer-down'>>({ type: literal('peer-down'), peer: text, name: text, reason: text }),
  'member-joined': object<Of<MeshEvent, 'member-joined'>>({
    type: literal('member-joined'),
    peer: text,
    name: text,
    fingerprint: text,
  }),
  'member-revoked': object<Of<MeshEvent, 'member-revoked'>>({
    type: literal('member-revoked'),
    peer: text,
    name: text,
    epoch: number,
  }),
  task: object<Of<MeshEvent, 'task'>>({ type: literal('task'), task: text, kind, state, name: optional(text) }),
  alarm: object<Of<MeshEvent, 'alarm'>>({ type: literal('alarm'), what: text, detail: text }),
}

/** A discriminated union by `type`. A type not listed is refused as another shape. */
function byType<T>(shapes: Readonly<Record<string, Shape<T>>>): Shape<T> {
  return {
    accepts: (value) =>
      isObject(value) &&
      typeof value.type === 'string' &&
      Object.hasOwn(shapes, value.type) &&
      shapes[value.type]?.accepts(value) === true,
  }
}

export const taskEvent: Shape<TaskEvent> = byType<TaskEvent>(taskEvents)
export const meshEvent: Shape<MeshEvent> = byType<MeshEvent>(meshEvents)
export const logEvent: Shape<Of<TaskEvent, 'log'>> = taskEvents.log
export const openReply: Shape<OpenReply> = object<OpenReply>({ task: text, lease: optional(lease) })
export const challenge: Shape<ChallengeView> = object<ChallengeView>({ proof: text, version: text })
export const hostCall: Shape<{ readonly name: string; readonly args: unknown }> = object({ name: text, args: anything })

const tokens = object<{ tokens: readonly TokenView[] }>({
  tokens: list(object<TokenView>({ name: text, access: oneOf('read', 'run', 'admin'), createdAt: text })),
})

/** Routes that answer one JSON value. */
export type JsonRoute = {
  [R in RouteName]: Routes[R]['reply'] extends EventStream<unknown> | Upgrade | string ? never : R
}[RouteName]

export const REPLIES: { readonly [R in JsonRoute]: Shape<Routes[R]['reply']> } = {
  ...ARTIFACT_REPLIES,
  'GET /v0/challenge': challenge,
  'GET /v0/status': status,
  'GET /v0/peers': object<{ peers: readonly PeerView[] }>({ peers: list(peer) }),
  'GET /v0/capabilities': object<{ capabilities: readonly CapabilityView[] }>({ capabilities: list(capability) }),
  'GET /v0/doctor': object<DoctorView>({
    checks: list(
      object<Check>({ name: text, ok: flag, level: oneOf('ok', 'warn', 'fail'), found: text, hint: optional(text) }),
    ),
    ok: flag,
  }),
  'GET /v0/config': object<ConfigView>({ config: anything, origin: record(text) }),
  'GET /v0/members': members,
  'POST /v0/invites': object<InviteView>({
    invite: text,
    expiresAt: text,
    role,
    meshId: text,
    meshName: text,
    inviter: text,
    fingerprint: text,
  }),
  'POST /v0/members/:id/revoke': members,
  'POST /v0/tasks': taskView,
  'POST /v0/maps': taskView,
  'GET /v0/tasks': object<Routes['GET /v0/tasks']['reply']>({ tasks: list(taskView), next: optional(text) }),
  'GET /v0/tasks/:id': taskView,
  'GET /v0/tasks/:id/results': object<MapResults>({ from: number, items: list(nullable(mapItem)), complete: flag }),
  'GET /v0/tasks/:id/explain': object<Explanation>({
    task: text,
    rounds: list(object<Explanation['rounds'][number]>({ epoch: number, candidates: list(candidate), note: text })),
  }),
  'GET /v0/tasks/:id/receipts': object<ReceiptsView>({ task: text, receipts: list(envelope) }),
  'POST /v0/tasks/:id/cancel': taskView,
  'POST /v0/receipts/verify': object<ReceiptCheck>({
    valid: flag,
    reason: optional(text),
    node: optional(text),
    task: optional(text),
    epoch: optional(number),
    outcome: optional(text),
    program: optional(text),
    input: optional(text),
    output: optional(text),
    work: optional(text),
    commits: optional(taskCommits),
    sequence: optional(number),
    previous: optional(text),
  }),
  'GET /v0/tokens': tokens,
  'POST /v0/tokens': object<{ token: string }>({ token: text }),
  'POST /v0/tokens/:name/revoke': tokens,
  'POST /v0/shutdown': object<{ stopping: true }>({ stopping: oneOf(true) }),
  'GET /v0/openapi.json': anything,
  ...SANDBOX_REPLIES,
}

export { envelope as receiptEnvelope }
