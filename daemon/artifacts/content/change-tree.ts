/** Makes new trees of an old one and some changed paths; only folders on the way to a change are read and written. */
import { MeshError } from '../../../protocol/errors.ts'
import {
  decodeTree,
  encodeTree,
  type GitObject,
  gitObject,
  rawName,
  type ReadTree,
  shownName,
  type TreeEntry,
  type TreeMode,
} from '../store/git-object.ts'

export interface FileChange {
  /** Checked before: see protocol/artifact/file-path.ts */
  readonly path: string
  /** Null: the file, or the folder with all in it, is removed */
  readonly content: Uint8Array | null
  /** @default as it is; false for a new file */
  readonly executable?: boolean
}

/** By the names of entries. */
interface Folder {
  readonly changes: Map<string, FileChange>
  readonly folders: Map<string, Folder>
}

export interface ChangedTree {
  /** Undefined: nothing is left in it */
  readonly oid: string | undefined
  /** New objects; some may exist already */
  readonly objects: readonly GitObject[]
}

/**
 * @param root undefined: there is none yet
 * @throws MeshError E_BAD_REQUEST a path is changed twice or both file and folder, E_CONFLICT a folder is in the way, E_NOT_FOUND of what is to be removed
 */
export async function changeTree(
  root: string | undefined,
  changes: Iterable<FileChange>,
  read: ReadTree,
): Promise<ChangedTree> {
  const objects: GitObject[] = []
  const oid = await apply(root, planned(changes), { read, objects, at: '' })
  return { oid, objects }
}

function planned(changes: Iterable<FileChange>): Folder {
  const root: Folder = { changes: new Map(), folders: new Map() }
  for (const change of changes) {
    const parts = change.path.split('/').map(rawName)
    const name = parts.pop() ?? ''
    let folder = root
    for (const part of parts) {
      const below: Folder = folder.folders.get(part) ?? { changes: new Map(), folders: new Map() }
      folder.folders.set(part, below)
      folder = below
    }
    if (folder.changes.has(name)) throw bad(change.path, 'it is changed twice')
    folder.changes.set(name, change)
  }
  assertDistinct(root)
  return root
}

function assertDistinct(folder: Folder): void {
  for (const [name, change] of folder.changes) {
    if (folder.folders.has(name)) throw bad(change.path, 'it is to be a file and a folder')
  }
  for (const below of folder.folders.values()) assertDistinct(below)
}

interface Work {
  readonly read: ReadTree
  readonly objects: GitObject[]
  /** Path of the folder, with a final "/" unless it is the root */
  readonly at: string
}

async function apply(tree: string | undefined, folder: Folder, work: Work): Promise<string | undefined> {
  const entries = new Map<string, TreeEntry>()
  if (tree !== undefined) for (const entry of decodeTree(await work.read(tree))) entries.set(entry.name, entry)
  for (const [name, change] of folder.changes) changeEntry(entries, name, change, work.objects)
  for (const [name, below] of folder.folders) {
    const found = entries.get(name)
    if (found !== undefined && found.mode !== '40000') {
      throw new MeshError('E_CONFLICT', `Cannot change files below ${work.at}${shownName(name)}: that is a file`)
    }
    const oid = await apply(found?.oid, below, { ...work, at: `${work.at}${shownName(name)}/` })
    if (oid === undefined) entries.delete(name)
    else entries.set(name, { mode: '40000', name, oid })
  }
  if (entries.size === 0) return undefined
  const made = encodeTree(entries.values())
  work.objects.push(made)
  return made.oid
}

function changeEntry(entries: Map<string, TreeEntry>, name: string, change: FileChange, objects: GitObject[]): void {
  const found = entries.get(name)
  if (change.content === null) {
    if (!entries.delete(name)) throw new MeshError('E_NOT_FOUND', `Cannot remove ${change.path}: it does not exist`)
    return
  }
  if (found?.mode === '40000') throw new MeshError('E_CONFLICT', `Cannot write ${change.path}: it is a folder`)
  const blob = gitObject('blob', change.content)
  objects.push(blob)
  entries.set(name, { mode: fileMode(found?.mode, change.executable), name, oid: blob.oid })
}

/** A link that is written to becomes a file. */
function fileMode(old: TreeMode | undefined, executable: boolean | undefined): TreeMode {
  return (executable ?? old === '100755') ? '100755' : '100644'
}

function bad(path: string, why: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot change ${path}: ${why}`, { details: { path } })
}
