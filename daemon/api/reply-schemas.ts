/** What the routes answer, for the OpenAPI document; held equal to protocol/api.ts by its types. Answers are not checked at run time: they are ours. */
import { z } from 'zod'
import type {
  CapabilityView,
  ChallengeView,
  ConfigView,
  DoctorView,
  ExecutorView,
  Explanation,
  InviteView,
  MapProgress,
  MapResults,
  MembersView,
  MeshEvent,
  PeerView,
  Problem,
  ReceiptCheck,
  ReceiptsView,
  StatusView,
  TaskEvent,
  TaskView,
  TokenView,
} from '../../protocol/api.ts'
import { ERRORS, type ErrorCode } from '../../protocol/errors.ts'
import { GRADES, type JobFailure, type Usage } from '../../protocol/job.ts'
import { ARTIFACT_EVENTS, taskCommits } from './artifact-replies.ts'
import { describes, receiptEnvelope } from './request-schemas.ts'

const text = z.string()
const number = z.number()
const maybe = text.exactOptional()
const maybeNumber = number.exactOptional()
const grade = z.enum(GRADES)
const role = z.enum(['admin', 'member'])
const texts = z.array(text)
const state = z.enum(['submitted', 'working', 'input-required', 'completed', 'failed', 'canceled', 'rejected'])
const kind = z.enum(['run', 'map', 'session'])
const code = z
  .custom<ErrorCode>((value) => typeof value === 'string' && Object.hasOwn(ERRORS, value))
  .meta({ type: 'string', enum: Object.keys(ERRORS) })

export const jobFailure = describes<JobFailure>()(
  z.object({
    code,
    message: text,
    name: maybe,
    file: maybe,
    line: maybeNumber,
    column: maybeNumber,
    frame: maybe,
    stack: maybe,
    hint: maybe,
  }),
)
export const problem = describes<Problem>()(
  z.object({
    type: text,
    title: text,
    status: number,
    detail: text,
    code,
    hint: maybe,
    retryAfterMs: maybeNumber,
    details: z.record(text, z.unknown()).exactOptional(),
    failure: jobFailure.exactOptional(),
  }),
)
const usage = describes<Usage>()(
  z.object({
    wallMs: number,
    cpuMs: number,
    memoryBytes: number,
    outputBytes: number,
    logBytes: number,
    hostCalls: number,
    calls: number,
  }),
)
const lease = z.object({ node: text, epoch: number })
const progress = describes<MapProgress>()(
  z.object({ total: number, done: number, failed: number, retried: number, byNode: z.record(text, number) }),
)

export const taskView = describes<TaskView>()(
  z.object({
    id: text,
    kind,
    state,
    name: maybe,
    program: text,
    createdAt: text,
    endedAt: maybe,
    lease: lease.exactOptional(),
    attempts: number,
    output: z.unknown().exactOptional(),
    error: jobFailure.exactOptional(),
    usage: usage.exactOptional(),
    note: maybe,
    commits: taskCommits.exactOptional(),
    progress: progress.exactOptional(),
  }),
)
export const tasksReply = z.object({ tasks: z.array(taskView), next: maybe })
const item = z.union([
  z.object({ ok: z.literal(true), output: z.unknown() }),
  z.object({ ok: z.literal(false), error: jobFailure }),
])
export const mapResults = describes<MapResults>()(
  z.object({ from: number, items: z.array(item.nullable()), complete: z.boolean() }),
)
const candidate = z.object({
  node: text,
  name: text,
  score: maybeNumber,
  rttMs: maybeNumber,
  etaMs: maybeNumber,
  queued: maybeNumber,
  outcome: z.enum(['chosen', 'bid', 'refused', 'silent', 'filtered', 'not-asked']),
  reason: text,
})
export const explanation = describes<Explanation>()(
  z.object({ task: text, rounds: z.array(z.object({ epoch: number, candidates: z.array(candidate), note: text })) }),
)
export const taskEvent: z.ZodType<TaskEvent> = z.discriminatedUnion('type', [
  z.object({ type: z.literal('state'), state, lease: lease.exactOptional(), note: maybe }),
  z.object({ type: z.literal('log'), level: text, text, node: text, input: maybeNumber }),
  z.object({ type: z.literal('progress'), progress }),
  z.object({ type: z.literal('end'), task: taskView }),
])

