/** Every artifact here has a name of its own, whatever its owner calls it. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { setTimeout as sleep } from 'node:timers/promises'
import type { NewRecord } from '../../journal/journal.ts'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { storeFixture, type StoreFixture, testSigner } from '../testing/store-fixture.ts'
import type { ArtifactStore } from './artifact-store.ts'
import { ARTIFACT_RECORDS } from './journal-store.ts'

/** Its disk takes a moment. */
class SlowJournal extends MemoryJournal {
  override async append(record: NewRecord): Promise<number> {
    await sleep(20)
    return super.append(record)
  }
}

let fixture: StoreFixture
let other: StoreFixture
let store: ArtifactStore
beforeEach(async () => {
  fixture = await storeFixture({ journal: new SlowJournal({ types: ARTIFACT_RECORDS }) })
  other = await storeFixture({ signer: testSigner(2) })
  store = fixture.store
})
afterEach(async () => {
  await fixture.close()
  await other.close()
})

const names = async (): Promise<string[]> => (await store.list()).items.map(({ name }) => name)

/** An artifact of another node by that name, as its records. */
async function foreign(name: string): Promise<{ readonly id: string; readonly texts: readonly string[] }> {
  const { id } = await other.store.create({ name })
  const texts = await other.store.envelopes(id, other.store.writer)
  await other.store.remove(id, {})
  return { id, texts }
}

test('two copies of one name that come at once', async () => {
  const copies = [await foreign('same'), await foreign('same')]
  await Promise.all(copies.map(({ id, texts }) => store.adopt(id, texts)))
  expect(new Set((await store.list()).items.map(({ id }) => id))).toEqual(new Set(copies.map(({ id }) => id)))
})

test('a copy that comes while its name is given to a new artifact', async () => {
  const { id, texts } = await foreign('same')
  const [, made] = await Promise.all([store.adopt(id, texts), store.create({ name: 'same' })])
  expect([store.get('same')?.id, (await names()).length]).toEqual([made.id, 2])
})

test('an own artifact that has another name here keeps it when something else of it is changed', async () => {
  const { id } = await store.create({ name: 'notes' })
  const texts = await store.envelopes(id, store.writer)
  await store.remove(id, {})
  const taken = await store.create({ name: 'notes' })
  await store.adopt(id, texts)
  const name = store.require(id).name
  await store.update(id, { description: 'old notes' }, {})
  expect([store.require(id).name, store.get('notes')?.id]).toEqual([name, taken.id])
  await expect(store.update(id, { name: 'notes' }, {})).rejects.toMatchObject({ code: 'E_CONFLICT' })
  await store.remove(taken.id, {})
  await store.update(id, { name: 'notes' }, {})
  expect(await names()).toEqual(['notes'])
})
