/** The shape of what the daemon answers about sandboxes, egress, secrets and services. */
import type {
  BoxDone,
  CodeResult,
  EgressEvent,
  EgressSubject,
  ExecEnd,
  FileEntry,
  FileReply,
  ImageProgress,
  ImageView,
  KeptRule,
  MissingPart,
  PolicyAnswer,
  PolicyRule,
  ProcessView,
  SandboxLimits,
  SandboxRoutes,
  SandboxArtifact,
  SandboxView,
  SecretView,
  ServiceView,
  SnapshotView,
  WatchEvent,
} from '../../protocol/api.ts'
import { flag, list, number, object, oneOf, optional, record, type Shape, text } from './shape.ts'

const endReason = oneOf<ExecEnd['reason']>(
  'exit',
  'signal',
  'not-started',
  'timeout',
  'memory',
  'pids',
  'disk',
  'output',
  'canceled',
  'engine-lost',
  'sandbox-lost',
)
const execEnd = object<ExecEnd>({
  reason: endReason,
  code: optional(number),
  signal: optional(text),
  message: optional(text),
})
const process = object<ProcessView>({ id: number, name: text, pid: number, running: flag, outputBytes: number })
const snapshot = object<SnapshotView>({ name: text, createdAt: text, bytes: number })
const sandbox = object<SandboxView>({
  id: text,
  name: optional(text),
  state: oneOf('running', 'paused', 'stopped', 'lost'),
  node: text,
  nodeName: text,
  image: text,
  digest: text,
  grade: oneOf('process', 'jailed', 'gvisor', 'microvm'),
  profile: oneOf('strict', 'build'),
  limits: object<SandboxLimits>({
    memoryBytes: number,
    cpus: number,
    pids: number,
    diskBytes: number,
    inodes: number,
    tmpBytes: number,
    rootBytes: number,
  }),
  workspace: text,
  survivesStop: flag,
  snapshots: list(snapshot),
  createdAt: text,
  agent: optional(text),
  artifact: optional(object<SandboxArtifact>({ id: text, name: text, access: oneOf('read', 'write') })),
  note: optional(text),
})
const image = object<ImageView>({ names: list(text), digest: text, bytes: number, createdAt: text })
const file = object<FileEntry>({
  name: text,
  type: oneOf('file', 'folder', 'symlink', 'other'),
  bytes: number,
  mode: number,
  modifiedMs: number,
})
const codeError = object<NonNullable<BoxDone['error']>>({ name: text, message: text, trace: optional(text) })

export const boxDone: Shape<BoxDone> = object<BoxDone>({
  end: optional(execEnd),
  process: optional(process),
  results: optional(list(object<CodeResult>({ type: text, data: text, base64: optional(flag) }))),
  error: optional(codeError),
  stateKept: optional(flag),
  line: optional(text),
  image: optional(image),
})
export const watchEvent: Shape<WatchEvent> = object<WatchEvent>({
  kind: oneOf('created', 'changed', 'removed'),
  name: text,
})
export const imageProgress: Shape<ImageProgress> = object<ImageProgress>({
  step: text,
  item: optional(text),
  doneBytes: optional(number),
  totalBytes: optional(number),
})

