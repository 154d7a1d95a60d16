/** The artifact store on the journal and a folder of bare repositories; artifact-store.ts says what it promises, repositories.ts how it survives. */
import { artifactId, type Genesis, isArtifactId } from '../../../protocol/artifact/genesis.ts'
import { sealRecord } from '../../../protocol/artifact/record.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { Signer } from '../../../protocol/signing/signing.ts'
import { failpoint } from '../../failpoint.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'
import { recordCommit } from '../records/record-commit.ts'
import { RecordChain } from '../records/record-chain.ts'
import { adoptRecords } from './adopt.ts'
import type {
  Adopted,
  AdoptOptions,
  ArtifactEvent,
  ArtifactPage,
  ArtifactStore,
  ArtifactView,
  Attribution,
  CollectedBytes,
  CollectOptions,
  FilesChange,
  NewArtifact,
  RefMove,
  SettingsPatch,
  Staging,
  Transacted,
  TransactOptions,
  WriterHead,
} from './artifact-store.ts'
import { bornArtifact, newGenesis, nextRecord } from './birth.ts'
import { Catalog, stateWrites } from './catalog.ts'
import { checkedAttribution, checkedSettings, frozen, pageSize } from './checked.ts'
import { collectArtifact } from './collection.ts'
import { Committer } from './committer.ts'
import { Housekeeping } from './housekeeping.ts'
import { Names } from './names.ts'
import { EMPTY_TREE, type GitObject } from './git-object.ts'
import { ObjectReader } from './object-reader.ts'
import { type Following, Offers } from './offers.ts'
import { checkMoves, planMoves } from './plan-moves.ts'
import { Repositories } from './repositories.ts'
import { removalOf } from './removal.ts'
import { bytesOf, encodeRow, TABLES } from './rows.ts'
import { makePack } from './pack-file.ts'
import { small, writePack } from './repository-files.ts'
import { Settler } from './settler.ts'
import { Stagings } from './staging.ts'
import type { StoreOptions } from './store-options.ts'
import { type ArtifactState, defaultBranchOf, headsOf, shownRefs, viewOf } from './state.ts'
import { checkTips } from './tips.ts'
import { Turns } from './turns.ts'
import { DEFAULT_QUOTAS, FREE_ROOM, Usage } from './usage.ts'
import { openWholePack, type WholePack } from './whole-pack.ts'

export { ARTIFACT_RECORDS } from './rows.ts'
export type { StoreOptions } from './store-options.ts'

export interface OpenStore extends ArtifactStore {
  /** For reading objects that were accepted, by path of the repository */
  readonly reader: ObjectReader
  /** What all artifacts take, as counted for quotas */
  usage(): { readonly artifacts: number; readonly bytes: number }
  /** One object, from memory where it can be: then no file is looked at. @param name as for `ObjectReader.read` @param maxBytes default 64 MiB */
  object(id: string, name: string, maxBytes?: number): Promise<GitObject | undefined>
  /** The pack that holds what all refs of the artifact reach, records and proofs among it, and nothing else; undefined unless it was collected and nothing moved since */
  wholePack(id: string): Promise<WholePack | undefined>
}

const NOT_CLEARED = 'files of a removed artifact stay until the next start, or until it comes again'

/** Opens the store and finishes what a crash left. @throws MeshError E_STORAGE, E_JOURNAL_VERSION */
export async function openArtifactStore(options: StoreOptions): Promise<OpenStore> {
  const store = new JournalStore(options)
  await store.recover()
  return store
}

class JournalStore implements OpenStore {
  readonly writer: string
  readonly reader = new ObjectReader()
  readonly #signer: Signer
  readonly #journal: Journal
  readonly #now: () => number
  readonly #isMember: (node: string) => boolean
  readonly #forget: (artifact: string) => Promise<void>
  readonly #onFault: (what: string, error: unknown) => void
  readonly #turns = new Turns()
  readonly #usage: Usage
  readonly #catalog: Catalog
  readonly #repositories: Repositories
  readonly #committer: Committer
  readonly #settler: Settler
  readonly #stagings: Stagings
  readonly #offers: Offers
  readonly #chain: RecordChain
  readonly #housekeeping: Housekeeping
  readonly #listeners = new Set<(event: ArtifactEvent) => void>()
  readonly #names: Names
  /** Artifacts that lose objects now */
  readonly #collecting = new Set<string>()
  #afterCollection: (id: string, options: CollectOptions) => Promise<void> = () => Promise.resolve()
  #closed = false

