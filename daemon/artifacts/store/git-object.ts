/**
 * Git's objects as bytes (gitformat-loose, git-mktree): an object id is sha1("<type> <length>\0" + content).
 * A tree is a row of "<mode> <name>\0<20 bytes of id>", sorted by name as if a folder's name ended in "/".
 */
import { createHash } from 'node:crypto'
import { MeshError } from '../../../protocol/errors.ts'

export type ObjectType = 'blob' | 'tree' | 'commit' | 'tag'

export function isObjectType(word: unknown): word is ObjectType {
  return word === 'blob' || word === 'tree' || word === 'commit' || word === 'tag'
}

export interface GitObject {
  readonly oid: string
  readonly type: ObjectType
  readonly content: Uint8Array
}

export function gitObject(type: ObjectType, content: Uint8Array): GitObject {
  const oid = createHash('sha1').update(`${type} ${content.length}\0`).update(content).digest('hex')
  return { oid, type, content }
}

/** 40000 folder, 100644 file, 100755 program, 120000 symbolic link, 160000 commit of a submodule. */
export type TreeMode = '40000' | '100644' | '100755' | '120000' | '160000'

export interface TreeEntry {
  readonly mode: TreeMode
  /** Its bytes, one character each: what was stored goes through unchanged, also where it is no UTF-8. See `rawName` and `shownName` */
  readonly name: string
  readonly oid: string
}

/** Gives the content of a tree that is there. */
export type ReadTree = (oid: string) => Promise<Uint8Array>

export const EMPTY_TREE = gitObject('tree', new Uint8Array(0))

export function encodeTree(entries: Iterable<TreeEntry>): GitObject {
  const rows = [...entries].map((entry) => ({
    entry,
    order: Buffer.from(entry.mode === '40000' ? `${entry.name}/` : entry.name, 'latin1'),
  }))
  rows.sort((a, b) => Buffer.compare(a.order, b.order))
  const parts = rows.flatMap(({ entry }) => [
    Buffer.from(`${entry.mode} ${entry.name}\0`, 'latin1'),
    Buffer.from(entry.oid, 'hex'),
  ])
  return gitObject('tree', Buffer.concat(parts))
}

/** @throws MeshError E_STORAGE for what is no tree: it was accepted as one before */
export function decodeTree(content: Uint8Array): TreeEntry[] {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength)
  const entries: TreeEntry[] = []
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    const end = bytes.indexOf(0, space)
    const mode = modeOf(bytes.toString('latin1', at, Math.max(at, space)))
    if (mode === undefined || end < 0 || end + 21 > bytes.length)
      throw new MeshError('E_STORAGE', 'Cannot read a folder of an artifact: it is damaged')
    entries.push({
      mode,
      name: bytes.toString('latin1', space + 1, end),
      oid: bytes.toString('hex', end + 1, end + 21),
    })
    at = end + 21
  }
  return entries
}

/** The name of an entry for a text. */
export function rawName(text: string): string {
  return Buffer.from(text).toString('latin1')
}

/** The text of an entry's name; what is no UTF-8 in it shows as U+FFFD. */
export function shownName(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8')
}

/** Undefined for what no Git writes today. */
export function modeOf(text: string): TreeMode | undefined {
  // old versions wrote group-writable files
  if (text === '100664') return '100644'
  return text === '40000' || text === '100644' || text === '100755' || text === '120000' || text === '160000'
    ? text
    : undefined
}

export interface Person {
  readonly name: string
  readonly email: string
  /** Seconds since 1970 */
  readonly at: number
}

export interface CommitFacts {
  readonly tree: string
  readonly parents: readonly string[]
  readonly author: Person
  readonly committer: Person
  /** With its final line feed */
  readonly message: string
}

/** Names and mail addresses must be free of <, >, NUL and line breaks: whoever takes them from outside checks that. */
export function encodeCommit({ tree, parents, author, committer, message }: CommitFacts): GitObject {
  const lines = [`tree ${tree}`, ...parents.map((parent) => `parent ${parent}`)]
  lines.push(`author ${personText(author)}`, `committer ${personText(committer)}`, '', message)
  return gitObject('commit', Buffer.from(lines.join('\n')))
}

function personText({ name, email, at }: Person): string {
  return `${name} <${email}> ${at} +0000`
}
