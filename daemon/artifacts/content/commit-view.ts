/** Commits as people see them, and the people in them. */
import git from 'isomorphic-git'
import { MeshError } from '../../../protocol/errors.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import { type GitObject, type Person } from '../store/git-object.ts'
import { GIT_DIR, objectFs } from './object-fs.ts'

export interface CommitView {
  readonly oid: string
  readonly tree: string
  readonly parents: readonly string[]
  readonly message: string
  /** `at`: milliseconds since 1970, as the author's clock said */
  readonly author: { readonly name: string; readonly email: string; readonly at: number }
  readonly committer: { readonly name: string; readonly email: string; readonly at: number }
}

/** @param read from the artifact's repository @throws MeshError E_NOT_FOUND when it is no commit that is held here */
export async function readCommit(
  read: (oid: string) => Promise<GitObject | undefined>,
  oid: string,
): Promise<CommitView> {
  const found = await git.readCommit({ fs: objectFs(read), gitdir: GIT_DIR, oid }).catch((error: unknown) => {
    throw new MeshError('E_NOT_FOUND', `Cannot read ${oid}: no such commit is held here`, { cause: error })
  })
  const { commit } = found
  const who = ({ name, email, timestamp }: typeof commit.author) => ({ name, email, at: timestamp * 1000 })
  const { tree, parent: parents, message } = commit
  return { oid: found.oid, tree, parents, message, author: who(commit.author), committer: who(commit.committer) }
}

export interface Author {
  readonly name: string
  readonly email?: string
}

const NAME_CHARS = 200
const UNFIT = /[\p{Cc}<>]/u

/** @throws MeshError E_BAD_REQUEST for what would break out of a commit's header */
export function person(author: Author, atMs: number): Person {
  const { name, email = 'nobody@manyhands.invalid' } = author
  const isFit = [name, email].every((text) => text.length <= NAME_CHARS && text.isWellFormed() && !UNFIT.test(text))
  if (!isFit || name.trim() === '') {
    throw new MeshError(
      'E_BAD_REQUEST',
      'Cannot name an author: name and e-mail are up to 200 characters without <, > and control characters',
    )
  }
  return { name: name.trim(), email: email.trim(), at: Math.floor(atMs / 1000) }
}

/** With one final line feed. @throws MeshError E_BAD_REQUEST */
export function commitMessage(text: string): string {
  if (
    text.trim() === '' ||
    text.includes('\0') ||
    !text.isWellFormed() ||
    Buffer.byteLength(text) > LIMITS.messageBytes
  ) {
    throw new MeshError(
      'E_BAD_REQUEST',
      `Cannot commit: the message must be text of 1 to ${LIMITS.messageBytes} bytes without NUL`,
    )
  }
  return `${text.trimEnd()}\n`
}
