/** What the local API does with artifacts: each method is one route. Decisions are made elsewhere; here names become ids, and answers the API's form. */
import type {
  ArtifactCreate,
  ArtifactPatch,
  ArtifactView as ApiView,
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
  ReviewRules,
  TreePage,
  TriggerRequest,
  TriggerView,
  UndoView,
  VerifyView,
} from '../../protocol/api.ts'
import { isArtifactId } from '../../protocol/artifact/genesis.ts'
import type { Attribution } from '../../protocol/artifact/record.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { ArtifactServices, Subject } from '../api/artifact-services.ts'
import type { Journal } from '../journal/journal.ts'
import { auditPage, verifyArtifact } from './audit/audit.ts'
import { undoTask } from './audit/undo.ts'
import type { ContentDesk } from './content-desk.ts'
import type { GitTokens } from './git-door/git-tokens.ts'
import { importRepository } from './import/import-repository.ts'
import type { Replication } from './replicate/replication.ts'
import type { Reviews } from './review/reviews.ts'
import type { ArtifactView, NewArtifact } from './store/artifact-store.ts'
import type { OpenStore } from './store/journal-store.ts'
import type { TriggerBook } from './triggers/trigger-book.ts'
import { apiView, attributionOf, gitTokenView, replicationView } from './views.ts'

export interface ArtifactServiceParts {
  readonly store: OpenStore
  readonly content: ContentDesk
  readonly journal: Journal
  readonly gitTokens: GitTokens
  readonly replication: Replication
  readonly reviews: Reviews
  readonly triggers: TriggerBook
  readonly importHosts: readonly string[]
  /** Nodes that shall hold an artifact that is made without saying so */
  readonly replicas: number
  /** Of the loopback listener; undefined: there is none */
  readonly url: string | undefined
  /** Whether this node has a task of that id */
  readonly isTask: (id: string) => boolean
  readonly nameOf: (node: string) => string | undefined
  readonly rttMs: (node: string) => number | undefined
}

/** Refs of one page. */
const REFS_PAGE = 100

export class ArtifactService implements ArtifactServices {
  readonly #parts: ArtifactServiceParts

  constructor(parts: ArtifactServiceParts) {
    this.#parts = parts
  }

  async list(query: { readonly limit?: number; readonly after?: string; readonly prefix?: string }) {
    const { items, next } = await this.#parts.store.list({ limit: 50, ...query })
    const artifacts = items.map((view) => this.#view(view))
    return next === undefined ? { artifacts } : { artifacts, next }
  }

  async create(request: ArtifactCreate, subject: Subject): Promise<ApiView> {
    const { name, description, defaultBranch, visibility, replicas, review } = request
    const made = await this.#parts.store.create({
      ...newArtifact({ name, description, visibility }),
      ...(defaultBranch === undefined ? {} : { defaultBranch }),
      settings: { ...reviewSettings(review), replicas: this.#contract(replicas) },
      by: { subject },
    })
    return this.#view(made)
  }

