/** GIT-19: a copy that is asked away, by a member that lies or while something else happens to it, takes nothing with it that is nowhere else. */
import { afterEach, expect, test } from 'vitest'
import { HoldingBook } from '../../daemon/artifacts/replicate/holding-book.ts'
import type { NewRecord } from '../../daemon/journal/journal.ts'
import { MemoryJournal } from '../../daemon/journal/memory-journal.ts'
import { sealHolding } from '../../protocol/artifact/holding.ts'
import { ARTIFACT_METHODS, encodeMessage } from '../../protocol/artifact/replication-messages.ts'
import { MeshError } from '../../protocol/errors.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { signerFromSeed } from '../../protocol/signing/signing.ts'
import { ArtifactMesh } from '../support/artifact-mesh.ts'
import { ARTIFACT_TEST_RECORDS, type ArtifactNode, commitFile, eventually } from '../support/artifact-node.ts'

const MAIN = 'refs/heads/main'
const TIMES = { graceMs: 300, pauseMs: 30, maxPauseMs: 200 }
let mesh: ArtifactMesh

afterEach(async () => mesh.close())

/** A disk that takes as long as the test wants for records of one type. */
class SlowJournal extends MemoryJournal {
  readonly #type: string
  #until: Promise<void> = Promise.resolve()
  #waiting = 0

  constructor(type: string) {
    super({ types: ARTIFACT_TEST_RECORDS })
    this.#type = type
  }

  get waiting(): number {
    return this.#waiting
  }

  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#until = promise
    return resolve
  }

  override async append(record: NewRecord): Promise<number> {
    if (record.type !== this.#type) return super.append(record)
    this.#waiting++
    await this.#until
    this.#waiting--
    return super.append(record)
  }
}

/** @returns the code of a refusal, or that the copy was given up */
function release(asker: Pick<ArtifactNode, 'net'>, holder: ArtifactNode, artifact: string): Promise<string> {
  return asker.net.request(holder.id, ARTIFACT_METHODS.release, encodeMessage({ artifact })).then(
    () => 'given up',
    (error: unknown) => (error instanceof MeshError ? error.code : String(error)),
  )
}

const contract = (min: number, max = 8) => ({ replicas: { min, max, mustInclude: [] } })
const holds = (id: string, ...nodes: ArtifactNode[]) =>
  eventually('all hold it', () => nodes.every((node) => node.store.get(id) !== undefined))
/** Until every node has heard from the others what they hold now */
const agree = (id: string, ...nodes: ArtifactNode[]) =>
  eventually('all know of each other', async () => {
    const all = await Promise.all(nodes.map((node) => node.replication.status(id)))
    return all.every(
      ({ holders }) =>
        holders.length === nodes.length && holders.every(({ current, connected }) => current && connected),
    )
  })

test('GIT-19 a push that is being taken when the copy is asked away is kept, and the copy with it', async () => {
  mesh = await ArtifactMesh.start('memory', 1, { times: TIMES, checkMs: 300 })
  const journal = new SlowJournal('artifact.moved')
  const b = await mesh.add({ journal })
  const [a = b] = mesh.nodes
  const { id } = await a.store.create({ name: 'notes', settings: contract(2) })
  await commitFile(a, id, 'first')
  await holds(id, b)
  await a.store.update(id, contract(1), {})
  await agree(id, a, b)

  const go = journal.hold()
  const pushed = commitFile(b, id, 'pushed to the copy')
  await eventually('the push is being taken', () => journal.waiting === 1)
  const asked = release(a, b, id)
  await new Promise((resolve) => setTimeout(resolve, 100))
  go()
  const { oid } = await pushed
  expect(await asked).toBe('E_CONFLICT')
  expect(b.store.refs(id).get(MAIN)).toBe(oid)
  await eventually('the owner has it too', () => a.store.heads(id).has(b.id))
  await agree(id, a, b)
  expect(await release(a, b, id)).toBe('given up')
  expect(b.store.get(id)).toBeUndefined()
})

test('a copy that was asked for and then cloned on purpose is not given up, nor asked back', async () => {
  mesh = await ArtifactMesh.start('memory', 3, { times: TIMES, checkMs: 300 })
  const [a, b, c] = mesh.nodes
  if (!a || !b || !c) throw new Error('no nodes')
  const { id } = await a.store.create({ name: 'notes', settings: contract(3) })
  await commitFile(a, id, 'wanted')
  await holds(id, b, c)
  await b.replication.clone(id)
  await eventually('the owner knows', async () => {
    const { holders } = await a.replication.status(id)
    return holders.find(({ node }) => node === b.id)?.placed === false
  })
  await a.store.update(id, contract(1, 1), {})
  await eventually('what nobody wants goes', () => c.store.get(id) === undefined)
  expect(b.store.get(id)).toBeDefined()
})

test('a copy that is cloned while it is being given up is here afterwards', async () => {
  mesh = await ArtifactMesh.start('memory', 1, { times: TIMES, checkMs: 300 })
  const journal = new SlowJournal('artifact.removed')
  const b = await mesh.add({ journal })
  const [a = b] = mesh.nodes
  const { id } = await a.store.create({ name: 'notes', settings: contract(2) })
  await holds(id, b)
  await a.store.update(id, contract(1), {})
  await agree(id, a, b)
  const go = journal.hold()
  const asked = release(a, b, id)
  await eventually('it is going', () => journal.waiting === 1)
  const cloned = b.replication.clone(id)
  go()
  expect(await asked).toBe('given up')
  await cloned
  expect(b.store.get(id)).toBeDefined()
  expect(await release(a, b, id)).toBe('E_CONFLICT')
})

