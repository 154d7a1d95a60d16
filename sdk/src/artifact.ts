/** One artifact. What it shows of itself (`view`) is as of the last answer; `refresh()` asks again. */
import type {
  ArtifactEvent,
  ArtifactPatch,
  ArtifactView,
  AuditPage,
  CollectRequest,
  CollectResult,
  CommitRequest,
  CommitResult,
  DiffView,
  FileView,
  ForkRequest,
  LogPage,
  MergeRequest,
  MergeResult,
  NoteRequest,
  ProposalCreate,
  RefView,
  ReplicaContract,
  ReplicationView,
  TreePage,
  VerifyView,
} from '../../protocol/api.ts'
import { GitTokens, Triggers } from './artifact-parts.ts'
import type { CallOptions } from './call-options.ts'
import type { Client } from './client.ts'
import { ManyhandsError } from './errors.ts'
import { type EventOptions, eventStream, lasting } from './event-stream.ts'
import { compact } from './program.ts'
import { Proposal, Proposals } from './proposals.ts'
import { meshEvent } from './replies.ts'

export interface RevisionOptions extends CallOptions {
  /** Branch, tag or commit. @default the default branch */
  readonly rev?: string | undefined
}

export interface TreeOptions extends RevisionOptions {
  /** Folder. @default the root */
  readonly path?: string | undefined
  /** With everything in its folders. @default false */
  readonly recursive?: boolean | undefined
  readonly limit?: number | undefined
  readonly after?: string | undefined
}

export interface HistoryOptions extends RevisionOptions {
  /** At most 500. @default 50 */
  readonly limit?: number | undefined
  readonly after?: string | undefined
}

export class Artifact {
  readonly #client: Client
  #view: ArtifactView
  /** For Git clients */
  readonly tokens: GitTokens
  readonly proposals: Proposals
  /** Programs that pushes start */
  readonly triggers: Triggers

  constructor(client: Client, view: ArtifactView) {
    this.#client = client
    this.#view = view
    this.tokens = new GitTokens(client, view.id)
    this.proposals = new Proposals(client, view.id)
    this.triggers = new Triggers(client, view.id)
  }

  get id(): string {
    return this.#view.id
  }

  get view(): ArtifactView {
    return this.#view
  }

  async refresh({ signal }: CallOptions = {}): Promise<ArtifactView> {
    this.#view = await this.#client.call('GET /v0/artifacts/:id', { params: this.#params, signal })
    return this.#view
  }

  /** Commits files to a branch. @throws ManyhandsError E_REF_CONFLICT when the branch is not at `expectedHead`, E_QUOTA */
  commit(request: CommitRequest, { signal }: CallOptions = {}): Promise<CommitResult> {
    return this.#client.call('POST /v0/artifacts/:id/commits', { params: this.#params, body: request, signal })
  }

  /** The bytes of a file. @throws ManyhandsError E_NOT_FOUND */
  async read(path: string, options: RevisionOptions = {}): Promise<Uint8Array> {
    const file = await this.file(path, options)
    if (file.text !== undefined) return new TextEncoder().encode(file.text)
    return Uint8Array.from(atob(file.base64 ?? ''), (char) => char.charCodeAt(0))
  }

  /** The text of a file. @throws ManyhandsError E_NOT_FOUND, E_BAD_REQUEST when it is not UTF-8 */
  async readText(path: string, options: RevisionOptions = {}): Promise<string> {
    const file = await this.file(path, options)
    if (file.text !== undefined) return file.text
    throw new ManyhandsError('E_BAD_REQUEST', `Cannot read ${path} as text: it is not UTF-8`, { hint: 'Use read()' })
  }

  /** A file with what Git knows of it. */
  file(path: string, options: RevisionOptions = {}): Promise<FileView> {
    const query = compact<{ path: string; rev?: string }>({ path, rev: options.rev })
    return this.#client.call('GET /v0/artifacts/:id/file', { params: this.#params, query, signal: options.signal })
  }

  /** What is in a folder, in pages. */
  list(options: TreeOptions = {}): Promise<TreePage> {
    const { recursive, signal, ...rest } = options
    const query = compact<TreeQuery>({ ...EMPTY_TREE, ...rest, recursive: recursive === true ? 'true' : undefined })
    return this.#client.call('GET /v0/artifacts/:id/tree', { params: this.#params, query, signal })
  }

  /** Commits, newest first, in pages. */
  log(options: HistoryOptions = {}): Promise<LogPage> {
    const query = compact<LogQuery>({ rev: options.rev, limit: options.limit, after: options.after })
    return this.#client.call('GET /v0/artifacts/:id/commits', { params: this.#params, query, signal: options.signal })
  }

  /** @param to @default the default branch */
  diff(from: string, to?: string, path?: string, { signal }: CallOptions = {}): Promise<DiffView> {
    const query = compact<{ from: string; to?: string; path?: string }>({ from, to, path })
    return this.#client.call('GET /v0/artifacts/:id/diff', { params: this.#params, query, signal })
  }

  /** Conflicts are an answer, and nothing is changed then. */
  merge(request: MergeRequest, { signal }: CallOptions = {}): Promise<MergeResult> {
    return this.#client.call('POST /v0/artifacts/:id/merge', { params: this.#params, body: request, signal })
  }

