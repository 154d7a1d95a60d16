/**
 * The seam of artifacts: what the Git door, the content API, replication and review stand on. The one implementation is journal-store.ts.
 *
 * The journal is the truth. Everything that moves a ref goes through `transact` (own work) or `adopt` (records of other writers): objects are
 * durable first, then one append moves refs, record, quota and indexes together, then files that Git reads are derived from it.
 */
import type { NewRecord, TableWrite } from '../../journal/journal.ts'
import type { ArtifactSettings } from '../../../protocol/artifact/settings.ts'
import type { Attribution, RefMove, SealedRecord } from '../../../protocol/artifact/record.ts'
import type { Genesis } from '../../../protocol/artifact/genesis.ts'
import type { Head } from '../../../protocol/artifact/heads.ts'
import type { GitObject, ObjectType } from './git-object.ts'

export interface NewArtifact {
  /** @default made from the id */
  readonly name?: string
  readonly description?: string
  /** @default 'mesh' */
  readonly visibility?: ArtifactSettings['visibility']
  /** @default 'main' */
  readonly defaultBranch?: string
  /** Further settings; see protocol/artifact/settings.ts */
  readonly settings?: Partial<Omit<ArtifactSettings, 'name' | 'description' | 'visibility'>>
  /** The artifact whose content it starts with; named in the event */
  readonly forkOf?: string
  /** Who makes it; `by.agent` is whose quota it counts against */
  readonly by?: Attribution
}

export type SettingsPatch = Partial<ArtifactSettings>

export interface ArtifactView {
  readonly id: string
  /** Unique on this node; the owner's choice unless another artifact here has that name already */
  readonly name: string
  /** Node id */
  readonly owner: string
  /** Whether this node owns it */
  readonly mine: boolean
  /** The agent it counts against here */
  readonly agent?: string
  readonly defaultBranch: string
  readonly settings: ArtifactSettings
  /** Milliseconds since 1970; display only */
  readonly createdAt: number
  /** Newest sequence of the owner that is held here; 0 while its first record is missing */
  readonly sequence: number
  /** Bytes its objects take here, as counted for quotas */
  readonly bytes: number
  /** Writers that signed two records under one sequence */
  readonly frozen: readonly string[]
}

export interface ArtifactPage {
  readonly items: readonly ArtifactView[]
  /** Pass as `after` for the next page; absent at the end */
  readonly next?: string
}

/** A quarantine: a bare repository of its own (HEAD, config, refs/, objects/) that sees the artifact's objects through alternates. */
export interface Staging {
  readonly artifact: string
  /** The bare repository, to be used as GIT_DIR */
  readonly path: string
  readonly objects: string
  /** Bytes in `objects` now */
  bytes(): Promise<number>
  /** Removes it; does nothing when it was used up or removed before */
  discard(): Promise<void>
}

export interface TransactOptions {
  readonly by: Attribution
  /** Where new objects are: moved into the artifact, or removed when the transaction fails */
  readonly staging?: Staging
  /** New objects made here, small and few: they are durable with the append itself */
  readonly objects?: readonly GitObject[]
  /** Lease epoch the work was done under. @default 0 */
  readonly epoch?: number
  /** The connectivity of staged objects was checked by the caller; otherwise each new tip is looked for. @default false */
  readonly checked?: boolean
  /** Ends the wait for the artifact's turn. @default ends after 10 s */
  readonly signal?: AbortSignal
}

/** Large files that came (or, with negative bytes, went), and the fact and rows that say so. */
export interface FilesChange {
  readonly bytes: number
  readonly fact: NewRecord & { readonly writes: readonly TableWrite[] }
}

export interface Transacted {
  readonly sequence: number
  readonly writer: string
  /** Commit of the record */
  readonly commit: string
  readonly record: SealedRecord
  readonly moves: readonly RefMove[]
}

/** What is held of one writer. */
export interface WriterHead extends Head {
  /** Commit of its newest record */
  readonly commit: string
}

export interface ArtifactEvent {
  readonly type: 'created' | 'moved' | 'updated' | 'removed' | 'adopted' | 'frozen'
  readonly artifact: string
  readonly name: string
  readonly writer: string
  readonly sequence: number
  readonly moves: readonly RefMove[]
  readonly by: Attribution
  /** The artifact this one was forked from, for 'created' */
  readonly forkOf?: string
}

export interface AdoptOptions {
  /** Where the objects the records name are; already checked for connectivity. Used up */
  readonly staging?: Staging
  /** All that is in `staging`, when it is little: these are durable with the append itself, and no file is moved */
  readonly objects?: readonly GitObject[]
  /** Types of what the records name, as found in `staging` by whoever checked it; what is not among them is looked for */
  readonly kinds?: ReadonlyMap<string, ObjectType>
  readonly signal?: AbortSignal
}

export interface Adopted {
  /** Newest sequence by writer after it */
  readonly heads: ReadonlyMap<string, WriterHead>
  /** Records that were new here */
  readonly taken: number
  /** Writers that froze by it */
  readonly frozen: readonly string[]
}

export interface CollectOptions {
  /** Keep what refs moved away from in the last 14 days, so that it can still be taken back. @default false */
  readonly keepRecent?: boolean
  /** Ends it; what was there is there then */
  readonly signal?: AbortSignal
}

