/** What the routes about artifacts take. Strict: an unknown key is refused. Held equal to protocol/api-artifacts.ts by their types. */
import { z } from 'zod'
import type {
  ArtifactCreate,
  ArtifactPatch,
  AttributionInput,
  CollectRequest,
  CommitRequest,
  FileChange,
  ForkRequest,
  GitTokenRequest,
  ImportRequest,
  MergeRequest,
  NoteRequest,
  ProposalAct,
  ProposalCheck,
  ProposalCreate,
  ReplicaContract,
  ReviewRules,
  TaskArtifacts,
  TriggerRequest,
  UndoRequest,
} from '../../protocol/api.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { describes, programInput } from './described.ts'

const HOUR_MS = 3_600_000
const YEAR_MS = 365 * 24 * HOUR_MS

/** Names of artifacts, checks, triggers and tokens */
const label = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'a name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit')
/** The grammar of refs is checked where they are used; here only their size is. */
const ref = z.string().min(1).max(LIMITS.refBytes)
const rev = ref
const path = z.string().min(1).max(LIMITS.pathBytes)
const message = z.string().max(LIMITS.messageBytes)
const node = z.string().min(1).max(128)
const text = z.string().max(LIMITS.messageBytes)
const oid = z.string().regex(/^[0-9a-f]{40}$/, 'a commit is named by its 40 hex digits')
const visibility = z.enum(['private', 'mesh'])
const holders = z.int().min(1).max(LIMITS.replicas)

const replicaFields = {
  min: holders.exactOptional(),
  max: holders.exactOptional(),
  mustInclude: z.array(node).max(LIMITS.replicas).exactOptional(),
}
export const replicaContract = describes<Partial<ReplicaContract>>()(z.strictObject(replicaFields))
const review = describes<Partial<ReviewRules>>()(
  z.strictObject({
    checks: z.array(label).max(32).exactOptional(),
    approvals: z.int().min(0).max(32).exactOptional(),
  }),
)
const description = z.string().max(1024)

export const artifactCreate = describes<ArtifactCreate>()(
  z.strictObject({
    name: label.exactOptional(),
    description: description.exactOptional(),
    defaultBranch: ref.exactOptional(),
    visibility: visibility.exactOptional(),
    replicas: replicaContract.exactOptional(),
    review: review.exactOptional(),
  }),
)
export const artifactPatch = describes<ArtifactPatch>()(
  z.strictObject({
    name: label.exactOptional(),
    description: description.exactOptional(),
    defaultBranch: ref.exactOptional(),
    visibility: visibility.exactOptional(),
    readers: z.array(node).max(LIMITS.readers).exactOptional(),
    delegates: z.array(node).max(LIMITS.delegates).exactOptional(),
    threshold: z.int().min(1).max(65).exactOptional(),
    review: review.exactOptional(),
  }),
)
export const importRequest = describes<ImportRequest>()(
  z.strictObject({
    url: z.string().min(1).max(2048),
    name: label.exactOptional(),
    description: description.exactOptional(),
    visibility: visibility.exactOptional(),
  }),
)
export const collectRequest = describes<CollectRequest>()(z.strictObject({ now: z.boolean().exactOptional() }))
export const forkRequest = describes<ForkRequest>()(
  z.strictObject({ name: label.exactOptional(), description: description.exactOptional() }),
)