const executorView = describes<ExecutorView>()(
  z.object({ kind: text, grade, slots: number, free: number, queued: number }),
)
const peerView = describes<PeerView>()(
  z.object({
    id: text,
    name: text,
    role,
    connected: z.boolean(),
    rttMs: maybeNumber,
    address: maybe,
    distanceMs: maybeNumber,
    capabilities: texts,
    executors: z.array(executorView),
    version: maybe,
    seenSecondsAgo: maybeNumber,
  }),
)
export const peersReply = z.object({ peers: z.array(peerView) })
const holder = z.object({
  id: text,
  name: text,
  rttMs: maybeNumber,
  grade: grade.exactOptional(),
  free: maybeNumber,
  slots: maybeNumber,
})
const capabilityView = describes<CapabilityView>()(z.object({ label: text, nodes: z.array(holder) }))
export const capabilitiesReply = z.object({ capabilities: z.array(capabilityView) })
export const statusView = describes<StatusView>()(
  z.object({
    id: text,
    name: text,
    version: text,
    mesh: z.object({ id: text, name: text, epoch: number, members: number, role, isMember: z.boolean() }),
    addresses: texts,
    apiUrl: maybe,
    peers: z.object({ known: number, connected: number }),
    executors: z.array(executorView),
    tasks: z.object({ working: number, queued: number, total: number }),
    journal: z.object({ sequence: number, healthy: z.boolean(), reason: maybe }),
    health: z.enum(['ok', 'degraded', 'read-only']),
    uptimeSeconds: number,
    joinedAfterMs: maybeNumber,
    pid: number,
    memoryBytes: number,
    startedAt: text,
    paths: z.record(text, text),
  }),
)
const check = z.object({ name: text, ok: z.boolean(), level: z.enum(['ok', 'warn', 'fail']), found: text, hint: maybe })
export const doctorView = describes<DoctorView>()(z.object({ checks: z.array(check), ok: z.boolean() }))
export const inviteView = describes<InviteView>()(
  z.object({ invite: text, expiresAt: text, role, meshId: text, meshName: text, inviter: text, fingerprint: text }),
)
const member = z.object({ id: text, name: text, role, sinceEpoch: number })
export const membersView = describes<MembersView>()(
  z.object({
    meshId: text,
    meshName: text,
    epoch: number,
    members: z.array(member),
    revoked: z.array(z.object({ id: text, epoch: number })),
  }),
)
const ofPeer = { peer: text, name: text }
export const meshEvent: z.ZodType<MeshEvent> = z.discriminatedUnion('type', [
  ...ARTIFACT_EVENTS,
  z.object({ type: z.literal('peer-up'), ...ofPeer }),
  z.object({ type: z.literal('peer-down'), ...ofPeer, reason: text }),
  z.object({ type: z.literal('member-joined'), ...ofPeer, fingerprint: text }),
  z.object({ type: z.literal('member-revoked'), ...ofPeer, epoch: number }),
  z.object({ type: z.literal('task'), task: text, kind, state, name: maybe }),
  z.object({ type: z.literal('alarm'), what: text, detail: text }),
])
export const receiptsView = describes<ReceiptsView>()(z.object({ task: text, receipts: z.array(receiptEnvelope) }))
export const receiptCheck = describes<ReceiptCheck>()(
  z.object({
    valid: z.boolean(),
    reason: maybe,
    node: maybe,
    task: maybe,
    epoch: maybeNumber,
    outcome: maybe,
    program: maybe,
    input: maybe,
    output: maybe,
    work: maybe,
    commits: taskCommits.pick({ input: true, output: true }).exactOptional(),
    sequence: maybeNumber,
    previous: maybe,
  }),
)
export const challengeView = describes<ChallengeView>()(z.object({ proof: text, version: text }))
export const configView = describes<ConfigView>()(z.object({ config: z.unknown(), origin: z.record(text, text) }))
const tokenView = describes<TokenView>()(
  z.object({ name: text, access: z.enum(['read', 'run', 'admin']), createdAt: text }),
)
export const tokensReply = z.object({ tokens: z.array(tokenView) })
export const tokenReply = z.object({ token: text })
export const shutdownReply = z.object({ stopping: z.literal(true) })
export const anything = z.unknown()
