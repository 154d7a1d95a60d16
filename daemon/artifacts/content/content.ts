/**
 * Files and history of artifacts without a checkout: read, list, log, diff, commit, merge, fork. Whatever changes something ends in the store's `transact`.
 *
 * A revision is a commit id, a branch, a tag, or a full ref name, as this node shows them; nothing more of Git's grammar for revisions.
 */
import type { DiffView } from '../../../protocol/api-artifacts.ts'
import { filePathFault } from '../../../protocol/artifact/file-path.ts'
import { isObjectId, isRefName } from '../../../protocol/artifact/ref-name.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import { ancestors } from '../store/ancestry.ts'
import type { ArtifactView, Attribution, NewArtifact, Staging } from '../store/artifact-store.ts'
import { EMPTY_TREE, encodeCommit, type GitObject, modeOf } from '../store/git-object.ts'
import { gitOutput } from '../store/git-process.ts'
import type { OpenStore } from '../store/journal-store.ts'
import { damagedHere } from '../store/object-reader.ts'
import { Turns } from '../store/turns.ts'
import { changeTree, type FileChange } from './change-tree.ts'
import { type Author, commitMessage, type CommitView, person, readCommit } from './commit-view.ts'
import { type DiffOptions, diffTrees } from './diff.ts'
import { type ListPage, listTree } from './list-tree.ts'
import { type MergeConflict, mergeTrees } from './merge.ts'

export type { Author, CommitView, FileChange, ListPage, MergeConflict }

export interface CommitInput {
  readonly files: Iterable<FileChange>
  readonly message: string
  /** Short name. @default the artifact's default branch */
  readonly branch?: string
  /** Revision at which a branch begins that does not exist yet. @default an empty history */
  readonly from?: string
  /** Where the branch must be; null: it must not exist. @default wherever it is now */
  readonly expectedHead?: string | null
  /** @default the agent, or "manyhands" */
  readonly author?: Author
  readonly by: Attribution
}

export interface CommitResult {
  readonly commit: string
  readonly ref: string
  /** Of the record that moved it; where nothing changed, of the newest one */
  readonly sequence: number
  /** False when the files were like that already: no commit was made */
  readonly changed: boolean
}

export interface FileView {
  readonly path: string
  readonly commit: string
  readonly oid: string
  readonly executable: boolean
  readonly content: Uint8Array
}

export interface MergeInput {
  /** Revision */
  readonly from: string
  /** Branch. @default the default branch */
  readonly into?: string
  readonly message?: string
  /** @default false */
  readonly noFastForward?: boolean
  readonly expectedHead?: string
  readonly author?: Author
  readonly by: Attribution
}

export type MergeResult =
  | { readonly merged: true; readonly commit: string; readonly fastForward: boolean; readonly sequence: number }
  | { readonly merged: false; readonly conflicts: readonly MergeConflict[] }

/** One file or one folder that is read into memory, bytes. */
const MAX_READ = 64 << 20
const MAX_LOG = 1_000
/** Of a commit whose branch is moved by pushes meanwhile. */
const MAX_TRIES = 10

export class Content {
  readonly #store: OpenStore
  readonly #now: () => number
  /** Commits and merges of one artifact follow each other, so that none is built on a head that is about to move */
  readonly #turns = new Turns()

  /** @param now wall clock, milliseconds since 1970; stands in commits. @default Date.now */
  constructor(store: OpenStore, now: () => number = Date.now) {
    this.#store = store
    this.#now = now
  }