  constructor(options: StoreOptions) {
    const { journal, signer, root } = options
    this.writer = signer.nodeId
    this.#signer = signer
    this.#journal = journal
    this.#now = options.now ?? Date.now
    this.#isMember = options.isMember ?? (() => true)
    this.#forget = options.forget ?? (() => Promise.resolve())
    this.#onFault = options.onFault ?? (() => {})
    this.#usage = new Usage(journal, { ...DEFAULT_QUOTAS, ...options.quotas })
    this.#catalog = new Catalog(journal)
    this.#repositories = new Repositories(root, journal, this.#catalog, this.reader)
    this.#offers = new Offers(journal, this.#repositories, signer.nodeId)
    this.#settler = new Settler((id) => this.#settle(id), this.#onFault)
    this.#committer = new Committer(journal, this.#catalog, this.#repositories, this.#usage, this.#settler)
    this.#stagings = new Stagings(() => this.#repositories.stagingFolder())
    this.#chain = new RecordChain(this.reader)
    this.#names = new Names(this.#catalog)
    this.#housekeeping = new Housekeeping({
      ...{ root, journal, catalog: this.#catalog, repositories: this.#repositories, stagings: this.#stagings },
      ...{ turns: this.#turns, onFault: this.#onFault, wallMs: this.#now },
      repository: (id) => this.repository(id),
      collect: (id, signal) => this.collect(id, { keepRecent: true, signal }),
    })
  }