  /** An artifact of its own that begins with everything this one has. */
  async fork(request: ForkRequest = {}, { signal }: CallOptions = {}): Promise<Artifact> {
    const view = await this.#client.call('POST /v0/artifacts/:id/fork', { params: this.#params, body: request, signal })
    return new Artifact(this.#client, view)
  }

  refs(
    options: CallOptions & { readonly limit?: number | undefined; readonly after?: string | undefined } = {},
  ): Promise<{
    readonly refs: readonly RefView[]
    readonly next?: string
  }> {
    const { signal, ...query } = options
    return this.#client.call('GET /v0/artifacts/:id/refs', {
      params: this.#params,
      query: compact<{ limit?: number; after?: string }>(query),
      signal,
    })
  }

  /** The note of a commit, or undefined when it has none. @param kind refs/notes/<kind>. @default "commits" */
  async note(options: RevisionOptions & { readonly kind?: string | undefined } = {}): Promise<string | undefined> {
    const query = compact<{ rev?: string; kind?: string }>({ rev: options.rev, kind: options.kind })
    try {
      const { signal } = options
      return (await this.#client.call('GET /v0/artifacts/:id/notes', { params: this.#params, query, signal })).text
    } catch (error) {
      if (error instanceof ManyhandsError && error.code === 'E_NOT_FOUND') return undefined
      throw error
    }
  }

  /** Sets the note of a commit: a prompt, what a model said, how it was made. */
  addNote(request: NoteRequest, { signal }: CallOptions = {}): Promise<CommitResult> {
    return this.#client.call('POST /v0/artifacts/:id/notes', { params: this.#params, body: request, signal })
  }

  /** Proposes to merge a branch. */
  async propose(request: ProposalCreate, { signal }: CallOptions = {}): Promise<Proposal> {
    const params = this.#params
    const view = await this.#client.call('POST /v0/artifacts/:id/proposals', { params, body: request, signal })
    return new Proposal(this.#client, view)
  }

  /** How many nodes shall hold it, and who does. Without a contract it only asks. */
  replicate(contract?: Partial<ReplicaContract>, options: CallOptions = {}): Promise<ReplicationView> {
    if (contract === undefined) return this.replication(options)
    const { signal } = options
    return this.#client.call('POST /v0/artifacts/:id/replicas', { params: this.#params, body: contract, signal })
  }

  /** Who holds which sequence, as each of them signed. */
  replication({ signal }: CallOptions = {}): Promise<ReplicationView> {
    return this.#client.call('GET /v0/artifacts/:id/replicas', { params: this.#params, signal })
  }

  /** Checks the whole chain of records as a plain clone could. */
  verify({ signal }: CallOptions = {}): Promise<VerifyView> {
    return this.#client.call('GET /v0/artifacts/:id/verify', { params: this.#params, signal, timeoutMs: LONG_MS })
  }

  /** Who moved which ref by what right, newest first. @param writer node id. @default the owner */
  audit(
    options: CallOptions & {
      readonly writer?: string | undefined
      readonly limit?: number | undefined
      readonly after?: string | undefined
    } = {},
  ): Promise<AuditPage> {
    const { signal, ...query } = options
    return this.#client.call('GET /v0/artifacts/:id/audit', {
      params: this.#params,
      query: compact<{ writer?: string; limit?: number; after?: string }>(query),
      signal,
    })
  }

  async update(patch: ArtifactPatch, { signal }: CallOptions = {}): Promise<ArtifactView> {
    const params = this.#params
    this.#view = await this.#client.call('POST /v0/artifacts/:id/settings', { params, body: patch, signal })
    return this.#view
  }

  /**
   * Packs its repository on this node and drops what nothing reaches, as happens by itself in time. What refs moved away from in the last 14 days stays, unless
   * `now` is set. @throws ManyhandsError E_CONFLICT while a push comes in
   */
  collect(request: CollectRequest = {}, { signal }: CallOptions = {}): Promise<CollectResult> {
    return this.#client.call('POST /v0/artifacts/:id/collect', {
      params: this.#params,
      body: request,
      signal,
      timeoutMs: LONG_MS,
    })
  }

  /** Removes it from this node; other holders keep theirs. */
  async remove({ signal }: CallOptions = {}): Promise<void> {
    await this.#client.call('POST /v0/artifacts/:id/remove', { params: this.#params, body: {}, signal })
  }

  /** What happens to this artifact from now on. Leave the loop or abort to end it. */
  async *watch(options: EventOptions = {}): AsyncGenerator<ArtifactEvent> {
    const events = eventStream(this.#client, '/v0/events', meshEvent, lasting(options))
    for await (const event of events) if ('artifact' in event && event.artifact === this.id) yield event
  }

  get #params(): { readonly id: string } {
    return { id: this.id }
  }
}

/** For what reads every commit and object of a large repository. */
const LONG_MS = 10 * 60_000
const EMPTY_TREE = { rev: undefined, path: undefined, limit: undefined, after: undefined }

type TreeQuery = { rev?: string; path?: string; recursive?: 'true' | 'false'; limit?: number; after?: string }
type LogQuery = { rev?: string; limit?: number; after?: string }
