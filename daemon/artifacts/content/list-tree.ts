/** Pages of a folder's entries, in Git's order: by bytes of the path, a folder's with a final "/". */
import { decodeTree, type ReadTree, shownName, type TreeMode } from '../store/git-object.ts'

export interface ListedEntry {
  readonly path: string
  readonly type: 'file' | 'folder' | 'link' | 'module'
  readonly oid: string
  readonly executable: boolean
}

export interface ListPage {
  readonly entries: readonly ListedEntry[]
  /** Pass as `after`; absent at the end */
  readonly next?: string
}

export interface ListOptions {
  /** Path of the folder; "" for all */
  readonly path: string
  /** All files below, instead of what stands in the folder */
  readonly recursive: boolean
  readonly after?: string | undefined
  readonly limit: number
}

const TYPES: Readonly<Record<TreeMode, ListedEntry['type']>> = {
  '40000': 'folder',
  '100644': 'file',
  '100755': 'file',
  '120000': 'link',
  '160000': 'module',
}

export async function listTree(tree: string, options: ListOptions, read: ReadTree): Promise<ListPage> {
  const entries: ListedEntry[] = []
  for await (const entry of walk(tree, options.path === '' ? '' : `${options.path}/`, options, read)) {
    const last = entries.at(-1)
    if (entries.length === options.limit && last !== undefined) return { entries, next: keyOf(last) }
    entries.push(entry)
  }
  return { entries }
}

async function* walk(tree: string, at: string, options: ListOptions, read: ReadTree): AsyncGenerator<ListedEntry> {
  for (const { mode, name, oid } of decodeTree(await read(tree))) {
    const entry: ListedEntry = {
      path: `${at}${shownName(name)}`,
      type: TYPES[mode],
      oid,
      executable: mode === '100755',
    }
    const { after } = options
    const isPast = after !== undefined && compare(keyOf(entry), after) <= 0
    if (entry.type === 'folder' && options.recursive) {
      // what is to come may stand in a folder that sorts before it
      if (!isPast || after.startsWith(keyOf(entry))) yield* walk(oid, keyOf(entry), options, read)
    } else if (!isPast) yield entry
  }
}

function keyOf({ path, type }: ListedEntry): string {
  return type === 'folder' ? `${path}/` : path
}

function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
