/** What the routes about artifacts answer, for the OpenAPI document; held equal to protocol/api-artifacts.ts by its types. */
import { z } from 'zod'
import type {
  Actor,
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
  MergeResult,
  NoteView,
  ProposalView,
  RecordView,
  RefView,
  ReplicationView,
  TaskCommits,
  TreePage,
  TriggerView,
  UndoView,
  VerifyView,
} from '../../protocol/api.ts'
import { describes } from './described.ts'

const text = z.string()
const number = z.number()
const flag = z.boolean()
const maybe = text.exactOptional()
const texts = z.array(text)
const contract = z.object({ min: number, max: number, mustInclude: texts })
const review = z.object({ checks: texts, approvals: number })

export const artifactView = describes<ArtifactView>()(
  z.object({
    id: text,
    name: text,
    description: maybe,
    owner: text,
    defaultBranch: text,
    visibility: z.enum(['private', 'mesh']),
    readers: texts,
    delegates: texts,
    threshold: number.exactOptional(),
    review,
    replicas: contract,
    sequence: number,
    head: maybe,
    bytes: number,
    frozen: texts,
    gitPath: text,
    gitUrl: maybe,
    imported: z.object({ missingFiles: number, leftRefs: number }).exactOptional(),
    createdAt: text,
  }),
)
export const artifactsReply = z.object({ artifacts: z.array(artifactView), next: maybe })
export const collectResult = describes<CollectResult>()(z.object({ bytesBefore: number, bytesAfter: number }))
export const removedReply = z.object({ removed: z.literal(true) })
const refView = describes<RefView>()(z.object({ ref: text, oid: text, writer: maybe }))
export const refsReply = z.object({ refs: z.array(refView), next: maybe })
export const commitResult = describes<CommitResult>()(z.object({ commit: text, ref: text, sequence: number }))
const commitView = describes<CommitView>()(
  z.object({
    oid: text,
    parents: texts,
    message: text,
    author: z.object({ name: text, email: text, at: text }),
  }),
)
export const logPage = describes<LogPage>()(z.object({ commits: z.array(commitView), next: maybe }))
export const fileView = describes<FileView>()(
  z.object({ path: text, commit: text, oid: text, size: number, executable: flag, text: maybe, base64: maybe }),
)
const treeEntry = z.object({
  path: text,
  type: z.enum(['file', 'folder', 'link', 'module']),
  oid: text,
  executable: flag,
})
export const treePage = describes<TreePage>()(z.object({ commit: text, entries: z.array(treeEntry), next: maybe }))
const diffEntry = z.object({
  path: text,
  change: z.enum(['added', 'removed', 'changed']),
  old: maybe,
  new: maybe,
  patch: maybe,
})
export const diffView = describes<DiffView>()(
  z.object({ from: text, to: text, entries: z.array(diffEntry), truncated: flag }),
)
export const mergeResult: z.ZodType<MergeResult> = z.discriminatedUnion('merged', [
  z.object({ merged: z.literal(true), commit: text, fastForward: flag, sequence: number }),
  z.object({ merged: z.literal(false), conflicts: z.array(z.object({ path: text, reason: text })) }),
])
export const noteView = describes<NoteView>()(z.object({ commit: text, kind: text, text }))
const gitTokenFields = {
  id: text,
  name: text,
  access: z.enum(['read', 'write']),
  expiresAt: maybe,
  createdAt: text,
}
const gitTokenView = describes<GitTokenView>()(z.object(gitTokenFields))
export const gitTokensReply = z.object({ tokens: z.array(gitTokenView) })
export const gitTokenReply = describes<GitTokenReply>()(z.object({ ...gitTokenFields, token: text }))
const holderView = describes<HolderView>()(
  z.object({
    node: text,
    name: maybe,
    sequence: number,
    current: flag,
    lacks: number.exactOptional(),
    connected: flag,
    rttMs: number.exactOptional(),
    at: text,
    signed: text,
  }),
)
export const replicationView = describes<ReplicationView>()(
  z.object({
    artifact: text,
    contract,
    state: z.enum(['healthy', 'catching-up', 'short']),
    sequence: number,
    holders: z.array(holderView),
    missing: texts,
  }),
)
const attribution = describes<Attribution>()(
  z.object({ agent: maybe, task: maybe, reason: maybe, subject: maybe, grant: maybe, receipt: maybe }),
)
const recordView = describes<RecordView>()(
  z.object({
    writer: text,
    sequence: number,
    digest: text,
    moves: z.array(z.object({ ref: text, old: text.nullable(), new: text.nullable() })),
    by: attribution,
    at: text,
  }),
)
export const auditPage = describes<AuditPage>()(z.object({ records: z.array(recordView), next: maybe }))
export const verifyView = describes<VerifyView>()(
  z.object({
    valid: flag,
    faults: texts,
    owner: text,
    writers: z.array(z.object({ writer: text, sequence: number, records: number })),
  }),
)
const actor = describes<Actor>()(z.object({ node: text, subject: text, agent: maybe, task: maybe }))
export const proposalView = describes<ProposalView>()(
  z.object({
    artifact: text,
    id: text,
    title: text,
    text: maybe,
    from: text,
    into: text,
    head: text,
    state: z.enum(['open', 'merged', 'closed']),
    author: actor,
    comments: z.array(z.object({ by: actor, text, at: text })),
    checks: z.array(z.object({ name: text, result: z.enum(['pass', 'fail']), text: maybe, by: actor })),
    approvals: z.array(actor),
    lacking: texts,
    merge: maybe,
    createdAt: text,
  }),
)
export const proposalsReply = z.object({ proposals: z.array(proposalView), next: maybe })
const triggerView = describes<TriggerView>()(
  z.object({
    artifact: text,
    name: text,
    on: z.enum(['push', 'proposal', 'merge']),
    branch: text,
    perMinute: number,
    paths: texts.exactOptional(),
    started: number,
    dropped: number,
    lastTask: maybe,
    createdAt: text,
  }),
)
export const triggerReply = triggerView
export const triggersReply = z.object({ triggers: z.array(triggerView) })
export const undoView = describes<UndoView>()(
  z.object({
    task: text,
    undone: flag,
    artifacts: z.array(
      z.object({ artifact: text, name: maybe, ref: text, commits: texts, commit: maybe, refused: maybe }),
    ),
  }),
)
export const taskCommits = describes<TaskCommits>()(
  z.object({
    input: z.object({ artifact: text, commit: text }).exactOptional(),
    output: z.object({ artifact: text, commit: text, ref: text }).exactOptional(),
    refused: maybe,
  }),
)

const ofArtifact = { artifact: text }
/** Held equal to the contract by the events of the mesh, of which they are a part. */
export const ARTIFACT_EVENTS = [
  z.object({ type: z.literal('artifact-created'), ...ofArtifact, name: maybe }),
  z.object({ type: z.literal('artifact-removed'), ...ofArtifact }),
  z.object({ type: z.literal('artifact-forked'), ...ofArtifact, from: text }),
  z.object({
    type: z.literal('artifact-pushed'),
    ...ofArtifact,
    name: maybe,
    ref: text,
    old: text.nullable(),
    new: text.nullable(),
    writer: text,
    sequence: number,
    by: attribution,
  }),
  z.object({ type: z.literal('artifact-held'), ...ofArtifact, node: text }),
  z.object({ type: z.literal('artifact-fetched'), ...ofArtifact, node: text, records: number }),
  z.object({ type: z.literal('artifact-frozen'), ...ofArtifact, writer: text }),
  z.object({
    type: z.literal('proposal'),
    ...ofArtifact,
    proposal: text,
    what: z.enum(['create', 'comment', 'check', 'approve', 'merge', 'close']),
  }),
  z.object({ type: z.literal('trigger'), ...ofArtifact, trigger: text, task: maybe, refused: maybe }),
] as const
