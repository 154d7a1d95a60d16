/** The shape of everything the daemon answers about artifacts: one row for each route. */
import type {
  Actor,
  ArtifactEvent,
  ArtifactRoutes,
  ArtifactView,
  Attribution,
  AuditPage,
  CollectResult,
  CommitResult,
  CommitView,
  DiffView,
  FileView,
  GitTokenReply,
  GitTokenView,
  HolderView,
  LogPage,
  MergeConflict,
  MergeResult,
  NoteView,
  ProposalView,
  RecordView,
  RefView,
  ReplicaContract,
  ReplicationView,
  ReviewRules,
  TaskCommits,
  TreeEntry,
  TreePage,
  TriggerView,
  UndoView,
  VerifyView,
} from '../../protocol/api.ts'
import { either, flag, list, nullable, number, object, oneOf, optional, type Shape, text } from './shape.ts'

const texts = list(text)
const maybe = optional(text)
const literal = <T extends string>(value: T): Shape<T> => oneOf(value)
const contract = object<ReplicaContract>({ min: number, max: number, mustInclude: texts })

const artifact = object<ArtifactView>({
  id: text,
  name: text,
  description: maybe,
  owner: text,
  defaultBranch: text,
  visibility: oneOf('private', 'mesh'),
  readers: texts,
  delegates: texts,
  threshold: optional(number),
  review: object<ReviewRules>({ checks: texts, approvals: number }),
  replicas: contract,
  sequence: number,
  head: maybe,
  bytes: number,
  frozen: texts,
  gitPath: text,
  gitUrl: maybe,
  imported: optional(object<NonNullable<ArtifactView['imported']>>({ missingFiles: number, leftRefs: number })),
  createdAt: text,
})
const commitResult = object<CommitResult>({ commit: text, ref: text, sequence: number })
const commit = object<CommitView>({
  oid: text,
  parents: texts,
  message: text,
  author: object<CommitView['author']>({ name: text, email: text, at: text }),
})
const treeEntry = object<TreeEntry>({
  path: text,
  type: oneOf('file', 'folder', 'link', 'module'),
  oid: text,
  executable: flag,
})
const merged = object<Extract<MergeResult, { merged: true }>>({
  merged: oneOf(true),
  commit: text,
  fastForward: flag,
  sequence: number,
})
const conflicted = object<Extract<MergeResult, { merged: false }>>({
  merged: oneOf(false),
  conflicts: list(object<MergeConflict>({ path: text, reason: text })),
})
const gitTokenFields = {
  id: text,
  name: text,
  access: oneOf<'read' | 'write'>('read', 'write'),
  expiresAt: maybe,
  createdAt: text,
}
const gitTokens = object<{ readonly tokens: readonly GitTokenView[] }>({
  tokens: list(object<GitTokenView>(gitTokenFields)),
})
const replication = object<ReplicationView>({
  artifact: text,
  contract,
  state: oneOf('healthy', 'catching-up', 'short'),
  sequence: number,
  holders: list(
    object<HolderView>({
      node: text,
      name: maybe,
      sequence: number,
      current: flag,
      lacks: optional(number),
      connected: flag,
      rttMs: optional(number),
      at: text,
      signed: text,
    }),
  ),
  missing: texts,
})
const attribution = object<Attribution>({
  agent: maybe,
  task: maybe,
  reason: maybe,
  subject: maybe,
  grant: maybe,
  receipt: maybe,
})
const record = object<RecordView>({
  writer: text,
  sequence: number,
  digest: text,
  moves: list(object<RecordView['moves'][number]>({ ref: text, old: nullable(text), new: nullable(text) })),
  by: attribution,
  at: text,
})
const actor = object<Actor>({ node: text, subject: text, agent: maybe, task: maybe })
const proposal = object<ProposalView>({
  artifact: text,
  id: text,
  title: text,
  text: maybe,
  from: text,
  into: text,
  head: text,
  state: oneOf('open', 'merged', 'closed'),
  author: actor,
  comments: list(object<ProposalView['comments'][number]>({ by: actor, text, at: text })),
  checks: list(
    object<ProposalView['checks'][number]>({ name: text, result: oneOf('pass', 'fail'), text: maybe, by: actor }),
  ),
  approvals: list(actor),
  lacking: texts,
  merge: maybe,
  createdAt: text,
})
const trigger = object<TriggerView>({
  artifact: text,
  name: text,
  on: oneOf('push', 'proposal', 'merge'),
  branch: text,
  perMinute: number,
  paths: optional(texts),
  started: number,
  dropped: number,
  lastTask: maybe,
  createdAt: text,
})
const triggers = object<{ readonly triggers: readonly TriggerView[] }>({ triggers: list(trigger) })

export const taskCommits = object<TaskCommits>({
  input: optional(object<NonNullable<TaskCommits['input']>>({ artifact: text, commit: text })),
  output: optional(object<NonNullable<TaskCommits['output']>>({ artifact: text, commit: text, ref: text })),
  refused: maybe,
})

type Event<Name extends ArtifactEvent['type']> = Extract<ArtifactEvent, { type: Name }>

