import { expect, test } from 'vitest'
import type { Mesh } from '../../sdk/src/index.ts'
import { nodeIds } from './node-names.ts'

test('nodes are named by name or id; what nobody is called is left to be refused', async () => {
  const status = () => Promise.resolve({ id: 'id-here', name: 'here' })
  const peers = () => Promise.resolve([{ id: 'id-far', name: 'far' }])
  const mesh = { status, peers } as unknown as Mesh
  expect(await nodeIds(mesh, ['far', 'id-far', 'here', 'nobody'])).toEqual(['id-far', 'id-far', 'id-here', 'nobody'])
  expect(await nodeIds(mesh, [])).toEqual([])
})
