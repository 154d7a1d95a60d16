/** Replication of artifacts between nodes with real stores and real Git, over both networks. */
import { afterEach, describe, expect, test } from 'vitest'
import { ArtifactMesh, type Wire } from '../support/artifact-mesh.ts'
import { type ArtifactNode, commitFile } from '../support/artifact-node.ts'
import { until } from '../support/memory-mesh.ts'

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

describe.each<Wire>(['memory', 'libp2p'])('over %s', (wire) => {
  test('copies are placed as the contract says, and a push is acknowledged by them', async () => {
    const [a, b, c] = await meshOf(wire, 3)
    const { id } = await a.store.create({ name: 'notes', settings: { replicas: { min: 3, max: 8, mustInclude: [] } } })
    await until('both others hold it', () => [b, c].every((node) => node.store.get(id) !== undefined))
    const { oid, sequence } = await commitFile(a, id, 'hello')
    const holders = await a.replication.acknowledged({ artifact: id, writer: a.id, sequence, copies: 2 })
    expect([...holders].sort()).toEqual([b.id, c.id].sort())
    expect([at(b, id), at(c, id)]).toEqual([oid, oid])
    const status = await a.replication.status('notes')
    expect(status.state).toBe('healthy')
    expect(status.holders.map(({ sequence }) => sequence)).toEqual([sequence, sequence, sequence])
  })
})
