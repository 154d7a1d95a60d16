/** Trees compared and changed by path, by reading only the folders in which something differs. A path is "a/b/c" of the names of entries, which are bytes. */
import { MeshError } from '../../../protocol/errors.ts'
import {
  decodeTree,
  EMPTY_TREE,
  encodeTree,
  type GitObject,
  type ReadTree,
  type TreeEntry,
  type TreeMode,
} from '../store/git-object.ts'

/** What stands at a path: a file, link or module, never a folder. */
export interface Leaf {
  readonly mode: TreeMode
  readonly oid: string
}

export interface PathChange {
  readonly path: string
  readonly old: Leaf | undefined
  readonly new: Leaf | undefined
}

/** Paths that may differ between two trees; more is refused rather than held. */
const MAX_CHANGES = 100_000
/** Entries of folders that are looked at for it: a few objects can stand for more folders than anyone can look at, and hold no path at all. */
const MAX_ENTRIES = 500_000
const FOLDER: TreeMode = '40000'

/** Every path at which the two differ. @param from null: nothing was there. @throws MeshError E_TOO_LARGE */
export async function diffTrees(read: ReadTree, from: string | null, to: string | null): Promise<PathChange[]> {
  const found: Found = { changes: [], entries: 0 }
  await compare(read, from, to, '', found)
  return found.changes
}

interface Found {
  readonly changes: PathChange[]
  /** Looked at so far */
  entries: number
}

async function compare(
  read: ReadTree,
  from: string | null,
  to: string | null,
  prefix: string,
  found: Found,
): Promise<void> {
  if (from === to) return
  const before = await entriesOf(read, from)
  const after = await entriesOf(read, to)
  found.entries += before.size + after.size
  if (found.entries > MAX_ENTRIES) throw new MeshError('E_TOO_LARGE', 'Cannot compare: too many folders differ')
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const [old, now] = [before.get(name), after.get(name)]
    if (old?.oid === now?.oid && old?.mode === now?.mode) continue
    const path = `${prefix}${name}`
    const [oldFolder, newFolder] = [folderOf(old), folderOf(now)]
    if (oldFolder !== null || newFolder !== null) await compare(read, oldFolder, newFolder, `${path}/`, found)
    const [oldLeaf, newLeaf] = [leafOf(old), leafOf(now)]
    if (oldLeaf !== undefined || newLeaf !== undefined) found.changes.push({ path, old: oldLeaf, new: newLeaf })
    if (found.changes.length > MAX_CHANGES)
      throw new MeshError('E_TOO_LARGE', `Cannot compare: more than ${MAX_CHANGES} paths differ`)
  }
}

/** What stands at a path; undefined when nothing or a folder does. */
export async function leafAt(read: ReadTree, root: string, path: string): Promise<Leaf | undefined> {
  const parts = path.split('/')
  let tree: string | null = root
  for (const [index, name] of parts.entries()) {
    const entry: TreeEntry | undefined = (await entriesOf(read, tree)).get(name)
    if (index === parts.length - 1) return leafOf(entry)
    tree = folderOf(entry)
    if (tree === null) return undefined
  }
  return undefined
}

/**
 * The tree with other things at some paths, and the objects that are new for it. Folders that become empty go.
 * @param changes undefined: nothing shall stand there
 */
export async function changeTree(
  read: ReadTree,
  root: string,
  changes: ReadonlyMap<string, Leaf | undefined>,
): Promise<{ readonly tree: string; readonly objects: readonly GitObject[] }> {
  const objects: GitObject[] = []
  const tree = (await changeFolder(read, root, changes, objects)) ?? EMPTY_TREE.oid
  if (tree === EMPTY_TREE.oid) objects.push(EMPTY_TREE)
  return { tree, objects }
}

async function changeFolder(
  read: ReadTree,
  tree: string | null,
  changes: ReadonlyMap<string, Leaf | undefined>,
  objects: GitObject[],
): Promise<string | null> {
  const entries = await entriesOf(read, tree)
  const inner = new Map<string, Map<string, Leaf | undefined>>()
  for (const [path, leaf] of changes) {
    const slash = path.indexOf('/')
    if (slash < 0) {
      if (leaf === undefined) {
        if (folderOf(entries.get(path)) === null) entries.delete(path)
      } else entries.set(path, { name: path, ...leaf })
      continue
    }
    const name = path.slice(0, slash)
    inner.set(name, (inner.get(name) ?? new Map<string, Leaf | undefined>()).set(path.slice(slash + 1), leaf))
  }
  for (const [name, within] of inner) {
    const made = await changeFolder(read, folderOf(entries.get(name)), within, objects)
    if (made !== null) entries.set(name, { mode: FOLDER, name, oid: made })
    else if (folderOf(entries.get(name)) !== null) entries.delete(name)
  }
  if (entries.size === 0) return null
  const encoded = encodeTree(entries.values())
  if (encoded.oid !== tree) objects.push(encoded)
  return encoded.oid
}

async function entriesOf(read: ReadTree, tree: string | null): Promise<Map<string, TreeEntry>> {
  if (tree === null || tree === EMPTY_TREE.oid) return new Map()
  return new Map(decodeTree(await read(tree)).map((entry) => [entry.name, entry]))
}

function folderOf(entry: TreeEntry | undefined): string | null {
  return entry?.mode === FOLDER ? entry.oid : null
}

function leafOf(entry: TreeEntry | undefined): Leaf | undefined {
  return entry === undefined || entry.mode === FOLDER ? undefined : { mode: entry.mode, oid: entry.oid }
}
