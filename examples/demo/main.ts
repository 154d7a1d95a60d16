/**
 * The main job on real input: three nodes index every source file of the installed packages; one is killed on the way. The result is compared with a plain
 * run in one process, and every receipt is verified. It is kept in an artifact that all nodes hold, and cloned with plain Git from a survivor. Exits 0 only if
 * all of that holds.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, promisify } from 'node:util'
import { type Artifact, type Mesh, verifyArtifactClone, verifyReceipt } from '@manyhands/sdk'
import indexFile, { type Entry, type SourceFile } from './index-file.ts'
import { DemoNode, startNodes, stopNodes } from './nodes.ts'
import { sourceFiles } from './source-files.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const PROGRAM = new URL('./index-file.ts', import.meta.url)
/** The node is killed when this much is done. */
const KILL_AT = 0.3

const run = promisify(execFile)

const say = (text: string): void => console.log(text)
const seconds = (from: number): string => `${((performance.now() - from) / 1000).toFixed(1)} s`

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'manyhands-demo-'))
  const nodes = ['north', 'east', 'south'].map((name) => new DemoNode(name, folder))
  const abort = new AbortController()
  const onInterrupt = (): void => abort.abort(new Error('interrupted'))
  process.once('SIGINT', onInterrupt).once('SIGTERM', onInterrupt)
  try {
    const startedAt = performance.now()
    const [north, east, south] = await startNodes(folder, ['north', 'east', 'south'])
    if (north === undefined || east === undefined || south === undefined) throw new Error('no nodes')
    const mesh = await north.connect()
    await connected(mesh, 2)
    say(`1. Three nodes are up and joined by invite (${seconds(startedAt)})`)
    const { files, tooLarge } = await sourceFiles(ROOT)
    const megabytes = files.reduce((sum, { text }) => sum + text.length, 0) / 1e6
    say(`2. Indexing ${files.length} source files, ${megabytes.toFixed(0)} MB (left out: ${tooLarge} above 1 MiB)`)
    const results = await mesh.artifacts.create({ name: 'index', replicas: { min: 3 } })
    await heldBy(results, 3)
    const entries = await indexOnMesh(mesh, files, east, abort.signal)
    check(entries, files)
    await keep(results, entries)
    await cloneFrom(south, results, entries, folder)
    await mesh.close()
    say(`Done in ${seconds(startedAt)}.`)
  } finally {
    await stopNodes(nodes, folder)
  }
}

