/**
 * Replication between nodes, each a process of its own with a journal on disk: whole clones beside `git clone --bare --no-local` of the same repository in the same run,
 * comparing what is shared when nothing changed, and a small commit until two other nodes said that they hold it on disk.
 *
 * Both sides are packed with a bitmap: Git does so by itself when it packs a bare repository, and a node does a minute after the last push. From then on until the
 * next push a node sends its pack as it lies; before, Git makes the pack.
 * Not measured: a network with delay. Noise: rounds alternate with the rival; everything shares the machine's cores.
 */
import { type ChildProcess, execFile, fork, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { sealHolding } from '../protocol/artifact/holding.ts'
import { encodeCommit, encodeTree, gitObject } from '../daemon/artifacts/store/git-object.ts'
import type { Result } from '../scripts/bench/result.ts'
import { artifactBenchNode, type BenchNode, type PeerRequest, writeRows } from './support/artifact-peer.ts'
import { cloneMemory } from './support/clone-memory.ts'
import { median } from './support/mesh-pair.ts'

const run = promisify(execFile)
const ROUNDS = 5
const MANY = 10_000
const PUSHES = 40
const print = (result: Result): void => console.log(JSON.stringify(result))
const round = (value: number): number => Math.round(value * 100) / 100

interface Peer {
  readonly id: string
  readonly child: ChildProcess
  ask(request: PeerRequest): Promise<unknown>
}

interface Ready {
  readonly id: string
  readonly addresses: string[]
}

function reply(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) =>
    child.once('message', (message: { value?: unknown; error?: string }) =>
      message.error === undefined ? resolve(message.value) : reject(new Error(message.error)),
    ),
  )
}

async function startPeer(node: BenchNode): Promise<Peer> {
  const child = fork(new URL('./support/artifact-peer.ts', import.meta.url), ['artifact-peer'])
  const { id, addresses } = (await reply(child)) as Ready
  await node.net.connect(id, addresses)
  const ask = (request: PeerRequest): Promise<unknown> => {
    const answer = reply(child)
    child.send(request)
    return answer
  }
  return { id, child, ask }
}

