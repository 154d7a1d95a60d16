import { expect, test } from 'vitest'
import { EMPTY_TREE, encodeTree, type GitObject, gitObject } from '../store/git-object.ts'
import { listTree } from './list-tree.ts'

test('folders that hold nothing but folders are looked at once, however often they stand there', async () => {
  const made = new Map<string, GitObject>()
  const folder = (entries: Parameters<typeof encodeTree>[0]): string => {
    const tree = encodeTree(entries)
    made.set(tree.oid, tree)
    return tree.oid
  }
  const { oid: file } = gitObject('blob', Buffer.from('x'))
  const depth = 12
  let hollow = folder([])
  for (let level = 0; level < depth; level++)
    hollow = folder(['a', 'b'].map((name) => ({ mode: '40000', name, oid: hollow })))
  const some = folder([{ mode: '100644', name: 'file', oid: file }])
  const root = folder([
    { mode: '40000', name: 'a', oid: hollow },
    { mode: '40000', name: 'b', oid: some },
    { mode: '40000', name: 'c', oid: hollow },
    { mode: '40000', name: 'd', oid: some },
  ])
  let reads = 0
  const read = async (oid: string): Promise<Uint8Array> => {
    reads++
    return (made.get(oid) ?? EMPTY_TREE).content
  }
  const list = (after?: string) => listTree(root, { path: '', recursive: true, limit: 1, after }, read)
  const { entries, next } = await list()
  expect([entries.map(({ path }) => path), next]).toEqual([['b/file'], 'b/file'])
  expect((await list(next)).entries.map(({ path }) => path)).toEqual(['d/file'])
  expect(reads).toBeLessThan(4 * (depth + 4))
})
