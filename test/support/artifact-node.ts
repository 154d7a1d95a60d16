/** A node reduced to its artifacts: store and replication over the memory network or real libp2p, in a folder of its own. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeCommit, encodeTree, gitObject } from '../../daemon/artifacts/store/git-object.ts'
import { ARTIFACT_RECORDS, openArtifactStore, type OpenStore } from '../../daemon/artifacts/store/journal-store.ts'
import { forgetArtifact } from '../../daemon/artifacts/forget-artifact.ts'
import { GIT_TOKEN_RECORDS } from '../../daemon/artifacts/git-door/git-tokens.ts'
import { LFS_RECORDS, LfsStore } from '../../daemon/artifacts/git-door/lfs-store.ts'
import { LargeFiles } from '../../daemon/artifacts/large-files/large-files.ts'
import { REPLICATION_RECORDS } from '../../daemon/artifacts/replicate/holding-book.ts'
import { Replication, type ReplicationOptions } from '../../daemon/artifacts/replicate/replication.ts'
import type { Journal } from '../../daemon/journal/journal.ts'
import { openLevelJournal } from '../../daemon/journal/level-journal.ts'
import { MemoryJournal } from '../../daemon/journal/memory-journal.ts'
import type { MeshNet } from '../../daemon/net/mesh-net.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { type Signer, signerFromSeed } from '../../protocol/signing/signing.ts'

export interface ArtifactNodeOptions extends Partial<Omit<ReplicationOptions, 'net' | 'store' | 'journal' | 'signer'>> {
  readonly seed: Uint8Array
  readonly folder: string
  readonly net: MeshNet
  /** Of an earlier start; a memory journal lives on with it */
  readonly journal?: Journal
}

export interface ArtifactNode {
  readonly id: string
  readonly signer: Signer
  readonly net: MeshNet
  readonly store: OpenStore
  readonly journal: Journal
  readonly replication: Replication
  /** Git LFS */
  readonly files: LfsStore
  readonly large: LargeFiles
  readonly notes: { what: string; facts: Readonly<Record<string, unknown>> }[]
  /** Ends store and replication, not net and journal. */
  stop(): Promise<void>
}

export const ARTIFACT_TEST_RECORDS = [...ARTIFACT_RECORDS, ...REPLICATION_RECORDS, ...LFS_RECORDS, ...GIT_TOKEN_RECORDS]

/** On disk, with real syncs. */
export function levelJournal(folder: string): Promise<Journal> {
  return openLevelJournal({
    folder: join(folder, 'journal'),
    markFile: join(folder, 'journal.mark'),
    types: ARTIFACT_TEST_RECORDS,
  })
}

export async function artifactNode(options: ArtifactNodeOptions): Promise<ArtifactNode> {
  const { seed, folder, net, journal = new MemoryJournal({ types: ARTIFACT_TEST_RECORDS }), ...rest } = options
  const signer = signerFromSeed(seed)
  const notes: ArtifactNode['notes'] = []
  const isMember = rest.isMember ?? (() => true)
  await mkdir(folder, { recursive: true })
  const root = join(folder, 'artifacts')
  const onFault = (what: string, error: unknown): void => void notes.push({ what, facts: { error } })
  const forget = (artifact: string): Promise<void> => forgetArtifact(journal, artifact)
  const store = await openArtifactStore({ root, journal, signer, isMember, forget, onFault })
  const note: ReplicationOptions['note'] = (what, facts) => void notes.push({ what, facts })
  const lacks = (artifact: string): number | undefined => large.lacks(artifact)
  const replication = new Replication({ net, store, journal, signer, isMember, note, lacks, ...rest })
  const files = new LfsStore(store, journal, { lfsObjectBytes: 16 << 20 })
  const large: LargeFiles = new LargeFiles({ net, store, journal, files, replicas: replication, note, retryMs: 500 })
  replication.start()
  large.start()
  net.on((event) => {
    if (event.type !== 'peer-up') return
    net.setReady(event.peer)
    replication.ready(event.peer)
    large.ready(event.peer)
  })
  const stop = async (): Promise<void> => {
    await large.close()
    await replication.close()
    await store.close()
  }
  return { id: nodeIdFromSeed(seed), signer, net, store, journal, replication, files, large, notes, stop }
}

/** Commits one file over what `ref` holds, as a push would. @returns the commit */
export async function commitFile(
  { store }: ArtifactNode,
  artifact: string,
  content: string,
  ref = 'refs/heads/main',
): Promise<{ oid: string; sequence: number }> {
  const old = store.refs(artifact).get(ref) ?? null
  const blob = gitObject('blob', Buffer.from(content))
  const tree = encodeTree([{ mode: '100644', name: 'file', oid: blob.oid }])
  const person = { name: 'test', email: 'test@example.invalid', at: 1 }
  const parents = old === null ? [] : [old]
  const commit = encodeCommit({
    tree: tree.oid,
    parents,
    author: person,
    committer: person,
    message: `${content.slice(0, 40)}\n`,
  })
  const moves = [{ ref, old, new: commit.oid }]
  const { sequence } = await store.transact(artifact, moves, { by: {}, objects: [blob, tree, commit], checked: true })
  return { oid: commit.oid, sequence }
}

export async function temporaryFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'mh-artifacts-'))
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) }
}

/** Waits until it holds. @throws Error after a generous time */
export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = 15_000,
): Promise<void> {
  const end = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`never: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
