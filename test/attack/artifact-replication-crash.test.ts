/** A node that is killed at every step of taking what another holds: after the next start it holds all of it, and nothing is left over. */
import { type ChildProcess, fork } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { gitOutput } from '../../daemon/artifacts/store/git-process.ts'
import { createNet } from '../../daemon/net/libp2p-net.ts'
import { type ArtifactNode, artifactNode, commitFile, eventually, temporaryFolder } from '../support/artifact-node.ts'
import { NETWORK_KEY, QUICK } from '../support/artifact-process.ts'
import { testSeed } from '../support/mesh-nets.ts'

const PROGRAM = fileURLToPath(new URL('../support/artifact-process.ts', import.meta.url))

let folder: { path: string; remove: () => Promise<void> }
let a: ArtifactNode
let child: ChildProcess | undefined

beforeEach(async () => {
  folder = await temporaryFolder()
  const seed = testSeed(0)
  const gate = { admits: () => true, serves: () => true }
  const base = { meshId: 'test', seed, networkKey: NETWORK_KEY, gate, listen: ['/ip4/127.0.0.1/tcp/0'] }
  const net = await createNet({ ...base, allowLoopback: true, inboundPerSecond: 1000 })
  a = await artifactNode({ seed, folder: join(folder.path, 'a'), net, times: QUICK, checkMs: 500 })
})

afterEach(async () => {
  await kill()
  await a.stop()
  await a.net.close()
  await folder.remove()
})

async function start(failpoint?: string): Promise<void> {
  const env = { ...process.env, ...(failpoint === undefined ? {} : { MANYHANDS_FAILPOINT: failpoint }) }
  const started = fork(PROGRAM, [join(folder.path, 'b'), Buffer.from(testSeed(1)).toString('hex')], {
    env,
    execArgv: [],
  })
  child = started
  const { id, addresses } = await new Promise<{ id: string; addresses: string[] }>((resolve, reject) => {
    started.once('message', (message: { id: string; addresses: string[] }) => resolve(message))
    started.once('exit', () => reject(new Error('it died before it was up')))
  })
  // it may die as soon as it hears of the artifact
  await a.net.connect(id, addresses).catch(() => undefined)
}

async function kill(): Promise<void> {
  const running = child
  child = undefined
  if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
  const ended = new Promise((resolve) => running.once('exit', resolve))
  running.kill('SIGKILL')
  await ended
}

async function held(id: string): Promise<number> {
  const running = child
  if (running?.connected !== true) return 0
  return new Promise((resolve) => {
    running.once('message', ({ heads }: { heads: [string, number][] }) => resolve(new Map(heads).get(a.id) ?? 0))
    running.send(id)
  })
}

/** Of the killed node's only artifact. */
async function repositoryOf(id: string): Promise<string> {
  const entries = await readdir(join(folder.path, 'b', 'artifacts'), { recursive: true, withFileTypes: true })
  const found = entries.find((entry) => entry.isDirectory() && entry.name.startsWith(id.slice(0, 20)))
  if (found === undefined) throw new Error('no repository')
  return join(found.parentPath, found.name)
}

test.each(['artifact.fetch.before-adopt', 'artifact.after-objects', 'artifact.after-append', 'artifact.after-pack'])(
  'F04 killed at %s while a copy is taken: the copy is complete after the next start',
  async (failpoint) => {
    const { id } = await a.store.create({ settings: { replicas: { min: 2, max: 8, mustInclude: [] } } })
    for (let index = 0; index < 5; index++) await commitFile(a, id, randomBytes(20_000).toString('hex'))
    await start(`${failpoint}:kill`)
    const dying = child
    await eventually('it died there', () => dying?.signalCode === 'SIGKILL')
    const { sequence } = await commitFile(a, id, 'meanwhile')
    await start()
    const holders = await a.replication.acknowledged({
      artifact: id,
      writer: a.id,
      sequence,
      copies: 1,
      timeoutMs: 20_000,
    })
    expect(holders).toHaveLength(1)
    expect(await held(id)).toBe(sequence)
    await kill()
    await gitOutput({ args: ['fsck', '--full', '--strict'], repository: await repositoryOf(id), foreign: false })
  },
)

test.each(['lfs.received', 'lfs.kept'])(
  'F04 killed at %s while a large file is taken: it is there after the next start',
  async (failpoint) => {
    const { id } = await a.store.create({ settings: { replicas: { min: 2, max: 8, mustInclude: [] } } })
    const bytes = randomBytes(300_000)
    const oid = createHash('sha256').update(bytes).digest('hex')
    const chunks = async function* (): AsyncGenerator<Buffer> {
      yield await Promise.resolve(bytes)
    }
    await a.files.put(id, oid, bytes.length, chunks())
    await commitFile(a, id, `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${bytes.length}\n`)
    await start(`${failpoint}:kill`)
    const dying = child
    await eventually('it died there', () => dying?.signalCode === 'SIGKILL')
    await start()
    const running = child
    const sizeThere = () =>
      new Promise<number>((resolve) => {
        running?.once('message', ({ size }: { size: number }) => resolve(size))
        running?.send(`${id} ${oid}`)
      })
    await eventually('it has the file', async () => (await sizeThere()) === bytes.length)
    await kill()
    const folderOfFiles = join(await repositoryOf(id), 'lfs')
    expect(await readFile(join(folderOfFiles, oid.slice(0, 2), oid))).toEqual(bytes)
  },
)

test('F04 killed again and again at any moment, it loses nothing it acknowledged', async () => {
  const { id } = await a.store.create({ settings: { replicas: { min: 2, max: 8, mustInclude: [] } } })
  let acknowledged = 0
  for (let round = 0; round < 4; round++) {
    await commitFile(a, id, randomBytes(200_000).toString('hex'))
    await start()
    expect(await held(id)).toBeGreaterThanOrEqual(acknowledged)
    await new Promise((resolve) => setTimeout(resolve, round * 80))
    await kill()
    const { holders } = await a.replication.status(id)
    acknowledged = holders.find(({ self }) => !self)?.sequence ?? 0
  }
  await start()
  const { sequence } = await commitFile(a, id, 'last')
  await a.replication.acknowledged({ artifact: id, writer: a.id, sequence, copies: 1, timeoutMs: 20_000 })
}, 60_000)