export const ARTIFACT_EVENTS: { readonly [Name in ArtifactEvent['type']]: Shape<Event<Name>> } = {
  'artifact-created': object<Event<'artifact-created'>>({
    type: literal('artifact-created'),
    artifact: text,
    name: maybe,
  }),
  'artifact-removed': object<Event<'artifact-removed'>>({ type: literal('artifact-removed'), artifact: text }),
  'artifact-forked': object<Event<'artifact-forked'>>({ type: literal('artifact-forked'), artifact: text, from: text }),
  'artifact-pushed': object<Event<'artifact-pushed'>>({
    type: literal('artifact-pushed'),
    artifact: text,
    name: maybe,
    ref: text,
    old: nullable(text),
    new: nullable(text),
    writer: text,
    sequence: number,
    by: attribution,
  }),
  'artifact-held': object<Event<'artifact-held'>>({ type: literal('artifact-held'), artifact: text, node: text }),
  'artifact-fetched': object<Event<'artifact-fetched'>>({
    type: literal('artifact-fetched'),
    artifact: text,
    node: text,
    records: number,
  }),
  'artifact-frozen': object<Event<'artifact-frozen'>>({
    type: literal('artifact-frozen'),
    artifact: text,
    writer: text,
  }),
  proposal: object<Event<'proposal'>>({
    type: literal('proposal'),
    artifact: text,
    proposal: text,
    what: oneOf('create', 'comment', 'check', 'approve', 'merge', 'close'),
  }),
  trigger: object<Event<'trigger'>>({
    type: literal('trigger'),
    artifact: text,
    trigger: text,
    task: maybe,
    refused: maybe,
  }),
}

type Reply<R extends keyof ArtifactRoutes> = ArtifactRoutes[R]['reply']

export const ARTIFACT_REPLIES: { readonly [R in keyof ArtifactRoutes]: Shape<Reply<R>> } = {
  'GET /v0/artifacts': object<Reply<'GET /v0/artifacts'>>({ artifacts: list(artifact), next: maybe }),
  'POST /v0/artifacts': artifact,
  'POST /v0/artifacts/import': artifact,
  'GET /v0/artifacts/:id': artifact,
  'POST /v0/artifacts/:id/settings': artifact,
  'POST /v0/artifacts/:id/remove': object<{ readonly removed: true }>({ removed: oneOf(true) }),
  'POST /v0/artifacts/:id/collect': object<CollectResult>({ bytesBefore: number, bytesAfter: number }),
  'POST /v0/artifacts/:id/fork': artifact,
  'POST /v0/artifacts/:id/fetch': artifact,
  'GET /v0/artifacts/:id/refs': object<Reply<'GET /v0/artifacts/:id/refs'>>({
    refs: list(object<RefView>({ ref: text, oid: text, writer: maybe })),
    next: maybe,
  }),
  'POST /v0/artifacts/:id/commits': commitResult,
  'GET /v0/artifacts/:id/commits': object<LogPage>({ commits: list(commit), next: maybe }),
  'GET /v0/artifacts/:id/file': object<FileView>({
    path: text,
    commit: text,
    oid: text,
    size: number,
    executable: flag,
    text: maybe,
    base64: maybe,
  }),
  'GET /v0/artifacts/:id/tree': object<TreePage>({ commit: text, entries: list(treeEntry), next: maybe }),
  'GET /v0/artifacts/:id/diff': object<DiffView>({
    from: text,
    to: text,
    entries: list(
      object<DiffView['entries'][number]>({
        path: text,
        change: oneOf('added', 'removed', 'changed'),
        old: maybe,
        new: maybe,
        patch: maybe,
      }),
    ),
    truncated: flag,
  }),
  'POST /v0/artifacts/:id/merge': either(merged, conflicted),
  'GET /v0/artifacts/:id/notes': object<NoteView>({ commit: text, kind: text, text }),
  'POST /v0/artifacts/:id/notes': commitResult,
  'GET /v0/artifacts/:id/tokens': gitTokens,
  'POST /v0/artifacts/:id/tokens': object<GitTokenReply>({ ...gitTokenFields, token: text }),
  'POST /v0/artifacts/:id/tokens/:token/revoke': gitTokens,
  'GET /v0/artifacts/:id/replicas': replication,
  'POST /v0/artifacts/:id/replicas': replication,
  'GET /v0/artifacts/:id/verify': object<VerifyView>({
    valid: flag,
    faults: texts,
    owner: text,
    writers: list(object<VerifyView['writers'][number]>({ writer: text, sequence: number, records: number })),
  }),
  'GET /v0/artifacts/:id/audit': object<AuditPage>({ records: list(record), next: maybe }),
  'GET /v0/artifacts/:id/proposals': object<Reply<'GET /v0/artifacts/:id/proposals'>>({
    proposals: list(proposal),
    next: maybe,
  }),
  'POST /v0/artifacts/:id/proposals': proposal,
  'GET /v0/artifacts/:id/proposals/:proposal': proposal,
  'POST /v0/artifacts/:id/proposals/:proposal/comment': proposal,
  'POST /v0/artifacts/:id/proposals/:proposal/check': proposal,
  'POST /v0/artifacts/:id/proposals/:proposal/approve': proposal,
  'POST /v0/artifacts/:id/proposals/:proposal/merge': proposal,
  'POST /v0/artifacts/:id/proposals/:proposal/close': proposal,
  'GET /v0/artifacts/:id/triggers': triggers,
  'POST /v0/artifacts/:id/triggers': trigger,
  'POST /v0/artifacts/:id/triggers/:trigger/remove': triggers,
  'POST /v0/tasks/:id/undo': object<UndoView>({
    task: text,
    undone: flag,
    artifacts: list(
      object<UndoView['artifacts'][number]>({
        artifact: text,
        name: maybe,
        ref: text,
        commits: texts,
        commit: maybe,
        refused: maybe,
      }),
    ),
  }),
}