  /** The commit a revision names. @param rev default: the default branch @throws MeshError E_NOT_FOUND, E_BAD_REQUEST */
  async resolve(id: string, rev?: string): Promise<string> {
    const refs = this.#store.refs(id)
    const name = rev ?? this.#store.require(id).defaultBranch
    const named = isObjectId(name) ? name : namesOf(name).flatMap((ref) => refs.get(ref) ?? [])[0]
    // a tag may name a tag object
    // nothing but a commit is ever under a branch; a tag may name a tag
    if (named !== undefined && named === refs.get(`refs/heads/${name}`)) return named
    const found = named && (await this.#store.reader.info(await this.#store.repository(id), `${named}^{commit}`))
    if (found !== undefined && found !== '') return found.oid
    throw new MeshError(
      'E_NOT_FOUND',
      'Cannot find that revision: no branch, tag or commit of the artifact is called that',
      {
        hint:
          rev === undefined ? 'Its default branch has no commit yet.' : 'Name a branch, a tag, or a whole commit id.',
      },
    )
  }

  /** One file. @param options.maxBytes default 64 MiB @throws MeshError E_NOT_FOUND, E_TOO_LARGE, E_CONFLICT when it is a folder */
  async read(
    id: string,
    path: string,
    options: { readonly rev?: string; readonly maxBytes?: number } = {},
  ): Promise<FileView> {
    checkPath(path)
    const commit = await this.resolve(id, options.rev)
    const repository = await this.#store.repository(id)
    const { reader } = this.#store
    const blob = await reader.read(repository, `${commit}:${path}`, options.maxBytes ?? MAX_READ)
    if (blob === undefined) {
      if ((await reader.info(repository, `${commit}^{tree}`)) === undefined) throw damagedHere('its commit is missing')
      throw new MeshError('E_NOT_FOUND', `Cannot read ${path}: it does not exist there`, {
        hint: 'List a folder with: manyhands artifact cat <artifact> <rev>:<folder>/',
      })
    }
    if (blob.type !== 'blob') throw new MeshError('E_CONFLICT', `Cannot read ${path}: it is a folder`)
    const slash = path.lastIndexOf('/')
    const folder = await reader.read(
      repository,
      slash < 0 ? `${commit}^{tree}` : `${commit}:${path.slice(0, slash)}`,
      MAX_READ,
    )
    const executable = folder !== undefined && isExecutable(folder.content, path.slice(slash + 1), blob.oid)
    return { path, commit, oid: blob.oid, executable, content: blob.content }
  }

  /** Entries of a folder, or all files below it. @param options.limit default 1,000, at most 10,000 @throws MeshError E_NOT_FOUND */
  async list(
    id: string,
    options: {
      readonly rev?: string
      readonly path?: string
      readonly recursive?: boolean
      readonly after?: string
      readonly limit?: number
    } = {},
  ): Promise<ListPage & { readonly commit: string }> {
    const { path = '', recursive = false, after, limit = 1_000 } = options
    if (path !== '') checkPath(path)
    checkLimit(limit, 10_000)
    const commit = await this.resolve(id, options.rev)
    const repository = await this.#store.repository(id)
    const tree = await this.#store.reader.info(repository, path === '' ? `${commit}^{tree}` : `${commit}:${path}`)
    if (tree?.type !== 'tree') throw new MeshError('E_NOT_FOUND', `Cannot list ${path}: there is no such folder`)
    return { commit, ...(await listTree(tree.oid, { path, recursive, after, limit }, this.#treeReader(id))) }
  }

  /** Newest first. @param options.after commit id that a page ended with @param options.limit default 50, at most 1,000 */
  async log(
    id: string,
    options: { readonly rev?: string; readonly path?: string; readonly after?: string; readonly limit?: number } = {},
  ): Promise<{ readonly commits: readonly CommitView[]; readonly next?: string }> {
    const { path, after, limit = 50 } = options
    if (path !== undefined) checkPath(path)
    checkLimit(limit, MAX_LOG)
    const { start, skip } =
      after === undefined ? { start: await this.resolve(id, options.rev), skip: 0 } : cursorOf(after)
    const repository = await this.#store.repository(id)
    const args = [
      '--literal-pathspecs',
      'rev-list',
      `--max-count=${limit + 1}`,
      `--skip=${skip}`,
      '--end-of-options',
      start,
      '--',
      ...(path === undefined ? [] : [path]),
    ]
    const oids = (await gitOutput({ args, repository, foreign: false })).toString('utf8').split('\n').filter(isObjectId)
    const commits = await Promise.all(
      oids.slice(0, limit).map((oid) => readCommit((each) => this.#store.reader.read(repository, each), oid)),
    )
    return oids.length > limit ? { commits, next: `${start}.${skip + limit}` } : { commits }
  }

  async diff(id: string, from: string, to: string, options: DiffOptions = {}): Promise<DiffView> {
    for (const path of options.paths ?? []) checkPath(path)
    if (options.limit !== undefined) checkLimit(options.limit, 10_000)
    const [old, now] = [await this.resolve(id, from), await this.resolve(id, to)]
    return diffTrees(await this.#store.repository(id), old, now, options)
  }

  /** @throws MeshError E_REF_CONFLICT, E_BAD_REQUEST, E_CONFLICT, E_NOT_FOUND, E_TOO_LARGE, E_QUOTA, E_STORAGE */
  async commit(id: string, input: CommitInput): Promise<CommitResult> {
    const files = [...input.files]
    if (files.length === 0) throw new MeshError('E_BAD_REQUEST', 'Cannot commit: no file is named')
    if (files.length > LIMITS.commitFiles)
      throw new MeshError('E_TOO_LARGE', `Cannot commit more than ${LIMITS.commitFiles} files at once`)
    for (const { path } of files) checkPath(path)
    const message = commitMessage(input.message)
    const ref = this.#branch(id, input.branch)
    return this.#turns.run(id, async () => {
      for (let tries = 1; ; tries++) {
        try {
          return await this.#commitOnce(id, ref, { ...input, files, message })
        } catch (error) {
          // A push took the branch on meanwhile, and any place of it will do
          const isRace =
            error instanceof MeshError && error.code === 'E_REF_CONFLICT' && input.expectedHead === undefined
          if (!isRace || tries === MAX_TRIES) throw error
        }
      }
    })
  }

  /** @param input its message in final form */
  async #commitOnce(id: string, ref: string, input: CommitInput): Promise<CommitResult> {
    const found = this.#store.refs(id).get(ref) ?? null
    const base = found ?? (input.from === undefined ? null : await this.resolve(id, input.from))
    // A branch that is still to begin may be expected where it begins
    const head = found === null && input.expectedHead === base ? null : this.#expected(id, ref, input.expectedHead)
    const old = base === null ? undefined : await this.#treeOf(id, base)
    const { oid, objects } = await changeTree(
      old === EMPTY_TREE.oid ? undefined : old,
      input.files,
      this.#treeReader(id),
    )
    const tree = oid ?? EMPTY_TREE.oid
    const isSame = base !== null && tree === old
    if (isSame && head !== null) return { commit: head, ref, sequence: this.#sequence(id), changed: false }
    const commit = this.#encode(tree, base === null ? [] : [base], input.message, input)
    const tip = isSame ? base : commit.oid
    const all = isSame ? [] : [...objects, commit, ...(oid === undefined ? [EMPTY_TREE] : [])]
    const { sequence } = await this.#store.transact(id, [{ ref, old: head, new: tip }], { by: input.by, objects: all })
    return { commit: tip, ref, sequence, changed: !isSame }
  }

  /** @throws MeshError E_NOT_FOUND, E_REF_CONFLICT, E_CONFLICT when the histories have nothing in common */
  async merge(id: string, input: MergeInput): Promise<MergeResult> {
    const ref = this.#branch(id, input.into)
    const message = commitMessage(input.message ?? `Merge ${input.from} into ${ref.slice('refs/heads/'.length)}`)
    return this.#turns.run(id, async () => {
      const theirs = await this.resolve(id, input.from)
      const ours = this.#expected(id, ref, input.expectedHead)
      const repository = await this.#store.repository(id)
      const reaches = await ancestors(
        repository,
        ours === null
          ? []
          : [
              [ours, theirs],
              [theirs, ours],
            ],
      )
      if (ours !== null && reaches(theirs, ours))
        return { merged: true, commit: ours, fastForward: true, sequence: this.#sequence(id) }
      if (ours === null || (reaches(ours, theirs) && input.noFastForward !== true)) {
        const { sequence } = await this.#store.transact(id, [{ ref, old: ours, new: theirs }], { by: input.by })
        return { merged: true, commit: theirs, fastForward: true, sequence }
      }
      const staging = await this.#store.stage(id)
      try {
        return await this.#mergeInto(id, { ref, ours, theirs, message, staging, repository, input })
      } finally {
        await staging.discard()
      }
    })
  }

  /** A new artifact of this node with what is reachable from the branches, tags and notes of another, and nothing else of it. */
  async fork(
    id: string,
    artifact: Omit<NewArtifact, 'forkOf' | 'by'> & { readonly by: Attribution },
  ): Promise<ArtifactView> {
    const source = this.#store.require(id)
    const refs = [...this.#store.refs(source.id)].filter(([ref]) => !ref.startsWith('refs/proposals/'))
    const settings = {
      visibility: source.settings.visibility,
      description: source.settings.description,
      defaultBranch: source.defaultBranch,
    }
    const made = await this.#store.create({ ...settings, ...artifact, forkOf: source.id })
    if (refs.length === 0) return made
    try {
      const staging = await this.#store.stage(made.id)
      try {
        await copyReachable(
          await this.#store.repository(source.id),
          staging,
          refs.map(([, oid]) => oid),
        )
        const moves = refs.map(([ref, oid]) => ({ ref, old: null, new: oid }))
        await this.#store.transact(made.id, moves, { by: { reason: `fork of ${source.id}`, ...artifact.by }, staging })
      } finally {
        await staging.discard()
      }
      return this.#store.require(made.id)
    } catch (error) {
      await this.#store.remove(made.id, artifact.by)
      throw error
    }
  }

  async #mergeInto(
    id: string,
    facts: {
      readonly ref: string
      readonly ours: string
      readonly theirs: string
      readonly message: string
      readonly staging: Staging
      readonly repository: string
      readonly input: MergeInput
    },
  ): Promise<MergeResult> {
    const { ref, ours, theirs, message, staging, repository, input } = facts
    const merged = await mergeTrees(staging, repository, ours, theirs)
    if (!merged.clean) return { merged: false, conflicts: merged.conflicts }
    const commit = this.#encode(merged.tree, [ours, theirs], message, input)
    const moves = [{ ref, old: ours, new: commit.oid }]
    const { sequence } = await this.#store.transact(id, moves, { by: input.by, staging, objects: [commit] })
    return { merged: true, commit: commit.oid, fastForward: false, sequence }
  }

  #encode(
    tree: string,
    parents: readonly string[],
    message: string,
    { author, by }: Pick<CommitInput, 'author' | 'by'>,
  ): GitObject {
    const who = person(author ?? { name: by.agent ?? 'manyhands' }, this.#now())
    return encodeCommit({ tree, parents, author: who, committer: who, message })
  }

  /** Full name of a branch. @throws MeshError E_BAD_REQUEST */
  #branch(id: string, name: string | undefined): string {
    const ref = `refs/heads/${name ?? this.#store.require(id).defaultBranch}`
    if (isRefName(ref)) return ref
    throw new MeshError('E_BAD_REQUEST', 'Cannot use that branch: its name is none a branch can have')
  }

  /** Where the branch is, if the caller agrees. @throws MeshError E_REF_CONFLICT */
  #expected(id: string, ref: string, expected: string | null | undefined): string | null {
    const found = this.#store.refs(id).get(ref) ?? null
    if (expected === undefined || expected === found) return found
    throw new MeshError(
      'E_REF_CONFLICT',
      `Cannot move ${ref}: it is at ${found ?? 'nothing'}, expected ${expected ?? 'nothing'}`,
      {
        hint: 'Read it again and build on what is there.',
        details: { ref, found, expected },
      },
    )
  }

  #sequence(id: string): number {
    return this.#store.heads(id).get(this.#store.writer)?.sequence ?? 0
  }

  async #treeOf(id: string, commit: string): Promise<string> {
    const { tree } = await readCommit((oid) => this.#store.object(id, oid), commit)
    return tree
  }

  #treeReader(id: string): (oid: string) => Promise<Uint8Array> {
    return async (oid) => {
      const found = await this.#store.object(id, oid, MAX_READ)
      if (found?.type === 'tree') return found.content
      throw new MeshError('E_STORAGE', 'Cannot read a folder of an artifact: it is missing', {
        hint: 'Fetch the artifact again from another holder.',
      })
    }
  }
}

