/** Replication of artifacts between nodes with real stores and real Git, over both networks. */
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { ArtifactMesh, type Wire } from '../support/artifact-mesh.ts'
import { type ArtifactNode, commitFile, eventually } from '../support/artifact-node.ts'
import { gitOutput } from '../../daemon/artifacts/store/git-process.ts'

const MAIN = 'refs/heads/main'
const TIMES = { graceMs: 400, pauseMs: 50, maxPauseMs: 400 }
let mesh: ArtifactMesh

async function meshOf(wire: Wire, count: number): Promise<[ArtifactNode, ArtifactNode, ArtifactNode, ArtifactNode]> {
  mesh = await ArtifactMesh.start(wire, count, { times: TIMES, checkMs: 300 })
  const [a, b = a, c = b, d = c] = mesh.nodes
  if (!a || !b || !c || !d) throw new Error('no nodes')
  return [a, b, c, d]
}

const at = (node: ArtifactNode, id: string, ref = MAIN) =>
  node.store.get(id) && node.store.refs(id, { as: null }).get(ref)

afterEach(async () => mesh.close())

const headsText = (node: ArtifactNode, id: string) =>
  [...node.store.heads(id)]
    .map((head) => JSON.stringify(head))
    .sort()
    .join()
const copies = (min: number, max = 8, mustInclude: string[] = []) => ({ replicas: { min, max, mustInclude } })
const holds = (id: string, ...nodes: ArtifactNode[]) =>
  eventually('all hold it', () => nodes.every((node) => node.store.get(id) !== undefined))
const isAt = (id: string, oid: string, ...nodes: ArtifactNode[]) =>
  eventually('all are there', () => nodes.every((node) => at(node, id) === oid))
const stateIs = async (node: ArtifactNode, id: string, wanted: string) => {
  for (const end = Date.now() + 10_000; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
    const { state } = await node.replication.status(id)
    if (state === wanted) return
    if (Date.now() > end) throw new Error(`stays ${state}: ${JSON.stringify(node.notes)}`)
  }
}

