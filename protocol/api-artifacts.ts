/**
 * The local API's part about artifacts: Git repositories that replicate between nodes. Types only; `protocol/api.ts` takes the routes up into its table.
 * `:id` in a path is an artifact's id or its name on this node. Refs and paths travel in queries and bodies, where they may hold any character.
 */
import type {
  Attribution,
  AttributionInput,
  NoteRequest,
  NoteView,
  ProposalAct,
  ProposalCheck,
  ProposalCreate,
  ProposalState,
  ProposalView,
  TriggerRequest,
  TriggerView,
  UndoRequest,
  UndoView,
} from './api-artifact-work.ts'

export type * from './api-artifact-work.ts'

interface Row<Method extends 'GET' | 'POST', A extends 'read' | 'run' | 'admin', Query, Body, Reply> {
  readonly method: Method
  readonly access: A
  readonly query: Query
  readonly body: Body
  readonly reply: Reply
}

/** `private`: only the node that owns it and the readers it names. `mesh`: every member. */
export type Visibility = 'private' | 'mesh'

/** How many nodes shall hold an artifact, the owner included. */
export interface ReplicaContract {
  readonly min: number
  readonly max: number
  /** Node ids that shall hold it in any case */
  readonly mustInclude: readonly string[]
}

/** What a proposal needs before it can be merged. */
export interface ReviewRules {
  /** Names of checks whose newest result for the proposed commit must be "pass" */
  readonly checks: readonly string[]
  /** Approvals of the proposed commit by others than its author */
  readonly approvals: number
}

export interface ArtifactView {
  readonly id: string
  /** On this node; another node may call it otherwise */
  readonly name: string
  readonly description?: string
  /** Node id */
  readonly owner: string
  readonly defaultBranch: string
  readonly visibility: Visibility
  /** Node ids that may read it when it is private */
  readonly readers: readonly string[]
  /** Node ids whose pushes the owner takes over by itself */
  readonly delegates: readonly string[]
  /** How many of owner and delegates must agree on where a ref is; absent: the owner alone decides */
  readonly threshold?: number
  readonly review: ReviewRules
  readonly replicas: ReplicaContract
  /** Of the newest record of this node in it */
  readonly sequence: number
  /** Commit of the default branch; absent while it is empty */
  readonly head?: string
  /** On disk, as last counted */
  readonly bytes: number
  /** Writers whose refs are frozen since they signed two different records for one sequence */
  readonly frozen: readonly string[]
  /** Path of its Git URL on the loopback listener, e.g. "/git/notes.git" */
  readonly gitPath: string
  /** The whole Git URL; absent while the node has no loopback listener */
  readonly gitUrl?: string
  /** Only in the answer to an import: what it did not bring */
  readonly imported?: {
    /** Large files (Git LFS) that the commits name */
    readonly missingFiles: number
    /** Branches and tags whose names no artifact can hold */
    readonly leftRefs: number
  }
  /** Display only */
  readonly createdAt: string
}

export interface ArtifactCreate {
  /** 1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit; unique on this node. @default made from its id */
  readonly name?: string
  readonly description?: string
  /** @default "main" */
  readonly defaultBranch?: string
  /** @default "mesh" */
  readonly visibility?: Visibility
  readonly replicas?: Partial<ReplicaContract>
  readonly review?: Partial<ReviewRules>
}

/** Each absent field stays as it is. Only the owner's node can change them. */
export interface ArtifactPatch {
  readonly name?: string
  readonly description?: string
  /** The branch that HEAD points to */
  readonly defaultBranch?: string
  readonly visibility?: Visibility
  readonly readers?: readonly string[]
  readonly delegates?: readonly string[]
  /** How many of owner and delegates must agree on where a ref is; 1: the owner alone decides */
  readonly threshold?: number
  readonly review?: Partial<ReviewRules>
}

export interface ImportRequest {
  /** https or http, as `artifacts.importHosts` allows */
  readonly url: string
  readonly name?: string
  readonly description?: string
  readonly visibility?: Visibility
}

export interface ForkRequest {
  readonly name?: string
  readonly description?: string
}

/** A change of one path. Exactly one of `text`, `base64` and `remove`. */
export interface FileChange {
  /** With "/" between folders; no "..", no ".git" */
  readonly path: string
  readonly text?: string
  readonly base64?: string
  readonly remove?: boolean
  /** @default false */
  readonly executable?: boolean
}

export interface CommitRequest {
  readonly files: readonly FileChange[]
  readonly message: string
  /** @default the default branch */
  readonly branch?: string
  /** Branch, tag or commit at which a branch begins that does not exist yet. @default an empty history */
  readonly from?: string
  /** Refused with E_REF_CONFLICT unless the branch is there; null: the branch must not exist. @default whatever it is now */
  readonly expectedHead?: string | null
  /** Shown as author. @default the caller at this node */
  readonly author?: { readonly name: string; readonly email?: string }
  readonly by?: AttributionInput
}

export interface CommitResult {
  readonly commit: string
  readonly ref: string
  /** Of the record that moved the ref */
  readonly sequence: number
}

