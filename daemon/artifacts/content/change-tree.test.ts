import { expect, test } from 'vitest'
import { decodeTree, encodeTree, gitObject, rawName, shownName } from '../store/git-object.ts'
import { changeTree } from './change-tree.ts'
import { listTree } from './list-tree.ts'

const blob = gitObject('blob', Buffer.from('x'))

test('a file beside one whose name is no UTF-8 leaves that one as it is', async () => {
  const odd = Buffer.from([0x66, 0xff, 0xc3, 0x28]).toString('latin1')
  const before = encodeTree([{ mode: '100644', name: odd, oid: blob.oid }])
  const kept = new Map([[before.oid, before.content]])
  const read = async (oid: string): Promise<Uint8Array> => kept.get(oid) ?? new Uint8Array(0)
  const { oid, objects } = await changeTree(before.oid, [{ path: 'größe/日本.txt', content: Buffer.from('x') }], read)
  for (const made of objects) kept.set(made.oid, made.content)
  expect(decodeTree(await read(oid ?? '')).map(({ name }) => name)).toEqual([odd, rawName('größe')])
  const { entries } = await listTree(oid ?? '', { path: '', recursive: true, limit: 10 }, read)
  expect(entries.map(({ path }) => path)).toEqual([shownName(odd), 'größe/日本.txt'])
})
