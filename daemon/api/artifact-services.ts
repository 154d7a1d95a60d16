/** What the routes about artifacts need of the rest of the daemon: one method for each. Every method may throw a MeshError. */
import type {
  ArtifactCreate,
  ArtifactPatch,
  ArtifactRoutes,
  ArtifactView,
  AuditPage,
  CollectRequest,
  CollectResult,
  CommitRequest,
  CommitResult,
  DiffView,
  FileView,
  ForkRequest,
  GitTokenReply,
  GitTokenRequest,
  GitTokenView,
  ImportRequest,
  LogPage,
  MergeRequest,
  MergeResult,
  NoteRequest,
  NoteView,
  ProposalAct,
  ProposalCheck,
  ProposalCreate,
  ProposalView,
  ReplicaContract,
  ReplicationView,
  TreePage,
  TriggerRequest,
  TriggerView,
  UndoView,
  VerifyView,
} from '../../protocol/api.ts'
import type { Attribution } from '../../protocol/artifact/record.ts'

type Query<R extends keyof ArtifactRoutes> = ArtifactRoutes[R]['query']
type Reply<R extends keyof ArtifactRoutes> = ArtifactRoutes[R]['reply']

/** Name of the token that asks: "local", or that of a named one. */
export type Subject = string

/** `id` is an artifact's id or its name on this node; each method throws E_NOT_FOUND when there is none. */
export interface ArtifactServices {
  list(query: Query<'GET /v0/artifacts'>): Promise<Reply<'GET /v0/artifacts'>>
  create(request: ArtifactCreate, subject: Subject): Promise<ArtifactView>
  import(request: ImportRequest, subject: Subject, signal: AbortSignal): Promise<ArtifactView>
  get(id: string): Promise<ArtifactView>
  update(id: string, patch: ArtifactPatch, subject: Subject): Promise<ArtifactView>
  remove(id: string, subject: Subject): Promise<void>
  collect(id: string, request: CollectRequest, signal: AbortSignal): Promise<CollectResult>
  fork(id: string, request: ForkRequest, subject: Subject): Promise<ArtifactView>
  fetch(id: string, signal: AbortSignal): Promise<ArtifactView>
  refs(id: string, query: Query<'GET /v0/artifacts/:id/refs'>): Promise<Reply<'GET /v0/artifacts/:id/refs'>>
  commit(id: string, request: CommitRequest, subject: Subject): Promise<CommitResult>
  /** The same for work that a task did, with its own attribution */
  commitFor(id: string, request: CommitRequest, by: Attribution): Promise<CommitResult>
  log(id: string, query: Query<'GET /v0/artifacts/:id/commits'>): Promise<LogPage>
  file(id: string, query: Query<'GET /v0/artifacts/:id/file'>): Promise<FileView>
  tree(id: string, query: Query<'GET /v0/artifacts/:id/tree'>): Promise<TreePage>
  diff(id: string, query: Query<'GET /v0/artifacts/:id/diff'>): Promise<DiffView>
  merge(id: string, request: MergeRequest, subject: Subject): Promise<MergeResult>
  note(id: string, query: Query<'GET /v0/artifacts/:id/notes'>): Promise<NoteView>
  addNote(id: string, request: NoteRequest, subject: Subject): Promise<CommitResult>
  gitTokens(id: string): Promise<readonly GitTokenView[]>
  createGitToken(id: string, request: GitTokenRequest): Promise<GitTokenReply>
  revokeGitToken(id: string, token: string): Promise<readonly GitTokenView[]>
  replication(id: string): Promise<ReplicationView>
  replicate(id: string, contract: Partial<ReplicaContract>, subject: Subject): Promise<ReplicationView>
  verify(id: string, signal: AbortSignal): Promise<VerifyView>
  audit(id: string, query: Query<'GET /v0/artifacts/:id/audit'>): Promise<AuditPage>
  proposals(
    id: string,
    query: Query<'GET /v0/artifacts/:id/proposals'>,
  ): Promise<Reply<'GET /v0/artifacts/:id/proposals'>>
  propose(id: string, request: ProposalCreate, subject: Subject): Promise<ProposalView>
  proposal(id: string, proposal: string): Promise<ProposalView>
  comment(id: string, proposal: string, act: ProposalAct, subject: Subject): Promise<ProposalView>
  check(id: string, proposal: string, act: ProposalCheck, subject: Subject): Promise<ProposalView>
  approve(id: string, proposal: string, act: ProposalAct, subject: Subject): Promise<ProposalView>
  mergeProposal(id: string, proposal: string, act: ProposalAct, subject: Subject): Promise<ProposalView>
  closeProposal(id: string, proposal: string, act: ProposalAct, subject: Subject): Promise<ProposalView>
  triggers(id: string): Promise<readonly TriggerView[]>
  addTrigger(id: string, request: TriggerRequest, subject: Subject): Promise<TriggerView>
  removeTrigger(id: string, trigger: string): Promise<readonly TriggerView[]>
  undo(task: string, dryRun: boolean, subject: Subject): Promise<UndoView>
}

/** The services, loaded when they are first needed. @throws MeshError E_NO_ARTIFACTS when this node offers none, with the reason */
export type FindArtifacts = () => Promise<ArtifactServices>
