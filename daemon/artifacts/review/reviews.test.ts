/** Merging, seen from two who do it at once. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { storeFixture, type StoreFixture, testCommit, testSigner } from '../testing/store-fixture.ts'
import { readEvents } from './event-chain.ts'
import { Reviews } from './reviews.ts'

let fixture: StoreFixture
let id: string
let onMerge: () => Promise<void>
let reviews: Reviews

beforeEach(async () => {
  onMerge = () => Promise.resolve()
  fixture = await storeFixture()
  id = (await fixture.store.create({})).id
  const { oid, objects } = testCommit('proposed')
  await fixture.store.transact(id, [{ ref: 'refs/heads/fix', old: null, new: oid }], { by: {}, objects })
  reviews = new Reviews({
    store: fixture.store,
    signer: testSigner(1),
    merge: async (_artifact, from) => {
      const other = onMerge
      onMerge = () => Promise.resolve()
      await other()
      return from
    },
    titleOf: () => Promise.resolve('Fix'),
    onEvent: () => undefined,
    now: () => 1_700_000_000_000,
  })
})
afterEach(() => fixture.close())

test('of two merges at once one is told, so that what a merge starts is started once', async () => {
  const { id: proposal } = await reviews.create(id, { from: 'fix' }, {})
  onMerge = async () => void (await reviews.merge(id, proposal, undefined, {}))
  await expect(reviews.merge(id, proposal, undefined, {})).rejects.toMatchObject({ code: 'E_CONFLICT' })
  const acts = (await readEvents(fixture.store, id, proposal)).map(({ event }) => event.act.type)
  expect(acts).toEqual(['create', 'merge'])
  expect(await reviews.show(id, proposal)).toMatchObject({ state: 'merged' })
})
