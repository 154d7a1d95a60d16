/** A store for tests: memory journal or a real one, a folder of its own, fixed keys; and small commits to fill it with. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Signer, signerFromSeed } from '../../../protocol/signing/signing.ts'
import type { Journal } from '../../journal/journal.ts'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { encodeCommit, encodeTree, type GitObject, gitObject } from '../store/git-object.ts'
import { ARTIFACT_RECORDS, type OpenStore, openArtifactStore, type StoreOptions } from '../store/journal-store.ts'

export const testSigner = (number: number): Signer => signerFromSeed(new Uint8Array(32).fill(number))

export interface StoreFixture {
  readonly root: string
  readonly journal: Journal
  readonly store: OpenStore
  /** Closes the store and opens another on the same journal and folder */
  reopen(): Promise<OpenStore>
  close(): Promise<void>
}

export async function storeFixture(options: Partial<StoreOptions> = {}): Promise<StoreFixture> {
  const root = options.root ?? mkdtempSync(join(tmpdir(), 'manyhands-artifacts-'))
  const journal = options.journal ?? new MemoryJournal({ types: ARTIFACT_RECORDS })
  const all: StoreOptions = { signer: testSigner(1), ...options, root, journal }
  let store = await openArtifactStore(all)
  return {
    root,
    journal,
    get store() {
      return store
    },
    async reopen() {
      await store.close()
      store = await openArtifactStore(all)
      return store
    },
    async close() {
      await store.close()
      rmSync(root, { recursive: true, force: true })
    },
  }
}

export interface TestCommit {
  readonly oid: string
  readonly objects: readonly GitObject[]
}

/** A commit of one file, as objects that are nowhere yet. */
export function testCommit(text: string, parents: readonly string[] = [], path = 'file.txt'): TestCommit {
  const blob = gitObject('blob', Buffer.from(text))
  const tree = encodeTree([{ mode: '100644', name: path, oid: blob.oid }])
  const person = { name: 'Ada', email: 'ada@example.com', at: 1_700_000_000 }
  const commit = encodeCommit({ tree: tree.oid, parents, author: person, committer: person, message: `${text}\n` })
  return { oid: commit.oid, objects: [blob, tree, commit] }
}

/** Plain Git on a repository, as a user would run it. */
export function git(repository: string, ...args: string[]): string {
  const env = {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    GIT_CONFIG_NOSYSTEM: '1',
    HOME: '/nonexistent',
    GIT_CONFIG_GLOBAL: '/dev/null',
  }
  const safe = ['-c', 'safe.directory=*', '-c', 'user.name=Ada', '-c', 'user.email=ada@example.com']
  return execFileSync('git', [...safe, '-C', repository, ...args], {
    encoding: 'utf8',
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}