async function connected(mesh: Mesh, count: number): Promise<void> {
  const deadline = performance.now() + 15_000
  for (;;) {
    const able = (await mesh.peers()).filter((peer) => peer.connected && peer.executors.length > 0)
    if (able.length >= count) return
    if (performance.now() > deadline) throw new Error(`only ${able.length} of ${count} peers came`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function indexOnMesh(
  mesh: Mesh,
  files: readonly SourceFile[],
  victim: DemoNode,
  signal: AbortSignal,
): Promise<Entry[]> {
  const names = new Map((await mesh.peers()).map((peer) => [peer.id, peer.name]))
  const self = await mesh.status()
  names.set(self.id, self.name)
  const startedAt = performance.now()
  let killed: Promise<void> | undefined
  let said = -1
  const run = mesh.map<Entry>(PROGRAM, files, {
    signal,
    name: 'index',
    onProgress: ({ done, byNode }) => {
      const share = done / files.length
      const tenth = Math.floor(share * 10)
      if (tenth > said) {
        said = tenth
        const parts = Object.entries(byNode).map(([id, count]) => `${names.get(id)} ${count}`)
        say(`   ${String(tenth * 10).padStart(3)} %  ${parts.join(', ')}`)
      }
      if (share >= KILL_AT && killed === undefined) {
        say(`   killing ${victim.name} (SIGKILL)`)
        killed = victim.kill()
      }
    },
  })
  const entries = await run.all()
  await killed
  const tasks = await run.tasks()
  say(`3. Indexed on the mesh in ${seconds(startedAt)}`)
  const byNode = new Map<string, number>()
  let retried = 0
  let receipts = 0
  for (const task of tasks) {
    for (const [id, count] of Object.entries(task.progress?.byNode ?? {})) byNode.set(id, (byNode.get(id) ?? 0) + count)
    retried += task.progress?.retried ?? 0
    for (const receipt of await mesh.tasks.receipts(task.id)) {
      const { valid, reason } = verifyReceipt(receipt)
      if (!valid) throw new Error(`a receipt does not verify: ${reason}`)
      receipts += 1
    }
  }
  say('')
  say('   node    files')
  for (const [id, count] of byNode)
    say(
      `   ${(names.get(id) ?? id).padEnd(6)} ${String(count).padStart(6)}${names.get(id) === victim.name ? '  (killed)' : ''}`,
    )
  say('')
  say(`4. ${retried} pieces of the killed node were done again; ${receipts} signed receipts verify`)
  if (killed === undefined) throw new Error('the map ended before a node was killed')
  return entries
}

function check(entries: readonly Entry[], files: readonly SourceFile[]): void {
  const startedAt = performance.now()
  const expected = files.map((file) => indexFile(file))
  if (!isDeepStrictEqual(entries, expected))
    throw new Error('the index made on the mesh differs from the one made here')
  const lines = entries.reduce((sum, entry) => sum + entry.lines, 0)
  say(`5. The same as a plain run in one process (${seconds(startedAt)}): ${entries.length} entries, ${lines} lines`)
}

/** Resolves when so many nodes say, signed, that they hold everything. */
async function heldBy(artifact: Artifact, count: number): Promise<void> {
  const deadline = performance.now() + 30_000
  for (;;) {
    const { holders } = await artifact.replication()
    if (holders.filter(({ current, connected }) => current && connected).length >= count) return
    if (performance.now() > deadline) throw new Error(`only ${holders.length} nodes hold the artifact`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** One file for each package, in one commit; back once a second node holds it. */
async function keep(artifact: Artifact, entries: readonly Entry[]): Promise<void> {
  const startedAt = performance.now()
  const { commit } = await artifact.commit({ message: 'Index of the installed packages', files: filesOf(entries) })
  await heldBy(artifact, 2)
  say(
    `6. Kept in an artifact as commit ${commit.slice(0, 10)}, held by both nodes that are left (${seconds(startedAt)})`,
  )
}

function filesOf(entries: readonly Entry[]): { path: string; text: string }[] {
  const packages = new Map<string, Entry[]>()
  for (const entry of entries) {
    const name = /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(entry.path)?.[1] ?? 'others'
    packages.set(name, [...(packages.get(name) ?? []), entry])
  }
  return [...packages].map(([name, list]) => ({ path: `${name}.json`, text: `${JSON.stringify(list)}\n` }))
}

/** With plain Git, from a node that neither made it nor was killed; the records are checked in the clone. */
async function cloneFrom(node: DemoNode, artifact: Artifact, entries: readonly Entry[], folder: string): Promise<void> {
  const startedAt = performance.now()
  const mesh = await node.connect()
  const copy = await mesh.artifact(artifact.id)
  const { token } = await copy.tokens.create({ access: 'read' })
  await mesh.close()
  const clone = join(folder, 'clone')
  const git = async (...args: string[]): Promise<void> => {
    const env = { ...process.env, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', GIT_TERMINAL_PROMPT: '0' }
    await run('git', args, { env })
  }
  const url = new URL(copy.view.gitUrl ?? '')
  url.username = 'x'
  url.password = token
  await git('clone', '-q', '--', url.href, clone)
  await git('-C', clone, 'fetch', '-q', 'origin', 'refs/manyhands/*:refs/manyhands/*')
  for (const { path, text } of filesOf(entries))
    if ((await readFile(join(clone, path), 'utf8')) !== text) throw new Error(`${path} differs in the clone`)
  const { valid, faults } = await verifyArtifactClone(clone)
  if (!valid) throw new Error(`the records of the clone do not verify: ${faults[0]}`)
  say(`7. Cloned with plain git from ${node.name}, the same, and its records verify offline (${seconds(startedAt)})`)
}

await main()