export interface FileView {
  readonly path: string
  /** Of the commit it was read from */
  readonly commit: string
  readonly oid: string
  readonly size: number
  readonly executable: boolean
  /** Set when the content is UTF-8 */
  readonly text?: string
  /** Set otherwise */
  readonly base64?: string
}

export interface TreeEntry {
  readonly path: string
  readonly type: 'file' | 'folder' | 'link' | 'module'
  readonly oid: string
  readonly executable: boolean
}

export interface TreePage {
  readonly commit: string
  readonly entries: readonly TreeEntry[]
  readonly next?: string
}

export interface CommitView {
  readonly oid: string
  readonly parents: readonly string[]
  readonly message: string
  readonly author: { readonly name: string; readonly email: string; readonly at: string }
}

export interface LogPage {
  readonly commits: readonly CommitView[]
  readonly next?: string
}

export interface DiffEntry {
  readonly path: string
  readonly change: 'added' | 'removed' | 'changed'
  /** Object ids; absent on the side where it does not exist */
  readonly old?: string
  readonly new?: string
  /** Unified, when both sides are text and small enough */
  readonly patch?: string
}

export interface DiffView {
  readonly from: string
  readonly to: string
  readonly entries: readonly DiffEntry[]
  /** True when there are more than are listed */
  readonly truncated: boolean
}

export interface MergeRequest {
  /** Branch, tag or commit */
  readonly from: string
  /** @default the default branch */
  readonly into?: string
  readonly message?: string
  /** @default false: a fast-forward is done when possible */
  readonly noFastForward?: boolean
  readonly expectedHead?: string
  readonly by?: AttributionInput
}

export interface MergeConflict {
  readonly path: string
  readonly reason: string
}

export type MergeResult =
  | { readonly merged: true; readonly commit: string; readonly fastForward: boolean; readonly sequence: number }
  | { readonly merged: false; readonly conflicts: readonly MergeConflict[] }

export interface RefView {
  readonly ref: string
  readonly oid: string
  /** Node id; absent for canonical refs */
  readonly writer?: string
}

/** A token for Git clients: one artifact, reading or writing. */
export interface GitTokenView {
  readonly id: string
  readonly name: string
  readonly access: 'read' | 'write'
  /** Display only; absent: it does not expire */
  readonly expiresAt?: string
  readonly createdAt: string
}

export interface GitTokenRequest {
  /** @default "git" */
  readonly name?: string
  /** @default "write" */
  readonly access?: 'read' | 'write'
  /** Milliseconds. @default none: until it is revoked */
  readonly ttlMs?: number
}

/** `token` is shown this once. */
export interface GitTokenReply extends GitTokenView {
  readonly token: string
}

export interface HolderView {
  readonly node: string
  readonly name?: string
  /** Newest record of the owner that it says to hold */
  readonly sequence: number
  /** Whether it holds all that this node holds, large files included */
  readonly current: boolean
  /** Large files (Git LFS) that its commits name and that it does not hold yet; absent: none, as far as it knows */
  readonly lacks?: number
  readonly connected: boolean
  readonly rttMs?: number
  /** When it said so; display only */
  readonly at: string
  /** Its signed word: a DSSE envelope as JSON text */
  readonly signed: string
}

export interface ReplicationView {
  readonly artifact: string
  readonly contract: ReplicaContract
  /** `healthy`: enough nodes, all named ones among them, hold everything. `catching-up`: enough hold it, some lag. `short`: copies are missing */
  readonly state: 'healthy' | 'catching-up' | 'short'
  /** Newest record of the owner that is held here */
  readonly sequence: number
  /** This node first */
  readonly holders: readonly HolderView[]
  /** Nodes that the contract names and that do not hold it */
  readonly missing: readonly string[]
}

export interface RecordView {
  readonly writer: string
  readonly sequence: number
  /** sha256 of the record's payload, hex */
  readonly digest: string
  readonly moves: readonly { readonly ref: string; readonly old: string | null; readonly new: string | null }[]
  readonly by: Attribution
  /** Display only */
  readonly at: string
}

export interface AuditPage {
  readonly records: readonly RecordView[]
  readonly next?: string
}

export interface VerifyView {
  readonly valid: boolean
  /** Each with what is wrong; empty when valid */
  readonly faults: readonly string[]
  readonly owner: string
  readonly writers: readonly { readonly writer: string; readonly sequence: number; readonly records: number }[]
}

export interface CollectRequest {
  /** Also what refs moved away from in the last 14 days: undoing the tasks that moved them may be refused then. @default false */
  readonly now?: boolean
}

/** Bytes of all its objects on this node */
export interface CollectResult {
  readonly bytesBefore: number
  readonly bytesAfter: number
}

interface Page {
  /** @default 50, at most 500 */
  readonly limit?: number
  /** Opaque; from `next` of the page before */
  readonly after?: string
}

type Proposals = { readonly proposals: readonly ProposalView[]; readonly next?: string }
type GitTokens = { readonly tokens: readonly GitTokenView[] }
type Triggers = { readonly triggers: readonly TriggerView[] }

