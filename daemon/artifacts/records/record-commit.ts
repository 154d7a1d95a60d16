/** A record as a commit: it follows from the envelope and the writer's record before, so that everyone makes the same. See protocol/artifact/record.ts. */
import { EMPTY_TREE, encodeCommit, type GitObject, type Person } from '../store/git-object.ts'

const RECORDER: Person = { name: 'manyhands', email: 'records@manyhands.invalid', at: 0 }

/** @param text the envelope, as sealed @param parent commit of the writer's record before; null for its first */
export function recordCommit(text: string, parent: string | null): GitObject {
  return encodeCommit({
    tree: EMPTY_TREE.oid,
    parents: parent === null ? [] : [parent],
    author: RECORDER,
    committer: RECORDER,
    message: `${text}\n`,
  })
}

export interface RecordLink {
  /** The envelope, not looked into yet */
  readonly text: string
  readonly parent: string | null
}

/** @returns undefined when the commit does not have the form of a record */
export function readRecordCommit(content: Uint8Array): RecordLink | undefined {
  const lines = Buffer.from(content).toString('utf8')
  const match = /^tree [0-9a-f]{40}\n(?:parent ([0-9a-f]{40})\n)?author .*\ncommitter .*\n\n([^\n]*)\n$/.exec(lines)
  const text = match?.[2]
  if (text === undefined) return undefined
  const parent = match?.[1] ?? null
  return Buffer.from(recordCommit(text, parent).content).equals(Buffer.from(content)) ? { text, parent } : undefined
}