/** A packed bare repository. @returns its only commit */
async function makeRepository(path: string, files: number, content: (index: number) => Buffer): Promise<string> {
  await run('git', ['init', '-q', '--bare', path])
  const git = spawn('git', ['-C', path, 'fast-import', '--quiet'], { stdio: ['pipe', 'ignore', 'inherit'] })
  const done = new Promise((resolve) => git.once('close', resolve))
  const write = async (data: Buffer | string): Promise<void> => {
    if (!git.stdin.write(data)) await new Promise((resolve) => git.stdin.once('drain', resolve))
  }
  await write('commit refs/heads/main\ncommitter b <b@example.invalid> 1 +0000\ndata 1\nx\n')
  for (let index = 0; index < files; index++) {
    const bytes = content(index)
    await write(`M 100644 inline d${index % 100}/f${index}\ndata ${bytes.length}\n`)
    await write(bytes)
    await write('\n')
  }
  git.stdin.end()
  await done
  await run('git', ['-C', path, 'repack', '-adq'])
  return (await run('git', ['-C', path, 'rev-parse', 'main'])).stdout.trim()
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

interface Clone {
  readonly what: string
  readonly bar: string
  readonly path: string
  readonly tip: string
}

async function benchClone(node: BenchNode, peer: Peer, { what, bar, path, tip }: Clone, folder: string): Promise<void> {
  const id = String(await peer.ask({ do: 'import', repository: path, tip }))
  const own: number[] = []
  const rival: number[] = []
  for (let index = 0; index < ROUNDS; index++) {
    own.push(await timed(() => node.replication.clone(id)))
    await node.store.remove(id, {})
    const target = join(folder, 'rival.git')
    rival.push(await timed(() => run('git', ['clone', '-q', '--bare', '--no-local', path, target])))
    await rm(target, { recursive: true, force: true })
  }
  const value = median(own)
  const against = median(rival)
  print({
    what: `clone of ${what} between two nodes`,
    value: round(value),
    unit: 'ms',
    against: 'git clone --bare --no-local',
    rival: round(against),
    ratio: round(against / value),
    ratioBar: `>= ${round(1 / Number(bar))}`,
    note: `takes ${round(value / against)} times as long, bar ${bar}; checked object by object and synced to disk before it counts`,
  })
}

async function benchMemory(what: string, repository: string): Promise<void> {
  const { giver, taker } = await cloneMemory(repository)
  print({
    what: `clone of ${what}: memory of a daemon`,
    value: round(Math.max(giver, taker)),
    unit: 'MiB',
    bar: '<= 200',
    note: `highest resident size of a built daemon: ${round(taker)} where it comes to, ${round(giver)} where it comes from`,
  })
}

/** The same artifacts on both nodes, as replication would have left them. Returns once the peer has them. */
async function shareMany(node: BenchNode, peer: Peer): Promise<void> {
  for (let at = 0; at < MANY; at += 200) await Promise.all(Array.from({ length: 200 }, () => node.store.create({})))
  const rows: [string, string, string][] = []
  for (const table of ['artifact', 'artifact-head', 'artifact-name', 'artifact-birth']) {
    for (let after: string | undefined; ; ) {
      const page = await node.journal.range(table, { limit: 1000, ...(after === undefined ? {} : { after }) })
      if (page.length === 0) break
      for (const { key, value } of page) rows.push([table, key, Buffer.from(value).toString('base64')])
      after = page.at(-1)?.key
    }
  }
  const holding = (id: string): string => {
    const heads = new Map(
      [...node.store.heads(id)].map(([writer, { sequence, digest }]) => [writer, { sequence, digest }]),
    )
    return Buffer.from(sealHolding(node.signer, { artifact: id, heads, placed: false, at: 1 })).toString('base64')
  }
  const ids = rows.flatMap(([table, key]) => (table === 'artifact' ? [key] : []))
  for (let at = 0; at < rows.length; at += 2000) await peer.ask({ do: 'rows', rows: rows.slice(at, at + 2000) })
  for (let at = 0; at < ids.length; at += 1000) {
    const some = ids.slice(at, at + 1000)
    const known = some.flatMap((id): [string, string, string][] => [
      ['artifact-holding', `${id}/${node.net.self}`, holding(id)],
      ['artifact-shared', `${node.net.self}/${id}`, ''],
    ])
    await peer.ask({ do: 'rows', rows: known })
    await writeRows(
      node.journal,
      some.map((id) => ['artifact-shared', `${peer.id}/${id}`, '']),
    )
  }
}

async function benchChecks(node: BenchNode, peer: Peer): Promise<void> {
  const { id } = await node.store.create({ settings: { replicas: { min: 2, max: 8, mustInclude: [] } } })
  await node.replication.acknowledged({ artifact: id, writer: node.net.self, sequence: 1, copies: 1 })
  const single: number[] = []
  for (let index = 0; index < 100; index++) single.push(await timed(() => node.replication.checkNow(peer.id)))
  print({ what: 'check that nothing changed, one artifact', value: round(median(single)), unit: 'ms', bar: '<= 5' })
  await shareMany(node, peer)
  let compared = 0
  const many: number[] = []
  for (let index = 0; index < 3; index++) {
    many.push(await timed(async () => (compared = await node.replication.checkNow(peer.id))))
  }
  // Those that were shared, and what the benches before have left
  if (compared <= MANY) throw new Error(`${compared} artifacts were compared, not more than ${MANY}`)
  print({
    what: `check that nothing changed, ${MANY} artifacts`,
    value: round(median(many) / 1000),
    unit: 's',
    bar: '<= 5',
    note: `${compared} compared; the first time, with nothing remembered, ${round((many[0] ?? 0) / 1000)} s`,
  })
}

async function benchPush(node: BenchNode): Promise<void> {
  const { id } = await node.store.create({ settings: { replicas: { min: 3, max: 8, mustInclude: [] } } })
  await node.replication.acknowledged({ artifact: id, writer: node.net.self, sequence: 1, copies: 2 })
  const times: number[] = []
  let old: string | null = null
  for (let index = 0; index < PUSHES; index++) {
    const blob = gitObject('blob', randomBytes(1000))
    const tree = encodeTree([{ mode: '100644', name: 'file', oid: blob.oid }])
    const person = { name: 'b', email: 'b@example.invalid', at: index }
    const facts = {
      tree: tree.oid,
      parents: old === null ? [] : [old],
      author: person,
      committer: person,
      message: 'x\n',
    }
    const commit = encodeCommit(facts)
    const moves = [{ ref: 'refs/heads/main', old, new: commit.oid }]
    times.push(
      await timed(async () => {
        const { sequence } = await node.store.transact(id, moves, { by: {}, objects: [blob, tree, commit] })
        await node.replication.acknowledged({ artifact: id, writer: node.net.self, sequence, copies: 2 })
      }),
    )
    old = commit.oid
  }
  print({
    what: 'one small commit until two other nodes hold it',
    value: round(median(times)),
    unit: 'ms',
    bar: '<= 150',
    note: `worst of ${PUSHES}: ${Math.round(Math.max(...times))} ms`,
  })
}

/** Parts named on the command line, or all: clones, push, checks. */
const wanted = (part: string): boolean => process.argv.length === 2 || process.argv.includes(part)

async function benchClones(node: BenchNode, peer: Peer, folder: string): Promise<void> {
  const small = join(folder, 'small.git')
  const text = (index: number): Buffer =>
    Buffer.from(`file ${index}\n${'line of text\n'.repeat(20)}${Math.sin(index)}\n`)
  const smallTip = await makeRepository(small, 20_000, text)
  await benchClone(node, peer, { what: '20,000 files', bar: '1.4', path: small, tip: smallTip }, folder)
  const large = join(folder, 'large.git')
  const largeTip = await makeRepository(large, 100, () => randomBytes(1 << 20))
  await benchClone(node, peer, { what: '100 MB', bar: '1.8', path: large, tip: largeTip }, folder)
  await benchMemory('20,000 files', small)
  await benchMemory('100 MB', large)
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mh-bench-'))
  const node = await artifactBenchNode(Buffer.alloc(32, 11))
  const first = await startPeer(node)
  const peers = [first]
  try {
    if (wanted('clones')) await benchClones(node, first, folder)
    const second = await startPeer(node)
    peers.push(second)
    if (wanted('push')) await benchPush(node)
    second.child.disconnect()
    if (wanted('checks')) await benchChecks(node, first)
  } finally {
    for (const { child } of peers) if (child.connected) child.disconnect()
    await node.close()
    await rm(folder, { recursive: true, force: true })
  }
}

await main()
