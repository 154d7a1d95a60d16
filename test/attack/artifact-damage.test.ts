/** F21, F22, F23: files of a repository that are cut, changed or gone. What the journal knows is written again; the rest is noticed and named, and comes back from another holder. */
import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { Content } from '../../daemon/artifacts/content/content.ts'
import { verifyArtifact } from '../../daemon/artifacts/audit/audit.ts'
import { ArtifactMesh } from '../support/artifact-mesh.ts'
import { type ArtifactNode, commitFile, eventually } from '../support/artifact-node.ts'

let mesh: ArtifactMesh
afterEach(async () => mesh.close())

type Harm = 'cut' | 'changed' | 'gone'
const files = ['pack', 'idx', 'packed-refs', 'HEAD', 'config'] as const
const cases = files.flatMap((file) => (['cut', 'changed', 'gone'] as const).map((harm) => [file, harm] as const))

async function pathsOf(repository: string, file: (typeof files)[number]): Promise<string[]> {
  if (file !== 'pack' && file !== 'idx') return [join(repository, file)]
  const folder = join(repository, 'objects', 'pack')
  return (await readdir(folder)).filter((name) => name.endsWith(`.${file}`)).map((name) => join(folder, name))
}

async function harmFile(path: string, harm: Harm): Promise<void> {
  if (harm === 'gone') return rm(path)
  const bytes = await readFile(path)
  if (harm === 'cut') return truncate(path, Math.max(0, bytes.length - 100))
  // in the middle of the content, past what says how long it is
  const at = Math.floor(bytes.length / 2)
  for (let index = at; index < Math.min(bytes.length, at + 40); index++) bytes[index] = ~(bytes[index] ?? 0)
  await rm(path)
  await writeFile(path, bytes)
}

const contentOf = async ({ store }: ArtifactNode, id: string): Promise<string> =>
  Buffer.from((await new Content(store).read(id, 'file')).content).toString()

const faultsOf = async ({ store }: ArtifactNode, id: string): Promise<readonly string[]> =>
  (await verifyArtifact(store, id, AbortSignal.timeout(20_000))).faults

const TEXT = `${'kept '.repeat(2_000)}${Array.from({ length: 2_000 }, (_, index) => (index * 7919) % 10_007).join(' ')}`

/** An artifact of the first node that the second holds too, both with one pack. */
async function held(): Promise<{ id: string; nodes: [ArtifactNode, ArtifactNode] }> {
  mesh = await ArtifactMesh.start('memory', 2, { times: { graceMs: 400, pauseMs: 50, maxPauseMs: 400 }, checkMs: 300 })
  const [a, b] = mesh.nodes
  if (a === undefined || b === undefined) throw new Error('no nodes')
  const { id } = await a.store.create({ name: 'notes', settings: { replicas: { min: 2, max: 2, mustInclude: [] } } })
  const { sequence } = await commitFile(a, id, TEXT)
  await a.replication.acknowledged({ artifact: id, writer: a.id, sequence, copies: 1 })
  for (const { store } of [a, b])
    await eventually('it is collected', () =>
      store.collect(id).then(
        () => true,
        () => false,
      ),
    )
  return { id, nodes: [a, b] }
}

test.each(cases)('F21 F22 F23 %s %s: nothing wrong is served', async (file, harm) => {
  const { id, nodes } = await held()
  const [, b] = nodes
  const repository = await b.store.repository(id)
  await mesh.crash(b)
  for (const path of await pathsOf(repository, file)) await harmFile(path, harm)
  const again = await mesh.again(b)
  if (file !== 'pack' && file !== 'idx') {
    expect(await contentOf(again, id)).toBe(TEXT)
    return expect(await faultsOf(again, id), 'it was written again').toEqual([])
  }
  const read = await contentOf(again, id).catch((error: unknown) => error)
  if (read !== TEXT) expect(read).toMatchObject({ code: 'E_STORAGE' })
  expect(await faultsOf(again, id)).not.toEqual([])
  await again.store.remove(id, {})
  await again.replication.clone(id)
  expect(await contentOf(again, id)).toBe(TEXT)
  expect(await faultsOf(again, id)).toEqual([])
})

test('F22 F32 an owner whose repository is damaged takes it back from a holder and goes on writing', async () => {
  const { id, nodes } = await held()
  const [a, b] = nodes
  const repository = await a.store.repository(id)
  await mesh.crash(a)
  for (const path of await pathsOf(repository, 'pack')) await harmFile(path, 'gone')
  const again = await mesh.again(a)
  await expect(contentOf(again, id)).rejects.toMatchObject({ code: 'E_STORAGE' })
  await again.store.remove(id, {})
  await again.replication.clone(id)
  expect(again.store.require(id)).toMatchObject({ name: 'notes', mine: true })
  const { sequence } = await commitFile(again, id, 'more')
  await again.replication.acknowledged({ artifact: id, writer: a.id, sequence, copies: 1 })
  expect(await contentOf(b, id)).toBe('more')
  expect(await faultsOf(b, id)).toEqual([])
})
