/** A node with artifacts for benches: journal on disk, libp2p on loopback with the private network, replication. As a process of its own when it is forked. */
import './as-daemon.ts'
import { mkdir, mkdtemp, readdir, copyFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ARTIFACT_RECORDS, openArtifactStore, type OpenStore } from '../../daemon/artifacts/store/journal-store.ts'
import { REPLICATION_RECORDS } from '../../daemon/artifacts/replicate/holding-book.ts'
import { Replication } from '../../daemon/artifacts/replicate/replication.ts'
import type { Journal } from '../../daemon/journal/journal.ts'
import { openLevelJournal } from '../../daemon/journal/level-journal.ts'
import { createNet } from '../../daemon/net/libp2p-net.ts'
import type { MeshNet } from '../../daemon/net/mesh-net.ts'
import { type Signer, signerFromSeed } from '../../protocol/signing/signing.ts'

export interface BenchNode {
  readonly folder: string
  readonly net: MeshNet
  readonly signer: Signer
  readonly journal: Journal
  readonly store: OpenStore
  readonly replication: Replication
  close(): Promise<void>
}

const everyone = { admits: () => true, serves: () => true }

export async function artifactBenchNode(networkKey: Uint8Array): Promise<BenchNode> {
  const folder = await mkdtemp(join(tmpdir(), 'mh-bench-'))
  const seed = crypto.getRandomValues(new Uint8Array(32))
  const listen = ['/ip4/127.0.0.1/tcp/0']
  const net = await createNet({ meshId: 'bench', seed, networkKey, gate: everyone, listen, allowLoopback: true })
  const types = [...ARTIFACT_RECORDS, ...REPLICATION_RECORDS]
  const journal = await openLevelJournal({ folder: join(folder, 'journal'), markFile: join(folder, 'mark'), types })
  const signer = signerFromSeed(seed)
  const store = await openArtifactStore({ root: join(folder, 'artifacts'), journal, signer })
  const replication = new Replication({ net, store, journal, signer, isMember: () => true })
  replication.start()
  net.on((event) => {
    if (event.type !== 'peer-up') return
    net.setReady(event.peer)
    replication.ready(event.peer)
  })
  const close = async (): Promise<void> => {
    await replication.close()
    await net.close()
    await store.close()
    await journal.close()
    await rm(folder, { recursive: true, force: true })
  }
  return { folder, net, signer, journal, store, replication, close }
}

/** Makes an artifact of a packed bare repository, collected as housekeeping does once it is quiet. */
export async function artifactOfRepository({ store }: BenchNode, repository: string, tip: string): Promise<string> {
  const { id } = await store.create({})
  const staging = await store.stage(id)
  const packs = join(repository, 'objects', 'pack')
  await mkdir(join(staging.objects, 'pack'), { recursive: true })
  for (const name of await readdir(packs)) await copyFile(join(packs, name), join(staging.objects, 'pack', name))
  await store.transact(id, [{ ref: 'refs/heads/main', old: null, new: tip }], { by: {}, staging, checked: true })
  await store.collect(id)
  return id
}

export type PeerRequest =
  | { readonly do: 'import'; readonly repository: string; readonly tip: string }
  | { readonly do: 'rows'; readonly rows: readonly (readonly [table: string, key: string, value: string])[] }

async function answer(node: BenchNode, request: PeerRequest): Promise<unknown> {
  switch (request.do) {
    case 'import':
      return artifactOfRepository(node, request.repository, request.tip)
    case 'rows':
      return writeRows(node.journal, request.rows)
  }
}

export async function writeRows(journal: Journal, rows: readonly (readonly [string, string, string])[]): Promise<void> {
  const writes = rows.map(([table, key, value]) => ({ table, key, value: Buffer.from(value, 'base64') }))
  for (let at = 0; at < writes.length; at += 500) {
    await journal.append({ type: 'artifact.placed', body: Buffer.of(1), writes: writes.slice(at, at + 500) })
  }
}

async function main(): Promise<void> {
  const node = await artifactBenchNode(Buffer.alloc(32, 11))
  process.on('message', (request: PeerRequest) => {
    answer(node, request).then(
      (value) => process.send?.({ value: value ?? null }),
      (error: unknown) => process.send?.({ error: String(error) }),
    )
  })
  process.on('disconnect', () => void node.close().finally(() => process.exit()))
  process.send?.({ value: { id: node.net.self, addresses: node.net.addresses() } })
}

if (process.argv[2] === 'artifact-peer') await main()
