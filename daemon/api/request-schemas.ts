/** What the routes take. Strict: an unknown key is refused. Each schema is held equal to its type in protocol/api.ts: a missing or surplus key does not compile. */
import { z } from 'zod'
import type {
  InviteRequest,
  LimitsInput,
  MapRequest,
  ReceiptEnvelope,
  RequiresInput,
  RunOpen,
  RunRequest,
  SessionOpen,
  TokenRequest,
} from '../../protocol/api.ts'
import { GRADES, LIMIT_FLOORS } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { taskArtifacts } from './artifact-requests.ts'
import { describes, programInput } from './described.ts'

export { describes, programInput }

const DAY_MS = 86_400_000
/** A year: longer than any wait makes sense, and far inside what timers can hold once split */
const MAX_MS = 365 * DAY_MS

const name = z.string().max(LIMITS.nameBytes).describe('Shown in listings')
const deadlineMs = z.int().min(1).max(MAX_MS).describe('For the whole task over all attempts, milliseconds')
const detach = z.boolean().describe('Answer at once with the task instead of waiting for its end')
const count = (doc: string) => z.int().min(0).max(Number.MAX_SAFE_INTEGER).describe(doc)

export const limitsInput = describes<LimitsInput>()(
  z.strictObject({
    wallMs: z.int().min(LIMIT_FLOORS.wallMs).max(MAX_MS).exactOptional(),
    cpuMs: z.int().min(LIMIT_FLOORS.cpuMs).max(MAX_MS).exactOptional(),
    memoryBytes: count('Bytes').min(LIMIT_FLOORS.memoryBytes).exactOptional(),
    outputBytes: count('Bytes').min(LIMIT_FLOORS.outputBytes).exactOptional(),
    logBytes: count('Bytes').exactOptional(),
    hostCalls: count('Number of host calls').exactOptional(),
    hostCallBytes: count('Bytes').exactOptional(),
  }),
)

export const requiresInput = describes<RequiresInput>()(
  z.strictObject({
    capability: z.string().min(1).max(128).exactOptional(),
    grade: z.enum(GRADES).exactOptional(),
    labels: z.array(z.string().min(1).max(64)).max(LIMITS.labels).exactOptional(),
    on: z.string().min(1).max(128).exactOptional(),
  }),
)

const runFields = {
  program: programInput,
  input: z.unknown().exactOptional(),
  limits: limitsInput.exactOptional(),
  requires: requiresInput.exactOptional(),
  detach: detach.exactOptional(),
  deadlineMs: deadlineMs.exactOptional(),
  name: name.exactOptional(),
  artifacts: taskArtifacts.exactOptional(),
}
export const runRequest = describes<RunRequest>()(z.strictObject(runFields))

export const mapRequest = describes<MapRequest>()(
  z.strictObject({
    program: programInput,
    inputs: z.array(z.unknown()).max(LIMITS.mapInputs),
    limits: limitsInput.exactOptional(),
    requires: requiresInput.exactOptional(),
    fresh: z.boolean().exactOptional(),
    pieceSize: z.int().min(1).max(LIMITS.batchInputs).exactOptional(),
    deadlineMs: deadlineMs.exactOptional(),
    detach: detach.exactOptional(),
    name: name.exactOptional(),
  }),
)

export const idempotencyKey = z
  .string()
  .regex(/^[\x20-\x7e]+$/, 'printable ASCII is wanted')
  .max(LIMITS.keyBytes)
const hostFunctions = z
  .array(z.string().regex(/^[A-Za-z_$][\w$]{0,63}$/, 'an identifier of JavaScript of at most 64 characters is wanted'))
  .max(LIMITS.hostFunctions)

export const runOpen = describes<RunOpen>()(
  z.strictObject({ ...runFields, key: idempotencyKey.exactOptional(), hostFunctions }),
)

export const sessionOpen = describes<SessionOpen>()(
  z.strictObject({
    program: programInput,
    limits: limitsInput.exactOptional(),
    requires: requiresInput.exactOptional(),
    hostFunctions: hostFunctions.exactOptional(),
    name: name.exactOptional(),
  }),
)

export const inviteRequest = describes<InviteRequest>()(
  z.strictObject({
    role: z.enum(['admin', 'member']).exactOptional(),
    ttlMs: z
      .int()
      .min(1_000)
      .max(7 * DAY_MS)
      .exactOptional(),
  }),
)

export const tokenRequest = describes<TokenRequest>()(
  z.strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'a name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit'),
    access: z.enum(['read', 'run', 'admin']),
  }),
)

export const receiptEnvelope = describes<ReceiptEnvelope>()(
  z.strictObject({
    payloadType: z.string().max(256),
    payload: z.string().max(8 << 20),
    signatures: z.array(z.strictObject({ keyid: z.string().max(256), sig: z.string().max(4096) })).max(16),
  }),
)

export const shutdownRequest = z.strictObject({ drainMs: z.int().min(0).max(DAY_MS).exactOptional() })
export const nothing = z.strictObject({})

const queryNumber = (max: number) => z.coerce.number().int().min(0).max(max)
export const challengeQuery = z.strictObject({
  nonce: z.string().regex(/^[\w.~+/=-]{16,256}$/),
  token: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .describe('Which token to prove with; the admin token when absent')
    .exactOptional(),
})
export const capabilitiesQuery = z.strictObject({ label: z.string().max(128).exactOptional() })
export const tasksQuery = z.strictObject({
  limit: queryNumber(500).min(1).exactOptional(),
  after: z.string().max(512).exactOptional(),
  state: z
    .enum(['submitted', 'working', 'input-required', 'completed', 'failed', 'canceled', 'rejected'])
    .exactOptional(),
  kind: z.enum(['run', 'map', 'session']).exactOptional(),
})
export const resultsQuery = z.strictObject({
  from: queryNumber(LIMITS.mapInputs).exactOptional(),
  limit: queryNumber(10_000).min(1).exactOptional(),
})