export interface ArtifactRoutes {
  'GET /v0/artifacts': Row<
    'GET',
    'read',
    Page & { prefix?: string },
    undefined,
    { readonly artifacts: readonly ArtifactView[]; readonly next?: string }
  >
  'POST /v0/artifacts': Row<'POST', 'run', {}, ArtifactCreate, ArtifactView>
  'POST /v0/artifacts/import': Row<'POST', 'run', {}, ImportRequest, ArtifactView>
  'GET /v0/artifacts/:id': Row<'GET', 'read', {}, undefined, ArtifactView>
  'POST /v0/artifacts/:id/settings': Row<'POST', 'admin', {}, ArtifactPatch, ArtifactView>
  'POST /v0/artifacts/:id/remove': Row<'POST', 'admin', {}, {}, { readonly removed: true }>
  /** Packs its repository and drops what nothing reaches */
  'POST /v0/artifacts/:id/collect': Row<'POST', 'admin', {}, CollectRequest, CollectResult>
  'POST /v0/artifacts/:id/fork': Row<'POST', 'run', {}, ForkRequest, ArtifactView>
  /** Fetches what the nearest holder has, also of an artifact this node does not know yet */
  'POST /v0/artifacts/:id/fetch': Row<'POST', 'run', {}, {}, ArtifactView>
  'GET /v0/artifacts/:id/refs': Row<
    'GET',
    'read',
    Page,
    undefined,
    { readonly refs: readonly RefView[]; readonly next?: string }
  >
  'POST /v0/artifacts/:id/commits': Row<'POST', 'run', {}, CommitRequest, CommitResult>
  'GET /v0/artifacts/:id/commits': Row<'GET', 'read', Page & { rev?: string }, undefined, LogPage>
  'GET /v0/artifacts/:id/file': Row<'GET', 'read', { path: string; rev?: string }, undefined, FileView>
  'GET /v0/artifacts/:id/tree': Row<
    'GET',
    'read',
    Page & { rev?: string; path?: string; recursive?: 'true' | 'false' },
    undefined,
    TreePage
  >
  'GET /v0/artifacts/:id/diff': Row<'GET', 'read', { from: string; to?: string; path?: string }, undefined, DiffView>
  'POST /v0/artifacts/:id/merge': Row<'POST', 'run', {}, MergeRequest, MergeResult>
  'GET /v0/artifacts/:id/notes': Row<'GET', 'read', { rev?: string; kind?: string }, undefined, NoteView>
  'POST /v0/artifacts/:id/notes': Row<'POST', 'run', {}, NoteRequest, CommitResult>
  'GET /v0/artifacts/:id/tokens': Row<'GET', 'admin', {}, undefined, GitTokens>
  'POST /v0/artifacts/:id/tokens': Row<'POST', 'run', {}, GitTokenRequest, GitTokenReply>
  'POST /v0/artifacts/:id/tokens/:token/revoke': Row<'POST', 'run', {}, {}, GitTokens>
  'GET /v0/artifacts/:id/replicas': Row<'GET', 'read', {}, undefined, ReplicationView>
  'POST /v0/artifacts/:id/replicas': Row<'POST', 'run', {}, Partial<ReplicaContract>, ReplicationView>
  'GET /v0/artifacts/:id/verify': Row<'GET', 'read', {}, undefined, VerifyView>
  'GET /v0/artifacts/:id/audit': Row<'GET', 'read', Page & { writer?: string }, undefined, AuditPage>
  'GET /v0/artifacts/:id/proposals': Row<'GET', 'read', Page & { state?: ProposalState }, undefined, Proposals>
  'POST /v0/artifacts/:id/proposals': Row<'POST', 'run', {}, ProposalCreate, ProposalView>
  'GET /v0/artifacts/:id/proposals/:proposal': Row<'GET', 'read', {}, undefined, ProposalView>
  'POST /v0/artifacts/:id/proposals/:proposal/comment': Row<'POST', 'run', {}, ProposalAct, ProposalView>
  'POST /v0/artifacts/:id/proposals/:proposal/check': Row<'POST', 'run', {}, ProposalCheck, ProposalView>
  'POST /v0/artifacts/:id/proposals/:proposal/approve': Row<'POST', 'run', {}, ProposalAct, ProposalView>
  'POST /v0/artifacts/:id/proposals/:proposal/merge': Row<'POST', 'run', {}, ProposalAct, ProposalView>
  'POST /v0/artifacts/:id/proposals/:proposal/close': Row<'POST', 'run', {}, ProposalAct, ProposalView>
  'GET /v0/artifacts/:id/triggers': Row<'GET', 'read', {}, undefined, Triggers>
  'POST /v0/artifacts/:id/triggers': Row<'POST', 'run', {}, TriggerRequest, TriggerView>
  'POST /v0/artifacts/:id/triggers/:trigger/remove': Row<'POST', 'run', {}, {}, Triggers>
  /** Takes back, by new commits, everything a task changed in artifacts of this node */
  'POST /v0/tasks/:id/undo': Row<'POST', 'run', {}, UndoRequest, UndoView>
}
