import { expect, test, vi } from 'vitest'
import { taskMesh } from '../../test/support/task-node.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import { MeshPlacer } from './mesh-placer.ts'

const OWN = {
  kind: 'isolate',
  grade: 'jailed' as const,
  slots: 4,
  free: 4,
  queued: 0,
  maxMemoryBytes: 1 << 30,
  maxWallMs: 600_000,
}

test('the one node that can take it is bound without being asked, the first time, if it has room', async () => {
  const [node, peer, third] = await taskMesh(new MemoryNetwork(), ['a', 'b', 'c'])
  if (node === undefined || peer === undefined || third === undefined) throw new Error('no nodes')
  const known = (each: typeof node, change: Partial<typeof OWN> = {}) => ({
    node: each.id,
    name: each.name,
    isSelf: each === node,
    isMember: true,
    labels: ['isolate'],
    executors: [{ ...OWN, ...change }],
    rttMs: 1,
    distanceMs: undefined,
  })
  const search = async (isFirst: boolean, ...others: ReturnType<typeof known>[]) => {
    const { net, hands } = node
    const nodes = () => [known(node), ...others]
    const placer = new MeshPlacer({ net, hands, nodes, discover: async () => undefined, random: () => 0 })
    const requires = { capability: 'isolate', grade: undefined, labels: [], on: 'other' }
    const { input, candidates } = await placer.find(requires, { avoid: [], isFirst })
    return [input.bindNow, input.nodes.length, candidates.find((each) => each.node === peer.id)?.reason]
  }
  const why = '1 ms away, 4 of 4 slots free'
  expect(await search(true, known(peer))).toEqual([
    peer.id,
    0,
    `${why}; not asked first, since no other node can take it`,
  ])
  expect(await search(false, known(peer))).toEqual([undefined, 1, why])
  expect(await search(true, known(peer), known(third))).toEqual([undefined, 2, why])
  const [, asked] = await search(true, known(peer, { free: 0, queued: 1 }))
  expect(asked).toBe(1)
  await third.net.close()
  await peer.net.close()
  expect(await search(true, known(peer))).toEqual([undefined, 1, why])
  await node.net.close()
})

test('F11: a far node has the time to answer an offer', async () => {
  const [node, peer] = await taskMesh(new MemoryNetwork(), ['a', 'b'])
  if (node === undefined || peer === undefined) throw new Error('no nodes')
  const { net, hands } = node
  const facts = {
    ...{ node: peer.id, name: 'b', isSelf: false, isMember: true, labels: ['isolate'], executors: [OWN] },
    ...{ rttMs: 1_500, distanceMs: undefined },
  }
  const request = vi.spyOn(net, 'request')
  const placer = new MeshPlacer({ net, hands, nodes: () => [facts], discover: async () => undefined, random: () => 0 })
  const requires = { capability: 'isolate', grade: undefined, labels: [], on: 'any' }
  for (const [rttMs, most] of [
    [1_500, 6_500],
    [0, 2_000],
  ] as const) {
    vi.spyOn(net, 'rttMs').mockReturnValue(rttMs)
    await placer.offer(peer.id, 't', { programBytes: 1, inputBytes: 1 }, requires)
    expect(request.mock.lastCall?.[3]?.timeoutMs).toBe(most)
  }
  await peer.net.close()
  await net.close()
})

test('a node that does nothing for others still works for itself', async () => {
  const [node] = await taskMesh(new MemoryNetwork(), ['a'])
  if (node === undefined) throw new Error('no node')
  const { id, net, hands } = node
  const facts = {
    node: id,
    name: 'a',
    isSelf: true,
    isMember: true,
    labels: [],
    executors: [],
    rttMs: 0,
    distanceMs: undefined,
  }
  const requires = { capability: 'isolate', grade: undefined, labels: [], on: 'any' }
  const parts = { net, hands, nodes: () => [facts], discover: async () => undefined, random: () => 0 }
  const silent = await new MeshPlacer(parts).find(requires, { avoid: [], isFirst: true })
  expect(silent.input.hopeless).toMatchObject({ code: 'E_NO_CANDIDATE' })
  const found = await new MeshPlacer({ ...parts, own: () => OWN }).find(requires, { avoid: [], isFirst: true })
  expect(found.input.bindNow).toBe(id)
  await net.close()
})
