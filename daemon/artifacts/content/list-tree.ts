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
  const walk = new Walk(options, read)
  for await (const entry of walk.entries(tree, options.path === '' ? '' : `${options.path}/`)) {
    const last = entries.at(-1)
    if (entries.length === options.limit && last !== undefined) return { entries, next: keyOf(last) }
    entries.push(entry)
  }
  return { entries }
}

class Walk {
  readonly #options: ListOptions
  readonly #read: ReadTree
  /** Folders with nothing but folders in them, however deep: a few objects can stand for more of them than anyone can look at */
  readonly #hollow = new Set<string>()

  constructor(options: ListOptions, read: ReadTree) {
    this.#options = options
    this.#read = read
  }

  async *entries(tree: string, at: string): AsyncGenerator<ListedEntry> {
    const { after, recursive } = this.#options
    let isHollow = recursive
    for (const { mode, name, oid } of decodeTree(await this.#read(tree))) {
      const entry: ListedEntry = {
        path: `${at}${shownName(name)}`,
        type: TYPES[mode],
        oid,
        executable: mode === '100755',
      }
      const isPast = after !== undefined && compare(keyOf(entry), after) <= 0
      if (entry.type === 'folder' && recursive) {
        if (this.#hollow.has(oid)) continue
        // what is to come may stand in a folder that sorts before it
        if (!isPast || after.startsWith(keyOf(entry))) yield* this.entries(oid, keyOf(entry))
        isHollow &&= this.#hollow.has(oid)
      } else {
        isHollow = false
        if (!isPast) yield entry
      }
    }
    if (isHollow) this.#hollow.add(tree)
  }
}

function keyOf({ path, type }: ListedEntry): string {
  return type === 'folder' ? `${path}/` : path
}

function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
