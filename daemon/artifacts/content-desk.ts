/** Content of artifacts in the API's form: text or base64, times as ISO, pages. */
import type {
  CommitRequest,
  CommitResult,
  DiffView,
  FileView,
  LogPage,
  MergeRequest,
  MergeResult,
  NoteRequest,
  NoteView,
  TreePage,
} from '../../protocol/api.ts'
import type { Attribution } from '../../protocol/artifact/record.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { Content, FileChange } from './content/content.ts'
import { addNote, readNote } from './notes.ts'
import type { ArtifactView, NewArtifact } from './store/artifact-store.ts'
import type { OpenStore } from './store/journal-store.ts'

const PAGE = 50
/** Of an answer: base64 makes a third more of it. */
const MAX_FILE = 16 << 20

export class ContentDesk {
  readonly #store: OpenStore
  readonly #content: Content

  constructor(store: OpenStore, content: Content) {
    this.#store = store
    this.#content = content
  }

  async commit({ id }: ArtifactView, request: CommitRequest, by: Attribution): Promise<CommitResult> {
    const { branch, from, message, author, expectedHead } = request
    const { commit, ref, sequence } = await this.#content.commit(id, {
      files: request.files.map(fileChange),
      message,
      ...(branch === undefined ? {} : { branch }),
      ...(from === undefined ? {} : { from }),
      ...(expectedHead === undefined ? {} : { expectedHead }),
      author: author ?? { name: by.agent ?? by.subject ?? 'manyhands' },
      by: attribution(by),
    })
    return { commit, ref, sequence }
  }

  async log(
    { id }: ArtifactView,
    query: { readonly rev?: string; readonly limit?: number; readonly after?: string },
  ): Promise<LogPage> {
    const { commits, next } = await this.#content.log(id, { limit: PAGE, ...query })
    const shown = commits.map(({ oid, parents, message, author }) => ({
      oid,
      parents,
      message,
      author: { name: author.name, email: author.email, at: timeOf(author.at) },
    }))
    return next === undefined ? { commits: shown } : { commits: shown, next }
  }

  async file({ id }: ArtifactView, query: { readonly path: string; readonly rev?: string }): Promise<FileView> {
    const { rev } = query
    const found = await this.#content.read(id, query.path, {
      maxBytes: MAX_FILE,
      ...(rev === undefined ? {} : { rev }),
    })
    const { path, commit, oid, executable, content } = found
    return { path, commit, oid, size: content.length, executable, ...textOrBase64(content) }
  }

  async tree(
    { id }: ArtifactView,
    query: {
      readonly rev?: string
      readonly path?: string
      readonly recursive?: 'true' | 'false'
      readonly limit?: number
      readonly after?: string
    },
  ): Promise<TreePage> {
    const { recursive, ...rest } = query
    return this.#content.list(id, { limit: PAGE, ...rest, recursive: recursive === 'true' })
  }

  diff(
    { id, defaultBranch }: ArtifactView,
    query: { readonly from: string; readonly to?: string; readonly path?: string },
  ): Promise<DiffView> {
    const { from, to = defaultBranch, path } = query
    return this.#content.diff(id, from, to, path === undefined ? {} : { paths: [path] })
  }

  merge({ id }: ArtifactView, request: Omit<MergeRequest, 'by'>, by: Attribution): Promise<MergeResult> {
    const { from, into, message, noFastForward, expectedHead } = request
    return this.#content.merge(id, {
      from,
      ...(into === undefined ? {} : { into }),
      ...(message === undefined ? {} : { message }),
      ...(noFastForward === undefined ? {} : { noFastForward }),
      ...(expectedHead === undefined ? {} : { expectedHead }),
      author: { name: by.agent ?? by.subject ?? 'manyhands' },
      by: attribution(by),
    })
  }

  fork(id: string, made: NewArtifact & { readonly by: Attribution }): Promise<ArtifactView> {
    const { forkOf: _, ...rest } = made
    return this.#content.fork(id, rest)
  }

  async titleOf({ id }: ArtifactView, commit: string): Promise<string> {
    const { commits } = await this.#content.log(id, { rev: commit, limit: 1 })
    return commits[0]?.message.split('\n')[0] ?? ''
  }

  async note({ id }: ArtifactView, query: { readonly rev?: string; readonly kind?: string }): Promise<NoteView> {
    const kind = query.kind ?? 'commits'
    const commit = await this.#content.resolve(id, query.rev)
    const text = await readNote(this.#store, id, kind, commit)
    if (text === undefined)
      throw new MeshError('E_NOT_FOUND', `Cannot read the note: ${commit.slice(0, 10)} has none of kind "${kind}"`)
    return { commit, kind, text }
  }

  async addNote({ id }: ArtifactView, request: NoteRequest, by: Attribution): Promise<CommitResult> {
    const commit = await this.#content.resolve(id, request.rev)
    return addNote(this.#store, { artifact: id, kind: request.kind ?? 'commits', commit, text: request.text }, by)
  }
}

function fileChange(file: CommitRequest['files'][number]): FileChange {
  const { path, text, base64, executable } = file
  const content = text !== undefined ? Buffer.from(text) : base64 !== undefined ? Buffer.from(base64, 'base64') : null
  return { path, content, ...(executable === undefined ? {} : { executable }) }
}

/** Text when it is UTF-8 and without NUL, as Git tells text from binary. */
function textOrBase64(content: Uint8Array): { readonly text: string } | { readonly base64: string } {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength)
  if (!bytes.includes(0)) {
    try {
      return { text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) }
    } catch {
      // Not UTF-8
    }
  }
  return { base64: bytes.toString('base64') }
}

/** Fields that are set; a reason is cut to what a record holds. */
function attribution({ reason, ...rest }: Attribution): Attribution {
  const set = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
  return reason === undefined ? set : { ...set, reason: reason.slice(0, 500) }
}

function timeOf(ms: number): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString()
}