  async recover(): Promise<void> {
    await this.#repositories.sweep()
    for (const id of await this.#repositories.gone()) {
      // before anything comes under its id it is tried again; the others need not wait for that
      await this.#clear(id).catch((error: unknown) => this.#onFault(NOT_CLEARED, error))
    }
    for (const id of await this.#repositories.unsettled()) {
      // one that cannot be written now is brought up to date when it is used
      await this.#settle(id).catch((error: unknown) => this.#onFault('an artifact could not be recovered', error))
    }
    for (const id of await this.#offers.ids()) await this.#turns.run(id, () => this.#follow(id))
    this.#housekeeping.start()
  }

  async create(artifact: NewArtifact): Promise<ArtifactView> {
    this.#assertOpen()
    const by = checkedAttribution(artifact.by ?? {})
    const genesis = newGenesis(this.writer, artifact.defaultBranch ?? 'main', this.#now())
    const id = artifactId(genesis)
    const { description, visibility, settings, name = `artifact-${id.slice(1, 9)}` } = artifact
    const chosen = checkedSettings({ ...settings, name, description, visibility })
    return this.#names.during(chosen.name, async () => {
      const { state, text } = bornArtifact(this.#signer, { genesis, id, settings: chosen, by, at: this.#now() })
      const birth: TableWrite = { table: TABLES.birth, key: id, value: Buffer.from(text) }
      const { row } = state
      const body = encodeRow({ artifact: id, name: row.name, by })
      await this.#usage.during({ agent: by.agent, artifacts: 1, bytes: 0 }, 0, (usage) =>
        this.#journal.append({
          type: 'artifact.created',
          body,
          writes: [...stateWrites(undefined, state), birth, ...usage()],
        }),
      )
      const { forkOf } = artifact
      const event = { artifact: id, name: row.name, writer: this.writer, sequence: 1, moves: [], by } as const
      this.#emit({ ...event, type: 'created', ...(forkOf === undefined ? {} : { forkOf }) })
      return viewOf(row, this.writer)
    })
  }

  get(idOrName: string): ArtifactView | undefined {
    const id = this.#catalog.idOf(idOrName)
    const row = id === undefined ? undefined : this.#catalog.row(id)
    return row === undefined ? undefined : viewOf(row, this.writer)
  }

  require(idOrName: string): ArtifactView {
    const found = this.get(idOrName)
    if (found !== undefined) return found
    throw new MeshError('E_NOT_FOUND', 'Cannot find the artifact: none here has that id or name', {
      hint: '`manyhands artifact ls` lists those that this node holds.',
    })
  }

  async list(
    options: { readonly prefix?: string; readonly after?: string; readonly limit?: number } = {},
  ): Promise<ArtifactPage> {
    const limit = pageSize(options.limit, 100, 1_000)
    const found = await this.#catalog.names(options.prefix ?? '', options.after, limit)
    const items = found.flatMap(({ id }) => this.#catalog.row(id) ?? []).map((row) => viewOf(row, this.writer))
    const next = found.length === limit ? found.at(-1)?.name : undefined
    return next === undefined ? { items } : { items, next }
  }

  ids(options: { readonly after?: string; readonly limit?: number } = {}): Promise<readonly string[]> {
    return this.#catalog.ids(options.after, pageSize(options.limit, 1_000, 10_000))
  }

  async update(id: string, patch: SettingsPatch, by: Attribution): Promise<ArtifactView> {
    const { name, settings, owner } = this.require(id)
    if (owner !== this.writer)
      throw new MeshError('E_FORBIDDEN', 'Cannot change settings: only the node that owns the artifact can', {
        hint: 'Do it on that node (manyhands artifact show), or take a copy of your own: manyhands artifact fork',
      })
    const wanted = checkedSettings({ ...settings, ...patch })
    const change = (): Promise<Transacted> => this.#turns.run(id, () => this.#transact(id, [], { by }, patch))
    const isRenamed = patch.name !== undefined && wanted.name !== name
    await (isRenamed ? this.#names.during(wanted.name, change) : change())
    return this.require(id)
  }

  async remove(id: string, by: Attribution, check?: () => void): Promise<void> {
    this.#assertOpen()
    const checked = checkedAttribution(by)
    const { row } = await this.#turns.run(id, async () => {
      const state = this.#state(id)
      check?.()
      const { fact, writes, change } = removalOf(state, await this.#repositories.pendingWrites(id), checked)
      await this.#usage.during(change, 0, (usage) => this.#journal.append({ ...fact, writes: [...writes, ...usage()] }))
      this.#catalog.drop(id)
      failpoint('artifact.remove.after-append')
      await this.#clear(id).catch((error: unknown) => this.#onFault(NOT_CLEARED, error))
      return state
    })
    this.#emit({
      type: 'removed',
      artifact: id,
      name: row.name,
      writer: this.writer,
      sequence: row.sequence,
      moves: [],
      by: checked,
    })
  }

  genesis(id: string): Genesis {
    return this.#state(id).row.genesis
  }

  async repository(id: string): Promise<string> {
    const { row } = this.#state(id)
    if (this.#repositories.isPrepared(row.id)) return this.#repositories.path(row.id)
    return this.#turns.run(row.id, () => this.#repositories.prepare(this.#state(row.id)))
  }

  async object(id: string, name: string, maxBytes = 64 << 20): Promise<GitObject | undefined> {
    const known = this.reader.known(this.#repositories.path(this.#state(id).row.id), name)
    if (known !== undefined && known.content.length <= maxBytes) return known
    return this.reader.read(await this.repository(id), name, maxBytes)
  }

  async wholePack(id: string): Promise<WholePack | undefined> {
    return openWholePack(await this.repository(id), this.#state(id))
  }

  async stage(id: string): Promise<Staging> {
    this.#assertOpen()
    if (!isArtifactId(id))
      throw new MeshError('E_BAD_REQUEST', 'Cannot take objects: that is not the id of an artifact')
    const known = this.#catalog.row(id)
    if (this.room(id) === 0)
      throw new MeshError('E_QUOTA', 'Cannot take objects: the quota is used up', { hint: FREE_ROOM })
    const repository = known && (await this.repository(id))
    // What it sees must stay: Git leaves out of a quarantine what is there already
    while (this.#collecting.has(id)) await this.#turns.run(id, () => Promise.resolve())
    return this.#stagings.open(id, repository, known === undefined ? 'main' : defaultBranchOf(known))
  }

  usage(): { readonly artifacts: number; readonly bytes: number } {
    return this.#usage.total()
  }

  room(id: string): number {
    const row = this.#catalog.row(id)
    return this.#usage.room({ id, agent: row?.agent }, row === undefined ? 0 : bytesOf(row))
  }

  reserve(id: string, bytes: number): () => void {
    return this.#usage.reserve({ id, agent: this.#catalog.row(id)?.agent }, bytes)
  }

  async transact(id: string, moves: readonly RefMove[], options: TransactOptions): Promise<Transacted> {
    try {
      this.#assertOpen()
      checkMoves(moves)
      if (moves.length === 0) throw new MeshError('E_BAD_REQUEST', 'Cannot move refs: none is named')
      return await this.#turns.run(id, () => this.#transact(id, moves, options), options.signal)
    } catch (error) {
      this.#housekeeping.failed(id, options.staging, error)
      throw error
    } finally {
      await options.staging?.discard()
    }
  }

  async adopt(id: string, envelopes: readonly string[], options: AdoptOptions = {}): Promise<Adopted> {
    try {
      this.#assertOpen()
      const parts = { committer: this.#committer, repositories: this.#repositories, catalog: this.#catalog }
      const more = { chain: this.#chain, offers: this.#offers, isMember: this.#isMember, reader: this.reader }
      const context = { ...parts, ...more, self: this.writer }
      const take = async (): Promise<Adopted> => {
        if (this.#repositories.isGone(id)) await this.#clear(id)
        const { adopted, events } = await this.#names.duringFree((nameFor) =>
          adoptRecords({ ...context, nameFor }, id, envelopes, options),
        )
        for (const event of events) this.#emit(event)
        await this.#follow(id)
        return adopted
      }
      return await this.#turns.run(id, take, options.signal)
    } catch (error) {
      this.#housekeeping.failed(id, options.staging, error)
      throw error
    } finally {
      await options.staging?.discard()
    }
  }

  refs(id: string, options: { readonly as?: string | null } = {}): ReadonlyMap<string, string> {
    return shownRefs(this.#state(id), options.as === undefined ? this.writer : options.as)
  }

  heads(id: string): ReadonlyMap<string, WriterHead> {
    return headsOf(this.#state(id))
  }

  async envelopes(id: string, writer: string, after = 0, limit = 100) {
    const head = this.#state(id).heads.get(writer)
    return head === undefined
      ? []
      : this.#chain.range(await this.repository(id), head, after, pageSize(limit, 100, 1_000))
  }

  async record(id: string, writer: string, sequence: number) {
    const head = this.#state(id).heads.get(writer)
    const found = head && (await this.#chain.at(await this.repository(id), head, sequence))
    if (found !== undefined) return found
    throw new MeshError('E_NOT_FOUND', `Cannot find record ${sequence} of that writer: it is not held here`)
  }

  async proofs(id: string, writer: string): Promise<readonly string[]> {
    const commits = this.#state(id).heads.get(writer)?.proof?.commits ?? []
    const path = await this.repository(id)
    return Promise.all(commits.map((commit) => this.#chain.text(path, commit)))
  }

  on(listener: (event: ArtifactEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async collect(id: string, options: CollectOptions = {}): Promise<CollectedBytes> {
    this.#assertOpen()
    const filesBefore = this.#state(id).row.files ?? 0
    const { bytesBefore, bytesAfter } = await this.#turns.run(id, async () => {
      if (this.#stagings.countOf(id) > 0)
        throw new MeshError('E_CONFLICT', 'Cannot collect garbage now: objects are coming in', { retryAfterMs: 5_000 })
      const parts = { journal: this.#journal, repositories: this.#repositories, committer: this.#committer }
      const more = { chain: this.#chain, reader: this.reader, now: this.#now }
      this.#collecting.add(id)
      try {
        return await collectArtifact({ ...parts, ...more }, this.#state(id), options)
      } finally {
        this.#collecting.delete(id)
      }
    })
    await this.#afterCollection(id, options).catch((error: unknown) =>
      this.#onFault('large files that nothing names stay until the next collection', error),
    )
    const files = this.#catalog.row(id)?.files ?? 0
    return { bytesBefore: bytesBefore + filesBefore, bytesAfter: bytesAfter + files }
  }

  countFiles(id: string, change: FilesChange): Promise<void> {
    this.#assertOpen()
    return this.#turns.run(id, () => this.#committer.countFiles(this.#state(id), change))
  }

  onCollected(listener: (id: string, options: CollectOptions) => Promise<void>): void {
    this.#afterCollection = listener
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#settler.close()
    await this.#housekeeping.close()
    await this.#turns.idle()
    await this.reader.close()
  }

  /** In the artifact's turn. @param patch new settings, by the owner @param writes further rows that change with it */
  async #transact(
    id: string,
    moves: readonly RefMove[],
    options: TransactOptions,
    patch?: SettingsPatch,
    writes: readonly TableWrite[] = this.#offers.decided(id, moves),
  ): Promise<Transacted> {
    const state = this.#state(id)
    const by = checkedAttribution(options.by)
    const own = state.heads.get(this.writer)
    if (own?.proof !== undefined) throw frozen()
    const refs = planMoves(state, this.writer, moves)
    const where = (): Promise<string> => this.#repositories.prepare(state)
    await checkTips(this.reader, where, moves, options)
    const settings = patch === undefined ? undefined : checkedSettings({ ...state.row.settings, ...patch })
    const change = { refs, moves: [...moves], by, settings, epoch: options.epoch ?? 0, at: this.#now() }
    const sealed = sealRecord(this.#signer, nextRecord(state, this.writer, change))
    const commit = recordCommit(sealed.text, own?.commit ?? null)
    const { sequence, epoch } = sealed.record
    const hidden = own?.hidden?.filter((ref) => !moves.some((move) => move.ref === ref)) ?? []
    const head = {
      sequence,
      digest: sealed.digest,
      commit: commit.oid,
      epoch,
      refs,
      ...(hidden.length === 0 ? {} : { hidden }),
    }
    const objects: GitObject[] = [...(options.objects ?? []), commit, ...(sequence === 1 ? [EMPTY_TREE] : [])]
    const votes = (): Promise<string> => this.#whereVotesAreSeen(state, objects, options.staging)
    // Here it may have another name than its settings say, which somebody else has
    const name = patch?.name === undefined ? state.row.name : settings?.name
    const next = await this.#committer.withHeads(state, new Map([[this.writer, head]]), settings, votes, name)
    if (options.staging !== undefined) await where()
    await this.#committer.commit(state, next, {
      type: 'artifact.moved',
      writer: this.writer,
      objects,
      staging: options.staging,
      task: by.task,
      ...{ moves, writes },
    })
    const event = { artifact: id, name: next.row.name, writer: this.writer, sequence, moves, by }
    this.#emit({ ...event, type: settings === undefined ? 'moved' : 'updated' })
    return { sequence, writer: this.writer, commit: commit.oid, record: sealed, moves }
  }

  /** A quorum is counted by Git, which must see the new commits for that. */
  async #whereVotesAreSeen(
    state: ArtifactState,
    objects: readonly GitObject[],
    staging: Staging | undefined,
  ): Promise<string> {
    const path = await this.#repositories.prepare(state)
    await writePack(path, small(makePack(objects)))
    return staging?.path ?? path
  }

  /** In the artifact's turn. What fails is tried again with the next records that come, and at the next start. */
  async #follow(id: string): Promise<void> {
    const take = async ({ moves, reason, writes }: Following): Promise<unknown> => {
      checkMoves(moves)
      return this.#transact(id, moves, { by: { reason } }, undefined, writes)
    }
    await this.#offers
      .follow(() => this.#state(id), take)
      .catch((error: unknown) => this.#onFault('a delegate is not followed yet', error))
  }

  async #settle(id: string): Promise<void> {
    await this.#turns.run(id, async () => {
      const state = this.#catalog.state(id)
      if (state !== undefined) await this.#repositories.settle(state)
    })
  }

  async #clear(id: string): Promise<void> {
    await this.#repositories.clear(id)
    await this.#forget(id)
    await this.#journal.append({
      type: 'artifact.cleared',
      body: encodeRow({ artifact: id }),
      writes: [{ table: TABLES.gone, key: id }],
    })
  }

  #state(id: string): ArtifactState {
    const state = this.#catalog.state(id)
    if (state !== undefined) return state
    throw new MeshError('E_NOT_FOUND', 'Cannot find the artifact: none here has that id', {
      hint: '`manyhands artifact ls` lists those that this node holds.',
    })
  }

  #emit(event: ArtifactEvent): void {
    this.#housekeeping.changed(event)
    for (const listener of this.#listeners) {
      try {
        listener(event)
      } catch (error) {
        this.#onFault('a listener of artifacts threw', error)
      }
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw new MeshError('E_STOPPING', 'Cannot use artifacts: the daemon is shutting down')
  }
}