describe.each<Wire>(['memory', 'libp2p'])('over %s', (wire) => {
  test('copies are placed as the contract says, and a push is acknowledged by them', async () => {
    const [a, b, c] = await meshOf(wire, 3)
    const { id } = await a.store.create({ name: 'notes', settings: copies(3) })
    await holds(id, b, c)
    const { oid, sequence } = await commitFile(a, id, 'hello')
    const holders = await a.replication.acknowledged({ artifact: id, writer: a.id, sequence, copies: 2 })
    expect([...holders].sort()).toEqual([b.id, c.id].sort())
    expect([at(b, id), at(c, id)]).toEqual([oid, oid])
    const status = await a.replication.status('notes')
    expect(status.state).toBe('healthy')
    expect(status.holders.map(({ sequence }) => sequence)).toEqual([sequence, sequence, sequence])
  })

  test('a node that was asked for nothing clones by id, with all history, and follows from then on', async () => {
    const [a, b] = await meshOf(wire, 2)
    const { id } = await a.store.create({ name: 'notes' })
    for (let index = 0; index < 30; index++) await commitFile(a, id, `text ${index} ${'x'.repeat(3000)}`)
    expect(b.store.get(id)).toBeUndefined()
    await b.replication.clone(id)
    expect(at(b, id)).toBe(at(a, id))
    expect(b.store.heads(id)).toEqual(a.store.heads(id))
    const path = await b.store.repository(id)
    await gitOutput({ args: ['fsck', '--full', '--strict'], repository: path, foreign: false })
    const { oid } = await commitFile(a, id, 'later')
    await isAt(id, oid, b)
    await expect(b.replication.clone(`a${'b'.repeat(32)}`)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  })
})

test('all of an artifact that was collected is sent as the one pack it is; after a push Git makes the pack', async () => {
  const [a, b, c] = await meshOf('libp2p', 3)
  const packsOf = async (node: ArtifactNode, id: string) => {
    const names = await readdir(join(await node.store.repository(id), 'objects', 'pack'))
    return names.filter((name) => /^pack-[0-9a-f]{40}\.pack$/.test(name))
  }
  const { id } = await a.store.create({ name: 'notes' })
  for (let index = 0; index < 3; index++) await commitFile(a, id, randomBytes(600_000).toString('base64'))
  await a.store.collect(id)
  const [whole] = await packsOf(a, id)
  await b.replication.clone(id)
  // Git leaves the commits of records out of a pack it makes: that one would have another name
  expect(await packsOf(b, id)).toEqual([whole])
  const { oid } = await commitFile(a, id, 'later')
  await c.replication.clone(id)
  expect(await packsOf(c, id)).not.toContain(whole)
  await isAt(id, oid, a, b, c)
  for (const node of [b, c]) {
    const repository = await node.store.repository(id)
    await gitOutput({ args: ['fsck', '--full', '--strict'], repository, foreign: false })
    expect(node.store.heads(id)).toEqual(a.store.heads(id))
  }
})

describe('the label index', () => {
  test('names all holders, also after a restart, and nothing that is private', async () => {
    const [a, b] = await meshOf('memory', 2)
    const named = (id: string) => [...mesh.network.label(`artifact/${id}`)].sort()
    const open = await a.store.create({ settings: copies(2) })
    const closed = await a.store.create({ visibility: 'private', settings: { ...copies(2), readers: [b.id] } })
    await holds(open.id, b)
    await holds(closed.id, b)
    const both = [a.id, b.id].sort()
    await eventually('both are named', () => named(open.id).join() === both.join())
    mesh.network.label(`artifact/${open.id}`).clear()
    await mesh.crash(b)
    await mesh.again(b)
    await eventually('it is named again', () => named(open.id).includes(b.id))
    expect(named(closed.id)).toEqual([])
  })
})

describe('holders that come and go', () => {
  test('two that take a copy at the same time hear of each other', async () => {
    const [a, b, c] = await meshOf('memory', 3)
    const { id } = await a.store.create({ name: 'notes' })
    await commitFile(a, id, 'hello')
    await Promise.all([b, c].map((node) => node.replication.clone(id)))
    await eventually('each knows the other', () => b.replication.knows(id, c.id) && c.replication.knows(id, b.id))
  })

  test('the copy of a lost holder is made anew elsewhere, and given up when it comes back', async () => {
    const [a, b, c, d] = await meshOf('memory', 4)
    const { id } = await a.store.create({ name: 'notes', settings: copies(3, 3) })
    await eventually('two others hold it', () => [b, c, d].filter((node) => node.store.get(id)).length === 2)
    await stateIs(a, id, 'healthy')
    const lost = [b, c, d].find((node) => node.store.get(id)) ?? b
    const spare = [b, c, d].find((node) => !node.store.get(id)) ?? d
    await mesh.crash(lost)
    const { oid } = await commitFile(a, id, 'meanwhile')
    await isAt(id, oid, spare)
    await stateIs(a, id, 'healthy')
    const back = await mesh.again(lost)
    const holders = () =>
      [back, ...mesh.nodes].filter((node, index, all) => all.indexOf(node) === index && node.store.get(id))
    await eventually('one too many is given up', () => holders().length === 3)
    for (const node of holders()) await isAt(id, oid, node)
  })

  test('F32 the owner is lost with its disk: the others go on holding, and restore the number of copies', async () => {
    const [a, b, c, d] = await meshOf('memory', 4)
    const { id } = await a.store.create({ name: 'notes', settings: copies(3) })
    const { oid, sequence } = await commitFile(a, id, 'kept')
    await a.replication.acknowledged({ artifact: id, writer: a.id, sequence, copies: 2 })
    await mesh.crash(a)
    await holds(id, b, c, d)
    await isAt(id, oid, b, c, d)
  })

  test('a holder that was away catches up, and one that stopped while fetching fetches again', async () => {
    const [a, b] = await meshOf('memory', 2)
    const { id } = await a.store.create({ name: 'notes', settings: copies(2) })
    await holds(id, b)
    await mesh.crash(b)
    for (let index = 0; index < 5; index++) await commitFile(a, id, `text ${index}`)
    const early = await mesh.again(b)
    await mesh.crash(early)
    const { oid } = await commitFile(a, id, 'last')
    const back = await mesh.again(early)
    await isAt(id, oid, back)
    expect((await back.store.envelopes(id, a.id)).length).toBe(7)
  })

  test('nodes the contract names get a copy, whatever the number', async () => {
    const [a, b, c] = await meshOf('memory', 3)
    const { id } = await a.store.create({ name: 'notes', settings: copies(1, 8, [c.id]) })
    await holds(id, c)
    expect(b.store.get(id)).toBeUndefined()
    await stateIs(a, id, 'healthy')
    await a.store.update(id, copies(1, 8, [b.id, c.id]), {})
    await holds(id, b)
  })
})

describe('writers apart', () => {
  test('F07 both sides of a partition go on; healed, all hold both, and the owner follows its delegate', async () => {
    const [a, b, c] = await meshOf('memory', 3)
    const { id } = await a.store.create({ name: 'notes', settings: { ...copies(3), delegates: [b.id] } })
    const { oid } = await commitFile(a, id, 'base')
    await holds(id, b, c)
    await isAt(id, oid, b, c)
    mesh.network.partition([[a.id], [b.id, c.id]])
    await eventually('the link is gone', () => !a.net.isConnected(b.id) && !c.net.isConnected(a.id))
    const mine = await commitFile(a, id, 'by the owner', 'refs/heads/own')
    const forward = await commitFile(b, id, 'by the delegate')
    const other = await commitFile(c, id, 'by another', 'refs/heads/third')
    await eventually('c has what b wrote', () => c.store.heads(id).get(b.id)?.sequence === forward.sequence)
    mesh.network.heal()
    await mesh.connect()
    const heads = (node: ArtifactNode) => headsText(node, id)
    await isAt(id, forward.oid, a, b, c)
    await eventually('all hold the same', () => heads(a) === heads(b) && heads(b) === heads(c))
    expect(at(c, id, 'refs/heads/own')).toBe(mine.oid)
    // c is no delegate: what it wrote stays its own
    expect(at(a, id, 'refs/heads/third')).toBeUndefined()
    expect(a.store.refs(id, { as: c.id }).get('refs/heads/third')).toBe(other.oid)
  })

  test('GIT-13 a writer that signs two histories is frozen everywhere, and nothing of either is lost', async () => {
    const [a, b, c] = await meshOf('memory', 3)
    const { id } = await a.store.create({ name: 'notes', settings: copies(3) })
    await holds(id, b, c)
    const base = await commitFile(a, id, 'base')
    await eventually('all have the base', () =>
      [b, c].every((node) => node.store.heads(id).get(a.id)?.sequence === base.sequence),
    )
    const copy = await mesh.copyOf(c)
    mesh.network.partition([[a.id], [b.id], [c.id]])
    await eventually('all are apart', () => !b.net.isConnected(c.id) && !a.net.isConnected(c.id))
    const one = await commitFile(c, id, 'one history', 'refs/heads/c')
    mesh.network.partition([[a.id], [b.id, c.id]])
    await mesh.connect()
    await eventually('b has it', () => b.store.heads(id).get(c.id)?.sequence === one.sequence)
    const twin = await mesh.replace(c, copy)
    await commitFile(twin, id, 'another', 'refs/heads/c')
    mesh.network.partition([[a.id, twin.id], [b.id]])
    await mesh.connect()
    await eventually('a has the other', () => a.store.heads(id).get(c.id) !== undefined)
    mesh.network.heal()
    await mesh.connect()
    await eventually('both froze it', () =>
      [a, b].every((node) => node.store.heads(id).get(c.id)?.frozen !== undefined),
    )
    const status = await a.replication.status(id)
    expect(status.holders.find(({ node }) => node === b.id)?.frozen).toEqual([c.id])
  })
})

test('a history of several streams comes with what is there now, though branches of it are gone', async () => {
  mesh = await ArtifactMesh.start('libp2p', 2, { times: TIMES, checkMs: 300, recordsPerFetch: 10 })
  const [a, b] = mesh.nodes
  if (a === undefined || b === undefined) throw new Error('no nodes')
  const { id } = await a.store.create({ name: 'long' })
  const passing = 'refs/heads/passing'
  await commitFile(a, id, 'begun')
  const gone = await commitFile(a, id, 'of a branch that ends', passing)
  for (let index = 0; index < 20; index++) await commitFile(a, id, `text ${index}`)
  await a.store.transact(id, [{ ref: passing, old: gone.oid, new: null }], { by: {} })
  for (let index = 20; index < 33; index++) await commitFile(a, id, `text ${index}`)
  await a.store.collect(id)
  await expect(a.store.reader.info(await a.store.repository(id), gone.oid)).resolves.toBeUndefined()

  await b.replication.clone(id)
  expect(b.store.heads(id)).toEqual(a.store.heads(id))
  expect(at(b, id)).toBe(at(a, id))
  await gitOutput({ args: ['fsck', '--full', '--strict'], repository: await b.store.repository(id), foreign: false })
  // and from both writers, each with more than one stream carries
  await b.store.transact(id, [{ ref: 'refs/heads/of-b', old: null, new: at(b, id) ?? null }], { by: {} })
  for (let index = 0; index < 25; index++) await commitFile(b, id, `b ${index}`, 'refs/heads/of-b')
  const c = await mesh.add()
  await eventually(
    'a has what b did',
    () => a.store.heads(id).get(b.id)?.sequence === b.store.heads(id).get(b.id)?.sequence,
  )
  await c.replication.clone(id)
  await eventually('c has all', () => headsText(c, id) === headsText(a, id))
})
