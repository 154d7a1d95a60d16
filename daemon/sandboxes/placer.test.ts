import { expect, it } from 'vitest'
import type { NodeFacts } from '../../protocol/placement/rank.ts'
import { SandboxPlacer } from './placer.ts'

it('slots of none keep other nodes away, and not the user of the node', async () => {
  const facts = (node: string, isSelf: boolean): NodeFacts => ({
    ...{ node, name: node, isSelf, isMember: true, labels: ['sandbox', 'image/default'], rttMs: 1, distanceMs: 1 },
    executors: [{ kind: 'sandbox', grade: 'jailed', slots: 0, free: 0, queued: 0, maxMemoryBytes: 0, maxWallMs: 0 }],
  })
  const placer = new SandboxPlacer({
    self: 'home',
    nodes: () => [facts('home', true), facts('bob', false)],
    discover: async () => undefined,
    random: () => 0,
  })
  for (const on of ['any', 'local']) expect(await placer.candidates({}, on)).toEqual(['home'])
  expect(await placer.candidates({}, 'bob')).toEqual([])
  expect(placer.hopeless({}, 'bob').message).toContain('it has no slots')
})
