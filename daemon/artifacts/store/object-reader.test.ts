/** One question about an object says nothing of another one. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { toMeshError } from '../../../protocol/errors.ts'
import { storeFixture, type StoreFixture, testCommit } from '../testing/store-fixture.ts'
import { gitObject } from './git-object.ts'
import { ObjectReader } from './object-reader.ts'

let fixture: StoreFixture
let reader: ObjectReader
beforeEach(async () => {
  fixture = await storeFixture()
  reader = new ObjectReader()
})
afterEach(async () => {
  await reader.close()
  await fixture.close()
})

test.each([1, 5])('%i that are too large are no fault of what is asked for at the same time', async (count) => {
  // Longer than a pipe holds: the rest of a refused answer comes after its refusal
  const large = Array.from({ length: count }, (_, index) => gitObject('blob', Buffer.alloc(80_000, index)))
  const { oid, objects } = testCommit('small')
  const { id } = await fixture.store.create({})
  const moves = [{ ref: 'refs/heads/main', old: null, new: oid }]
  await fixture.store.transact(id, moves, { by: {}, objects: [...objects, ...large] })
  const repository = await fixture.store.repository(id)
  const refused = large.map((blob) => reader.read(repository, blob.oid, 1_000))
  const read = await Promise.allSettled([...refused, reader.read(repository, oid)])
  const codes = read.map((each) => (each.status === 'rejected' ? toMeshError(each.reason).code : each.value?.oid))
  expect(codes).toEqual([...large.map(() => 'E_TOO_LARGE'), oid])
})