/** Refs a short name may mean, the likeliest first. */
function namesOf(name: string): string[] {
  const full = name.startsWith('refs/') ? [name] : [`refs/heads/${name}`, `refs/tags/${name}`]
  return full.filter(isRefName)
}

function checkPath(path: string): void {
  const fault = filePathFault(path)
  if (fault !== undefined)
    throw new MeshError('E_BAD_REQUEST', `Cannot use a path: ${fault}`, { details: { path: path.slice(0, 200) } })
}

function checkLimit(limit: number, most: number): void {
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= most) return
  throw new MeshError('E_BAD_REQUEST', `Cannot list: the limit must be a whole number from 1 to ${most}`)
}

/** "<commit>.<how many were shown>": history below a commit never changes. @throws MeshError E_BAD_REQUEST */
function cursorOf(after: string): { start: string; skip: number } {
  const [start, skip = ''] = after.split('.')
  if (isObjectId(start) && /^\d{1,9}$/.test(skip)) return { start, skip: Number(skip) }
  throw new MeshError('E_BAD_REQUEST', 'Cannot go on with a log: `after` is not what a page ended with')
}

/**
 * Whether a folder has a program under that name. The object is known to be there, so finding name and id together is enough; reading all entries of
 * a large folder for it is not.
 */
function isExecutable(tree: Uint8Array, name: string, oid: string): boolean {
  const bytes = Buffer.from(tree.buffer, tree.byteOffset, tree.byteLength)
  const at = bytes.indexOf(Buffer.concat([Buffer.from(` ${name}\0`), Buffer.from(oid, 'hex')]))
  return at >= 6 && modeOf(bytes.toString('latin1', at - 6, at)) === '100755'
}

/** One pack of everything the commits reach, written by Git straight into the quarantine: no object is shared between two artifacts. */
async function copyReachable(repository: string, staging: Staging, tips: readonly string[]): Promise<void> {
  const args = ['pack-objects', '-q', '--revs', '--delta-base-offset', `${staging.objects}/pack/pack`]
  await gitOutput(
    { args, repository, foreign: false, limits: { wallMs: 600_000 } },
    `${[...new Set(tips)].join('\n')}\n`,
  )
}