const by = describes<AttributionInput>()(
  z.strictObject({
    agent: z.string().min(1).max(128).exactOptional(),
    task: z.string().min(1).max(128).exactOptional(),
    reason: z.string().min(1).max(512).exactOptional(),
  }),
)
const fileChange = describes<FileChange>()(
  z.strictObject({
    path,
    text: z
      .string()
      .refine((text) => text.isWellFormed(), 'it holds half of a surrogate pair')
      .exactOptional(),
    base64: z.base64().exactOptional(),
    remove: z.boolean().exactOptional(),
    executable: z.boolean().exactOptional(),
  }),
).refine((file) => [file.text, file.base64, file.remove].filter((one) => one !== undefined).length === 1, {
  message: 'exactly one of text, base64 and remove is wanted',
})
export const commitRequest = describes<CommitRequest>()(
  z.strictObject({
    files: z.array(fileChange).min(1).max(LIMITS.commitFiles),
    message,
    branch: ref.exactOptional(),
    from: rev.exactOptional(),
    expectedHead: oid.nullable().exactOptional(),
    author: z
      .strictObject({ name: z.string().min(1).max(128), email: z.string().max(256).exactOptional() })
      .exactOptional(),
    by: by.exactOptional(),
  }),
)
export const mergeRequest = describes<MergeRequest>()(
  z.strictObject({
    from: rev,
    into: ref.exactOptional(),
    message: message.exactOptional(),
    noFastForward: z.boolean().exactOptional(),
    expectedHead: oid.exactOptional(),
    by: by.exactOptional(),
  }),
)
export const gitTokenRequest = describes<GitTokenRequest>()(
  z.strictObject({
    name: label.exactOptional(),
    access: z.enum(['read', 'write']).exactOptional(),
    ttlMs: z.int().min(1_000).max(YEAR_MS).exactOptional(),
  }),
)
export const noteRequest = describes<NoteRequest>()(
  z.strictObject({ rev: rev.exactOptional(), kind: label.exactOptional(), text, by: by.exactOptional() }),
)
export const proposalCreate = describes<ProposalCreate>()(
  z.strictObject({
    from: ref,
    into: ref.exactOptional(),
    title: z.string().min(1).max(256).exactOptional(),
    text: text.exactOptional(),
    by: by.exactOptional(),
  }),
)
export const proposalAct = describes<ProposalAct>()(
  z.strictObject({ text: text.exactOptional(), by: by.exactOptional() }),
)
export const proposalCheck = describes<ProposalCheck>()(
  z.strictObject({
    name: label,
    result: z.enum(['pass', 'fail']),
    text: text.exactOptional(),
    by: by.exactOptional(),
  }),
)
export const undoRequest = describes<UndoRequest>()(z.strictObject({ dryRun: z.boolean().exactOptional() }))
export const triggerRequest = describes<TriggerRequest>()(
  z.strictObject({
    name: label,
    on: z.enum(['push', 'proposal', 'merge']),
    branch: ref.exactOptional(),
    program: programInput,
    perMinute: z.int().min(1).max(600).exactOptional(),
    paths: z.array(path).max(LIMITS.inputPaths).exactOptional(),
  }),
)
export const taskArtifacts = describes<TaskArtifacts>()(
  z.strictObject({
    input: z
      .strictObject({
        artifact: z.string().min(1).max(128),
        rev: rev.exactOptional(),
        paths: z.array(path).max(LIMITS.inputPaths).exactOptional(),
      })
      .exactOptional(),
    output: z
      .strictObject({
        artifact: z.string().min(1).max(128),
        branch: ref.exactOptional(),
        message: message.exactOptional(),
      })
      .exactOptional(),
  }),
)

const page = {
  limit: z.coerce.number().int().min(1).max(500).exactOptional(),
  after: z.string().max(512).exactOptional(),
}
export const artifactsQuery = z.strictObject({ ...page, prefix: z.string().max(64).exactOptional() })
export const pageQuery = z.strictObject(page)
export const logQuery = z.strictObject({ ...page, rev: rev.exactOptional() })
export const fileQuery = z.strictObject({ path, rev: rev.exactOptional() })
export const treeQuery = z.strictObject({
  ...page,
  rev: rev.exactOptional(),
  path: path.exactOptional(),
  recursive: z.enum(['true', 'false']).exactOptional(),
})
export const diffQuery = z.strictObject({ from: rev, to: rev.exactOptional(), path: path.exactOptional() })
export const noteQuery = z.strictObject({ rev: rev.exactOptional(), kind: label.exactOptional() })
export const auditQuery = z.strictObject({ ...page, writer: node.exactOptional() })
export const proposalsQuery = z.strictObject({
  ...page,
  state: z.enum(['open', 'merged', 'closed']).exactOptional(),
})