const subject = object<EgressSubject>({
  agent: optional(text),
  task: optional(text),
  sandbox: optional(text),
  node: optional(text),
})
const ruleFields = {
  id: text,
  for: list(text),
  effect: oneOf('allow', 'deny'),
  host: text,
  ports: optional(list(number)),
  methods: optional(list(text)),
  path: optional(text),
  addresses: optional(list(text)),
  inject: optional(
    list(
      object<NonNullable<PolicyRule['inject']>[number]>({
        header: text,
        secret: text,
        as: optional(oneOf('raw', 'bearer', 'basic')),
        user: optional(text),
      }),
    ),
  ),
  replace: optional(
    list(
      object<NonNullable<PolicyRule['replace']>[number]>({ secret: text, headers: list(text), env: optional(text) }),
    ),
  ),
  rewrite: optional(
    object<NonNullable<PolicyRule['rewrite']>>({
      scheme: optional(oneOf('http', 'https')),
      host: optional(text),
      port: optional(number),
      path: optional(object<{ from: string; to: string }>({ from: text, to: text })),
      set: optional(record(text)),
      remove: optional(list(text)),
    }),
  ),
  handler: optional(text),
  opaque: optional(flag),
  plain: optional(flag),
  note: optional(text),
}
const missing = optional(list(object<MissingPart>({ kind: oneOf('secret', 'handler'), name: text })))
const rule = object<PolicyRule>(ruleFields)
const keptRule = object<KeptRule>({ ...ruleFields, missing })
const answer = object<PolicyAnswer>({
  decision: oneOf('allow', 'deny'),
  reason: oneOf('allowed', 'denied', 'no-rule'),
  rule: optional(rule),
  tunnel: optional(oneOf('pass', 'inspect', 'opaque')),
  missing,
  considered: list(
    object<PolicyAnswer['considered'][number]>({
      rule: text,
      effect: oneOf('allow', 'deny'),
      matched: flag,
      why: text,
    }),
  ),
})
const secret = object<SecretView>({ name: text, setAt: text })
const service = object<ServiceView>({ name: text, target: text, grants: list(text) })
export const egressEvent: Shape<EgressEvent> = object<EgressEvent>({
  sequence: number,
  at: text,
  subject,
  kind: oneOf('tunnel', 'request', 'service', 'end', 'lost'),
  decision: oneOf('allow', 'deny', 'failed'),
  reason: text,
  rule: optional(text),
  host: optional(text),
  port: optional(number),
  method: optional(text),
  path: optional(text),
  address: optional(text),
  bytesUp: optional(number),
  bytesDown: optional(number),
  ms: optional(number),
  note: optional(text),
})
const removed = object<{ removed: true }>({ removed: oneOf(true) })

type Streams = 'GET /v0/egress/log'
type Reply<R extends keyof SandboxRoutes> = SandboxRoutes[R]['reply']

export const SANDBOX_REPLIES: { readonly [R in Exclude<keyof SandboxRoutes, Streams>]: Shape<Reply<R>> } = {
  'POST /v0/sandboxes': sandbox,
  'GET /v0/sandboxes': object<Reply<'GET /v0/sandboxes'>>({ sandboxes: list(sandbox) }),
  'GET /v0/sandboxes/:id': sandbox,
  'POST /v0/sandboxes/:id/sleep': sandbox,
  'POST /v0/sandboxes/:id/wake': sandbox,
  'POST /v0/sandboxes/:id/remove': removed,
  'POST /v0/sandboxes/:id/snapshot': snapshot,
  'POST /v0/sandboxes/:id/snapshots/:name/remove': removed,
  'POST /v0/sandboxes/:id/restore': sandbox,
  'POST /v0/sandboxes/:id/fork': sandbox,
  'POST /v0/sandboxes/:id/move': sandbox,
  'POST /v0/sandboxes/:id/files': object<FileReply>({ entries: list(file) }),
  'GET /v0/sandboxes/:id/processes': object<Reply<'GET /v0/sandboxes/:id/processes'>>({ processes: list(process) }),
  'POST /v0/sandboxes/:id/processes/:process/signal': object<{ sent: true }>({ sent: oneOf(true) }),
  'GET /v0/images': object<Reply<'GET /v0/images'>>({ images: list(image) }),
  'GET /v0/secrets': object<Reply<'GET /v0/secrets'>>({ secrets: list(secret) }),
  'POST /v0/secrets': secret,
  'POST /v0/secrets/:name/remove': removed,
  'GET /v0/policy': object<Reply<'GET /v0/policy'>>({ rules: list(rule) }),
  'POST /v0/policy': keptRule,
  'POST /v0/policy/:id/remove': removed,
  'POST /v0/policy/explain': answer,
  'GET /v0/egress/recent': object<Reply<'GET /v0/egress/recent'>>({ events: list(egressEvent) }),
  'GET /v0/services': object<Reply<'GET /v0/services'>>({ services: list(service) }),
  'POST /v0/services': service,
  'POST /v0/services/:name/remove': removed,
}