test('a copy that was asked for and never came is wanted when it is cloned later', async () => {
  mesh = await ArtifactMesh.start('memory', 2, { times: TIMES, checkMs: 300 })
  const [a, b] = mesh.nodes
  if (!a || !b) throw new Error('no nodes')
  const { id } = await a.store.create({ name: 'notes' })
  // As a crash between the two leaves it
  await new HoldingBook(b.journal).setPlaced(id, true)
  await b.replication.clone(id)
  await agree(id, a, b)
  expect(await release(a, b, id)).toBe('E_CONFLICT')
})

/** A member that states that it holds what the others hold, and holds nothing. @param place of its id among those of 200 nodes that might be */
async function liar(
  artifact: string,
  told: readonly ArtifactNode[],
  place: 'first' | 'last',
): Promise<Pick<ArtifactNode, 'net'>> {
  const seeds = Array.from({ length: 200 }, (_, index) => new Uint8Array(32).fill(index + 50))
  const inOrder = seeds.sort((one, other) => (nodeIdFromSeed(one) < nodeIdFromSeed(other) ? -1 : 1))
  const signer = signerFromSeed(inOrder.at(place === 'first' ? 0 : -1) ?? new Uint8Array(32))
  const net = mesh.network.join({ self: signer.nodeId, gate: { admits: () => true, serves: () => true } })
  net.on((event) => event.type === 'peer-up' && net.setReady(event.peer))
  net.handle(ARTIFACT_METHODS.holding, () => encodeMessage({ unknown: [] }))
  net.handle(ARTIFACT_METHODS.check, () => encodeMessage({ differ: [], absent: [] }))
  for (const node of told) {
    const heads = node.store.heads(artifact)
    const text = sealHolding(signer, { artifact, heads, placed: false, lacks: 0, at: 1 })
    net.handle(ARTIFACT_METHODS.find, () => encodeMessage({ holding: text, holders: [] }))
    await net.connect(node.id, node.net.addresses())
    await net.request(node.id, ARTIFACT_METHODS.holding, encodeMessage({ holdings: [text] }))
    await eventually('it is believed', () => node.replication.knows(artifact, signer.nodeId))
  }
  return { net }
}

/** Three copies of an artifact, by nodes that were asked for them, whose owner has been away long enough. */
async function orphaned(min: number) {
  mesh = await ArtifactMesh.start('memory', 4, { times: TIMES, checkMs: 300 })
  const [a, ...others] = mesh.nodes
  if (a === undefined) throw new Error('no nodes')
  const { id } = await a.store.create({ name: 'notes', settings: contract(4) })
  await commitFile(a, id, 'kept')
  await holds(id, ...others)
  await a.store.update(id, contract(min), {})
  for (const node of others) {
    for (const { id: other, net } of others) {
      if (other === node.id) continue
      // Who is asked for a copy looks at what the asker holds
      await eventually('it knows of the other', async () => {
        await net.request(node.id, ARTIFACT_METHODS.hold, encodeMessage({ artifact: id }))
        return node.replication.knows(id, other)
      })
    }
  }
  await agree(id, a, ...others)
  await mesh.crash(a)
  await new Promise((resolve) => setTimeout(resolve, TIMES.graceMs + 100))
  return { id, others }
}

test('GIT-19 a member that lies cannot have the copies of a lost owner given up', async () => {
  const { id, others } = await orphaned(2)
  const last = await liar(id, others, 'last')
  const refused = await Promise.all(others.map((node) => release(last, node, id)))
  expect(refused).toEqual(others.map(() => 'E_FORBIDDEN'))
  await last.net.close()

  const first = await liar(id, others, 'first')
  for (let round = 0; round < 5; round++) await Promise.all(others.map((node) => release(first, node, id)))
  expect(others.filter((node) => node.store.get(id) !== undefined)).not.toEqual([])
  await first.net.close()
})

test('GIT-19 no copy goes on the word of one node, whatever the contract says', async () => {
  const { id, others } = await orphaned(1)
  const [b, ...rest] = others
  if (b === undefined) throw new Error('no nodes')
  const first = await liar(id, [b], 'first')
  for (const node of rest) await mesh.crash(node)
  expect(await release(first, b, id)).toBe('E_CONFLICT')
  await first.net.close()
})

test('while the owner is away, the holder with the lowest id has those given up that are too many', async () => {
  mesh = await ArtifactMesh.start('memory', 5, { times: TIMES, checkMs: 300 })
  const [a, b, c, d, e] = mesh.nodes
  if (!a || !b || !c || !d || !e) throw new Error('no nodes')
  const { id } = await a.store.create({ name: 'notes', settings: contract(3, 3) })
  const { oid } = await commitFile(a, id, 'kept')
  const holders = () => [b, c, d, e].filter((node) => node.store.get(id) !== undefined)
  await eventually('two others hold it', () => holders().length === 2)
  await mesh.crash(a)
  await eventually('a third one does', () => holders().length === 3)
  const [spare] = [b, c, d, e].filter((node) => node.store.get(id) === undefined)
  await spare?.replication.clone(id)
  expect(spare?.store.refs(id).get(MAIN)).toBe(oid)
  await eventually('one is given up', () => holders().length === 3)
  expect(holders()).toContain(spare)
})
