/** What the routes of sandboxes, egress, secrets and services take and answer; held equal to protocol/api-sandboxes.ts by their types. */
import { z } from 'zod'
import type {
  EgressEvent,
  EgressSubject,
  FileEntry,
  ImageView,
  KeptRule,
  PolicyAnswer,
  PolicyQuestion,
  PolicyRule,
  ProcessView,
  SandboxRequest,
  SandboxArtifact,
  SandboxView,
  SecretView,
  ServiceView,
  SnapshotView,
} from '../../protocol/api-sandboxes.ts'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import { EgressName, EgressSubject as subjectIn, Rule, Selector } from '../../protocol/egress/rule.ts'
import { fileRequest as fileRequestIn, sandboxName, sandboxOrder } from '../../protocol/sandbox/op.ts'
import { GRADES } from '../../protocol/job.ts'
import { describes, nothing } from './request-schemas.ts'

const text = z.string()
const number = z.number()
const maybe = text.exactOptional()
const maybeNumber = number.exactOptional()
const texts = z.array(text)

// ---- taken

export const sandboxRequest = describes<SandboxRequest>()(
  sandboxOrder.extend({
    artifact: z.string().min(1).max(128).exactOptional(),
    artifactAccess: z.enum(['read', 'write']).exactOptional(),
    on: z.string().min(1).max(128).exactOptional(),
  }),
)
export const sleepRequest = z.strictObject({ depth: z.enum(['pause', 'stop']).exactOptional() })
export const snapshotRequest = z.strictObject({ name: sandboxName.exactOptional() })
export const restoreRequest = z.strictObject({ snapshot: sandboxName.exactOptional() })
export const forkRequest = z.strictObject({ name: sandboxName.exactOptional(), from: sandboxName.exactOptional() })
export const moveRequest = z.strictObject({ to: z.string().min(1).max(128) })
export const fileRequest = fileRequestIn
export const signalRequest = z.strictObject({ signal: z.string().min(1).max(16) })
export const imagesQuery = z.strictObject({ on: z.string().min(1).max(128).exactOptional() })

/** Checked in full where it is kept: this is what can be told apart as JSON. */
export const policyRequest = z.strictObject({ ...ruleFields(), id: EgressName.exactOptional() })
export const policyQuestion = describes<PolicyQuestion>()(
  z.strictObject({
    subject: z.custom<EgressSubject>((value) => subjectIn.safeParse(value).success).exactOptional(),
    method: z.string().min(1).max(32).exactOptional(),
    url: z.string().max(8192),
  }),
)
export const secretRequest = z.strictObject({
  name: EgressName,
  value: z.string().min(1).max(EGRESS_LIMITS.secretBytes),
})
export const serviceRequest = describes<ServiceView>()(
  z.strictObject({
    name: EgressName,
    target: z.string().min(5).max(300),
    grants: z.array(Selector).max(EGRESS_LIMITS.listItems),
  }),
)
export { nothing }

function ruleFields() {
  const list = <T extends z.ZodType>(item: T) => z.array(item).min(1).max(EGRESS_LIMITS.listItems)
  const word = z.string().min(1).max(4096)
  return {
    for: list(Selector),
    effect: z.enum(['allow', 'deny']),
    host: z.string().min(1).max(253),
    ports: list(z.int().min(1).max(65_535)).exactOptional(),
    methods: list(word).exactOptional(),
    path: word.exactOptional(),
    addresses: list(word).exactOptional(),
    inject: list(
      z.strictObject({
        header: word,
        secret: word,
        as: z.enum(['raw', 'bearer', 'basic']).exactOptional(),
        user: z.string().max(128).exactOptional(),
      }),
    ).exactOptional(),
    replace: list(
      z.strictObject({ secret: word, headers: list(word), env: z.string().max(64).exactOptional() }),
    ).exactOptional(),
    rewrite: z
      .strictObject({
        scheme: z.enum(['http', 'https']).exactOptional(),
        host: word.exactOptional(),
        port: z.int().min(1).max(65_535).exactOptional(),
        path: z.strictObject({ from: word, to: word }).exactOptional(),
        set: z.record(word, z.string().max(4096)).exactOptional(),
        remove: list(word).exactOptional(),
      })
      .exactOptional(),
    handler: word.exactOptional(),
    opaque: z.boolean().exactOptional(),
    plain: z.boolean().exactOptional(),
    note: z.string().max(200).exactOptional(),
  }
}