  async import(request: ImportRequest, subject: Subject, signal: AbortSignal): Promise<ApiView> {
    const { store, importHosts } = this.#parts
    const made = { ...newArtifact(request), settings: { replicas: this.#contract(undefined) } }
    const parts = { store, hosts: importHosts }
    const { view, ...imported } = await importRepository(parts, request.url, made, { subject }, signal)
    return { ...this.#view(view), imported }
  }

  async get(id: string): Promise<ApiView> {
    return this.#view(this.#find(id))
  }

  async update(id: string, patch: ArtifactPatch, subject: Subject): Promise<ApiView> {
    const { review, readers, delegates, ...plain } = patch
    const found = this.#find(id)
    const writers = 1 + (delegates ?? found.settings.delegates).length
    if ((plain.threshold ?? found.settings.threshold) > writers)
      throw new MeshError(
        'E_BAD_REQUEST',
        `Cannot change the artifact: the threshold is more than the ${writers} who count, the owner and the delegates`,
      )
    const settings = {
      ...plain,
      ...reviewSettings(review),
      ...(readers === undefined ? {} : { readers: [...readers] }),
      ...(delegates === undefined ? {} : { delegates: [...delegates] }),
    }
    return this.#view(await this.#parts.store.update(found.id, settings, { subject }))
  }

  async remove(id: string, subject: Subject): Promise<void> {
    await this.#parts.store.remove(this.#find(id).id, { subject })
  }

  async collect(id: string, { now }: CollectRequest, signal: AbortSignal): Promise<CollectResult> {
    return this.#parts.store.collect(this.#find(id).id, { keepRecent: now !== true, signal })
  }

  async fork(id: string, request: ForkRequest, subject: Subject): Promise<ApiView> {
    const { name, description } = request
    const made = { ...newArtifact({ name, description }), by: { subject } }
    return this.#view(await this.#parts.content.fork(this.#find(id).id, made))
  }

  async fetch(id: string, signal: AbortSignal): Promise<ApiView> {
    const { store, replication } = this.#parts
    const known = store.get(id)?.id ?? id
    if (!isArtifactId(known))
      throw new MeshError('E_NOT_FOUND', 'Cannot fetch the artifact: no name of this node and no id', {
        hint: 'An id begins with "a" and has 33 characters',
      })
    await replication.clone(known, signal)
    return this.#view(this.#find(known))
  }

  async refs(id: string, query: { readonly limit?: number; readonly after?: string }) {
    const { store } = this.#parts
    const view = this.#find(id)
    const canonical = store.refs(view.id, { as: null })
    const all = [...canonical].map(([ref, oid]) => ({ ref, oid }))
    for (const writer of store.heads(view.id).keys()) {
      for (const [ref, oid] of store.refs(view.id, { as: writer }))
        if (canonical.get(ref) !== oid) all.push({ ref, oid, ...{ writer } })
    }
    const from = offsetOf(query.after)
    const limit = query.limit ?? REFS_PAGE
    const refs = all.slice(from, from + limit)
    return from + limit < all.length ? { refs, next: String(from + limit) } : { refs }
  }

  commit(id: string, request: CommitRequest, subject: Subject): Promise<CommitResult> {
    return this.commitFor(id, request, attributionOf(request.by, subject))
  }

  async commitFor(id: string, request: CommitRequest, by: Attribution): Promise<CommitResult> {
    return this.#parts.content.commit(this.#find(id), request, by)
  }

  async log(
    id: string,
    query: { readonly rev?: string; readonly limit?: number; readonly after?: string },
  ): Promise<LogPage> {
    return this.#parts.content.log(this.#find(id), query)
  }

  async file(id: string, query: { readonly path: string; readonly rev?: string }): Promise<FileView> {
    return this.#parts.content.file(this.#find(id), query)
  }

  async tree(id: string, query: Parameters<ArtifactServices['tree']>[1]): Promise<TreePage> {
    return this.#parts.content.tree(this.#find(id), query)
  }

  async diff(
    id: string,
    query: { readonly from: string; readonly to?: string; readonly path?: string },
  ): Promise<DiffView> {
    return this.#parts.content.diff(this.#find(id), query)
  }

  async merge(id: string, request: MergeRequest, subject: Subject): Promise<MergeResult> {
    return this.#parts.content.merge(this.#find(id), request, attributionOf(request.by, subject))
  }

  /** For a proposal. @throws MeshError E_REF_CONFLICT with the conflicts */
  async mergeFor(id: string, from: string, into: string, message: string, by: Attribution): Promise<string> {
    const merged = await this.#parts.content.merge(this.#find(id), { from, into, message, noFastForward: true }, by)
    if (merged.merged) return merged.commit
    throw new MeshError('E_REF_CONFLICT', 'Cannot merge the proposal: both sides changed the same places', {
      hint: `Merge ${into} into the proposed branch first`,
      details: { conflicts: merged.conflicts },
    })
  }

  titleOf(id: string, commit: string): Promise<string> {
    return this.#parts.content.titleOf(this.#find(id), commit)
  }

  async note(id: string, query: { readonly rev?: string; readonly kind?: string }): Promise<NoteView> {
    return this.#parts.content.note(this.#find(id), query)
  }

  async addNote(id: string, request: NoteRequest, subject: Subject): Promise<CommitResult> {
    return this.#parts.content.addNote(this.#find(id), request, attributionOf(request.by, subject))
  }

  async gitTokens(id: string): Promise<readonly GitTokenView[]> {
    return (await this.#parts.gitTokens.list(this.#find(id).id)).map(gitTokenView)
  }

  async createGitToken(id: string, request: GitTokenRequest): Promise<GitTokenReply> {
    const { name = 'git', access = 'write', ttlMs } = request
    const view = this.#find(id)
    const made = await this.#parts.gitTokens.create(view.id, {
      name,
      access,
      ...(ttlMs === undefined ? {} : { ttlMs }),
    })
    return { ...gitTokenView(made.token), token: made.secret }
  }

  async revokeGitToken(id: string, token: string): Promise<readonly GitTokenView[]> {
    const view = this.#find(id)
    await this.#parts.gitTokens.revoke(view.id, token)
    return this.gitTokens(view.id)
  }

  async replication(id: string): Promise<ReplicationView> {
    const { replication, nameOf, rttMs } = this.#parts
    return replicationView(await replication.status(this.#find(id).id), nameOf, rttMs)
  }

  async replicate(id: string, contract: Partial<ReplicaContract>, subject: Subject): Promise<ReplicationView> {
    const { id: known, settings } = this.#find(id)
    const { min, max, mustInclude } = { ...settings.replicas, ...contract }
    const replicas = { min, max: contract.max ?? Math.max(max, min), mustInclude: [...mustInclude] }
    await this.#parts.store.update(known, { replicas }, { subject })
    return this.replication(known)
  }

  async verify(id: string, signal: AbortSignal): Promise<VerifyView> {
    return verifyArtifact(this.#parts.store, this.#find(id).id, signal)
  }

  async audit(id: string, query: Parameters<ArtifactServices['audit']>[1]): Promise<AuditPage> {
    return auditPage(this.#parts.store, this.#find(id).id, query)
  }

  async proposals(id: string, query: Parameters<ArtifactServices['proposals']>[1]) {
    return this.#parts.reviews.list(this.#find(id).id, query)
  }

  async propose(id: string, request: ProposalCreate, subject: Subject): Promise<ProposalView> {
    return this.#parts.reviews.create(this.#find(id).id, request, attributionOf(request.by, subject))
  }

  async proposal(id: string, proposal: string): Promise<ProposalView> {
    return this.#parts.reviews.show(this.#find(id).id, proposal)
  }

  async comment(id: string, proposal: string, act: ProposalAct, subject: Subject): Promise<ProposalView> {
    if (act.text === undefined || act.text === '')
      throw new MeshError('E_BAD_REQUEST', 'Cannot comment: there is no text')
    return this.#parts.reviews.comment(this.#find(id).id, proposal, act.text, attributionOf(act.by, subject))
  }

  async check(id: string, proposal: string, act: ProposalCheck, subject: Subject): Promise<ProposalView> {
    return this.#parts.reviews.check(this.#find(id).id, proposal, act, attributionOf(act.by, subject))
  }

  async approve(id: string, proposal: string, act: ProposalAct, subject: Subject): Promise<ProposalView> {
    return this.#parts.reviews.approve(this.#find(id).id, proposal, act.text, attributionOf(act.by, subject))
  }

  async mergeProposal(id: string, proposal: string, act: ProposalAct, subject: Subject): Promise<ProposalView> {
    return this.#parts.reviews.merge(this.#find(id).id, proposal, act.text, attributionOf(act.by, subject))
  }

  async closeProposal(id: string, proposal: string, act: ProposalAct, subject: Subject): Promise<ProposalView> {
    return this.#parts.reviews.close(this.#find(id).id, proposal, act.text, attributionOf(act.by, subject))
  }

  async triggers(id: string): Promise<readonly TriggerView[]> {
    return this.#parts.triggers.list(this.#find(id).id)
  }

  async addTrigger(id: string, request: TriggerRequest, subject: Subject): Promise<TriggerView> {
    return this.#parts.triggers.add(this.#find(id).id, request, subject)
  }

  async removeTrigger(id: string, trigger: string): Promise<readonly TriggerView[]> {
    return this.#parts.triggers.remove(this.#find(id).id, trigger)
  }

  async undo(task: string, dryRun: boolean, subject: Subject): Promise<UndoView> {
    const { store, journal, isTask } = this.#parts
    const now = (): number => Math.floor(Date.now() / 1000)
    return undoTask({ store, journal, isTask, now }, task, dryRun, { subject })
  }

  #find(idOrName: string): ArtifactView {
    return this.#parts.store.require(idOrName)
  }

  #view(view: ArtifactView): ApiView {
    const head = this.#parts.store.refs(view.id).get(`refs/heads/${view.defaultBranch}`)
    return apiView(view, head, this.#parts.url)
  }

  #contract(asked: Partial<ReplicaContract> | undefined): { min: number; max: number; mustInclude: string[] } {
    const min = asked?.min ?? this.#parts.replicas
    return { min, max: asked?.max ?? Math.max(8, min), mustInclude: [...(asked?.mustInclude ?? [])] }
  }
}

function reviewSettings(review: Partial<ReviewRules> | undefined): { checks?: string[]; approvals?: number } {
  const { checks, approvals } = review ?? {}
  return {
    ...(checks === undefined ? {} : { checks: [...checks] }),
    ...(approvals === undefined ? {} : { approvals }),
  }
}

function newArtifact(from: {
  readonly name?: string | undefined
  readonly description?: string | undefined
  readonly visibility?: 'private' | 'mesh' | undefined
}): NewArtifact {
  const { name, description, visibility } = from
  return {
    ...(name === undefined ? {} : { name }),
    ...(description === undefined ? {} : { description }),
    ...(visibility === undefined ? {} : { visibility }),
  }
}

function offsetOf(after: string | undefined): number {
  const offset = Number(after ?? 0)
  return Number.isSafeInteger(offset) && offset > 0 ? offset : 0
}
