import { expect, test } from 'vitest'
import { taskMesh } from '../../test/support/task-node.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import { MeshPlacer } from './mesh-placer.ts'

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
  const size = { programBytes: 1, inputBytes: 1 }
  const silent = await new MeshPlacer(parts).find(requires, size, [])
  expect(silent.input.hopeless).toMatchObject({ code: 'E_NO_CANDIDATE' })
  const own = {
    kind: 'isolate',
    grade: 'jailed' as const,
    slots: 4,
    free: 4,
    queued: 0,
    maxMemoryBytes: 1 << 30,
    maxWallMs: 600_000,
  }
  const found = await new MeshPlacer({ ...parts, own: () => own }).find(requires, size, [])
  expect(found.input.bindNow).toBe(id)
  await net.close()
})
