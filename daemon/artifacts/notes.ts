/**
 * Notes on commits (git-notes): at refs/notes/<kind> a tree whose entries are named by the commit they are about, with the note as content. Git spreads many of
 * them over folders ("ab/cdef…"); all spellings are read, and a note that exists keeps its own.
 */
import type { CommitResult } from '../../protocol/api.ts'
import type { Attribution } from '../../protocol/artifact/record.ts'
import { isRefName } from '../../protocol/artifact/ref-name.ts'
import { MeshError } from '../../protocol/errors.ts'
import { changeTree, leafAt } from './audit/tree-changes.ts'
import { EMPTY_TREE, encodeCommit, gitObject, type ReadTree } from './store/git-object.ts'
import type { OpenStore } from './store/journal-store.ts'

export interface NewNote {
  readonly artifact: string
  /** refs/notes/<kind> */
  readonly kind: string
  readonly commit: string
  readonly text: string
}

const MAX_NOTE = 1 << 20
const ATTEMPTS = 5

/** @returns undefined when the commit has none */
export async function readNote(
  store: OpenStore,
  artifact: string,
  kind: string,
  commit: string,
): Promise<string | undefined> {
  const tip = store.refs(artifact).get(refOf(kind))
  if (tip === undefined) return undefined
  const repository = await store.repository(artifact)
  for (const path of spellings(commit)) {
    const found = await store.reader.read(repository, `${tip}:${path}`, MAX_NOTE)
    if (found?.type === 'blob') return Buffer.from(found.content).toString('utf8')
  }
  return undefined
}

/** Sets the note of a commit. @throws MeshError E_REF_CONFLICT when others keep being faster, E_BAD_REQUEST, E_QUOTA */
export async function addNote(store: OpenStore, note: NewNote, by: Attribution): Promise<CommitResult> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryNote(store, note, by)
    } catch (error) {
      const raced = error instanceof MeshError && error.code === 'E_REF_CONFLICT'
      if (!raced || attempt === ATTEMPTS) throw error
    }
  }
}

async function tryNote(store: OpenStore, note: NewNote, by: Attribution): Promise<CommitResult> {
  const { artifact, kind, commit, text } = note
  const ref = refOf(kind)
  const old = store.refs(artifact).get(ref) ?? null
  const repository = await store.repository(artifact)
  const read: ReadTree = async (oid) => {
    const found = await store.reader.read(repository, oid)
    if (found?.type === 'tree') return found.content
    throw new MeshError('E_STORAGE', 'Cannot read the notes of an artifact: a folder of them is missing')
  }
  const root = old === null ? EMPTY_TREE.oid : (await store.reader.read(repository, `${old}^{tree}`))?.oid
  if (root === undefined) throw new MeshError('E_CONFLICT', `Cannot note: ${ref} is no commit`)
  const [flat = commit, ...spread] = spellings(commit)
  let path = flat
  for (const other of spread) if ((await leafAt(read, root, other)) !== undefined) path = other
  const blob = gitObject('blob', Buffer.from(text.endsWith('\n') ? text : `${text}\n`))
  const { tree, objects } = await changeTree(read, root, new Map([[path, { mode: '100644', oid: blob.oid }]]))
  const person = { name: 'manyhands', email: 'notes@manyhands.invalid', at: Math.floor(Date.now() / 1000) }
  const made = encodeCommit({
    tree,
    parents: old === null ? [] : [old],
    author: person,
    committer: person,
    message: `Note on ${commit}\n`,
  })
  const { sequence } = await store.transact(artifact, [{ ref, old, new: made.oid }], {
    by,
    objects: [blob, ...objects, made],
  })
  return { commit: made.oid, ref, sequence }
}

function refOf(kind: string): string {
  const ref = `refs/notes/${kind}`
  if (isRefName(ref)) return ref
  throw new MeshError('E_BAD_REQUEST', 'Cannot use that kind of notes: its name is none a ref can have')
}

function spellings(commit: string): string[] {
  const [a, b] = [commit.slice(0, 2), commit.slice(2, 4)]
  return [commit, `${a}/${commit.slice(2)}`, `${a}/${b}/${commit.slice(4)}`]
}