/** Of all objects of an artifact on this node. */
export interface CollectedBytes {
  readonly bytesBefore: number
  readonly bytesAfter: number
}

export interface ArtifactStore {
  /** Node id under which this store writes */
  readonly writer: string
  /** @throws MeshError E_CONFLICT the name is taken, E_QUOTA, E_BAD_REQUEST */
  create(artifact: NewArtifact): Promise<ArtifactView>
  /** By id or name; what is neither is simply not found. From the journal, no scan. */
  get(idOrName: string): ArtifactView | undefined
  /** The same. @throws MeshError E_NOT_FOUND */
  require(idOrName: string): ArtifactView
  /** In order of names. @param options.after name of the last one of the page before; limit default 100, at most 1,000 */
  list(options?: { readonly prefix?: string; readonly after?: string; readonly limit?: number }): Promise<ArtifactPage>
  /** Ids in order, for replication. @param options.limit default 1,000, at most 10,000 */
  ids(options?: { readonly after?: string; readonly limit?: number }): Promise<readonly string[]>
  /** Only the owner's node may. @throws MeshError E_FORBIDDEN, E_NOT_FOUND, E_CONFLICT, E_BAD_REQUEST */
  update(id: string, patch: SettingsPatch, by: Attribution): Promise<ArtifactView>
  /**
   * Forgets it on this node; copies elsewhere stay.
   * @param check looks whether it may still go, once nothing else can change it; what it throws keeps the artifact
   * @throws MeshError E_NOT_FOUND, E_OVERLOADED, E_TIMEOUT, E_STORAGE; what `check` throws
   */
  remove(id: string, by: Attribution, check?: () => void): Promise<void>
  genesis(id: string): Genesis

  /** Path of the bare repository, made when missing, with every acknowledged move in it. Read only! @throws MeshError E_NOT_FOUND, E_STORAGE */
  repository(id: string): Promise<string>
  /** A quarantine for incoming objects; also for an id that is not known here yet. @throws MeshError E_QUOTA, E_OVERLOADED, E_STORAGE */
  stage(id: string): Promise<Staging>
  /** Bytes that may still be added to an artifact before a quota refuses: the smallest of its own, its agent's and the node's, without what is reserved. */
  room(id: string): number
  /** Keeps room for what is coming in: two may not use the same. What is stored is counted whether room was reserved for it or not. @returns gives it back; call once */
  reserve(id: string, bytes: number): () => void
  /**
   * Moves refs of this node, all or none. For a node that is not the owner they move in its own namespace.
   * @throws MeshError E_REF_CONFLICT a ref is not where it was expected, or two names cannot both exist; E_BAD_REQUEST a name or an object;
   * E_FROZEN, E_QUOTA, E_NOT_FOUND, E_OVERLOADED, E_TIMEOUT, E_STORAGE (nothing moved in all of them)
   */
  transact(id: string, moves: readonly RefMove[], options: TransactOptions): Promise<Transacted>
  /**
   * Takes records of other writers, and of the owner for an artifact not known here: each writer's in order. Refuses gaps, older ones and foreign ones;
   * two different records under one sequence are kept as proof and freeze the writer.
   * @throws MeshError E_PROTOCOL, E_SIGNATURE, E_REF_CONFLICT (a gap), E_QUOTA, E_STORAGE
   */
  adopt(id: string, envelopes: readonly string[], options?: AdoptOptions): Promise<Adopted>

  /** Refs as this node shows them: the canonical ones, those of `as` laid over them. @param options.as default this node; null: canonical only */
  refs(id: string, options?: { readonly as?: string | null }): ReadonlyMap<string, string>
  /** Newest record of each writer that is held here, from the journal alone. */
  heads(id: string): ReadonlyMap<string, WriterHead>
  /** Envelopes (canonical text) of a writer with a sequence above `after`, oldest first. @param limit default 100 */
  envelopes(id: string, writer: string, after?: number, limit?: number): Promise<readonly string[]>
  /** One record. @throws MeshError E_NOT_FOUND */
  record(id: string, writer: string, sequence: number): Promise<SealedRecord>
  /** The two envelopes that prove that a frozen writer signed two histories; empty for others. */
  proofs(id: string, writer: string): Promise<readonly string[]>
  /** Called after the fact is durable; an error of a listener is logged and changes nothing. @returns ends it */
  on(listener: (event: ArtifactEvent) => void): () => void
  /**
   * Packs what is loose, drops what nothing reaches. Waits its turn. Happens by itself too, keeping what is recent.
   * @throws MeshError E_CONFLICT while something is staged for it, E_NOT_FOUND, E_TIMEOUT, E_STORAGE
   */
  collect(id: string, options?: CollectOptions): Promise<CollectedBytes>
  /** Counts large files kept beside the repository, in the append that says so. Waits its turn. @throws MeshError E_QUOTA, E_NOT_FOUND, E_STORAGE */
  countFiles(id: string, change: FilesChange): Promise<void>
  /** Called after each collection, which waits for it: what is kept beside a repository may be collected too. Its errors are logged. */
  onCollected(listener: (id: string, options: CollectOptions) => Promise<void>): void
  /** Finishes what runs and settles what is not in the repositories yet. */
  close(): Promise<void>
}

export type { Attribution, GitObject, RefMove }