// ---- answered

const snapshot = describes<SnapshotView>()(z.object({ name: text, createdAt: text, bytes: number }))
export const sandboxViewReply = describes<SandboxView>()(
  z.object({
    id: text,
    name: maybe,
    state: z.enum(['running', 'paused', 'stopped', 'lost']),
    node: text,
    nodeName: text,
    image: text,
    digest: text,
    grade: z.enum(GRADES),
    profile: z.enum(['strict', 'build']),
    limits: z.object({
      memoryBytes: number,
      cpus: number,
      pids: number,
      diskBytes: number,
      inodes: number,
      tmpBytes: number,
      rootBytes: number,
    }),
    workspace: text,
    survivesStop: z.boolean(),
    snapshots: z.array(snapshot),
    createdAt: text,
    agent: maybe,
    artifact: describes<SandboxArtifact>()(
      z.object({ id: text, name: text, access: z.enum(['read', 'write']) }),
    ).exactOptional(),
    note: maybe,
  }),
)
export const snapshotReply = snapshot
export const sandboxesReply = z.object({ sandboxes: z.array(sandboxViewReply) })
export const removedReply = z.object({ removed: z.literal(true) })
export const sentReply = z.object({ sent: z.literal(true) })
const entry = describes<FileEntry>()(
  z.object({
    name: text,
    type: z.enum(['file', 'folder', 'symlink', 'other']),
    bytes: number,
    mode: number,
    modifiedMs: number,
  }),
)
export const filesReply = z.object({ entries: z.array(entry) })
const process = describes<ProcessView>()(
  z.object({ id: number, name: text, pid: number, running: z.boolean(), outputBytes: number }),
)
export const processesReply = z.object({ processes: z.array(process) })
const image = describes<ImageView>()(z.object({ names: texts, digest: text, bytes: number, createdAt: text }))
export const imagesReply = z.object({ images: z.array(image) })
export const policyRule = describes<PolicyRule>()(z.object({ ...ruleFields(), id: text }))
const missing = z.array(z.object({ kind: z.enum(['secret', 'handler']), name: text })).exactOptional()
export const keptRuleReply = describes<KeptRule>()(z.object({ ...ruleFields(), id: text, missing }))
export const policyReply = z.object({ rules: z.array(policyRule) })
export const policyAnswer = describes<PolicyAnswer>()(
  z.object({
    decision: z.enum(['allow', 'deny']),
    reason: z.enum(['allowed', 'denied', 'no-rule']),
    rule: policyRule.exactOptional(),
    tunnel: z.enum(['pass', 'inspect', 'opaque']).exactOptional(),
    missing,
    considered: z.array(z.object({ rule: text, effect: z.enum(['allow', 'deny']), matched: z.boolean(), why: text })),
  }),
)
export const secretView = describes<SecretView>()(z.object({ name: text, setAt: text }))
export const secretsReply = z.object({ secrets: z.array(secretView) })
export const serviceView = describes<ServiceView>()(z.object({ name: text, target: text, grants: texts }))
export const servicesReply = z.object({ services: z.array(serviceView) })
export const egressEvent = describes<EgressEvent>()(
  z.object({
    sequence: number,
    at: text,
    subject: z.object({ agent: maybe, task: maybe, sandbox: maybe, node: maybe }),
    kind: z.enum(['tunnel', 'request', 'service', 'end', 'lost']),
    decision: z.enum(['allow', 'deny', 'failed']),
    reason: text,
    rule: maybe,
    host: maybe,
    port: maybeNumber,
    method: maybe,
    path: maybe,
    address: maybe,
    bytesUp: maybeNumber,
    bytesDown: maybeNumber,
    ms: maybeNumber,
    note: maybe,
  }),
)

export const egressReply = z.object({ events: z.array(egressEvent) })

/** The keeper's own schema: what it refuses is refused with its words. */
export { Rule as keptRule }
