/**
 * The main job on real input: three nodes index every source file of the installed packages; one is killed on the way. The result is compared with a plain
 * run in one process, and every receipt is verified. Exits 0 only if all of that holds.
 */
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { type Mesh, verifyReceipt } from '@manyhands/sdk'
import indexFile, { type Entry, type SourceFile } from './index-file.ts'
import { DemoNode, startNodes, stopNodes } from './nodes.ts'
import { sourceFiles } from './source-files.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const PROGRAM = new URL('./index-file.ts', import.meta.url)
/** The node is killed when this much is done. */
const KILL_AT = 0.3

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
    const [north, east] = await startNodes(folder, ['north', 'east', 'south'])
    if (north === undefined || east === undefined) throw new Error('no nodes')
    const mesh = await north.connect()
    await connected(mesh, 2)
    say(`1. Three nodes are up and joined by invite (${seconds(startedAt)})`)
    const { files, tooLarge } = await sourceFiles(ROOT)
    const megabytes = files.reduce((sum, { text }) => sum + text.length, 0) / 1e6
    say(`2. Indexing ${files.length} source files, ${megabytes.toFixed(0)} MB (left out: ${tooLarge} above 1 MiB)`)
    const entries = await indexOnMesh(mesh, files, east, abort.signal)
    check(entries, files)
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

await main()
