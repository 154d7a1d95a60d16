/** An owner follows its delegates, also when its disk fails or it dies between taking their records and making its own. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FailingJournal } from '../testing/failing-journal.ts'
import { storeFixture, type StoreFixture, testCommit, testSigner } from '../testing/store-fixture.ts'
import { ARTIFACT_RECORDS } from './journal-store.ts'
import { TABLES } from './rows.ts'

const main = 'refs/heads/main'
const side = 'refs/heads/side'
const by = {}
const first = testCommit('first')
let journal: FailingJournal
let owner: StoreFixture
let delegate: StoreFixture
let id: string
const faults: string[] = []

/** A delegate has gone forward from where the owner stands, and the owner has taken its record and could not follow. */
beforeEach(async () => {
  faults.length = 0
  journal = new FailingJournal(ARTIFACT_RECORDS, 'artifact.adopted')
  owner = await storeFixture({ journal, onFault: (what) => void faults.push(what) })
  delegate = await storeFixture({ signer: testSigner(2) })
  const made = await owner.store.create({ settings: { delegates: [delegate.store.writer] } })
  id = made.id
  await owner.store.transact(id, [{ ref: main, old: null, new: first.oid }], { by, objects: first.objects })
  const records = await owner.store.envelopes(id, owner.store.writer)
  await delegate.store.adopt(id, records, { objects: first.objects })
  await offer(main, first.oid, 'second')
})
afterEach(async () => {
  await owner.close()
  await delegate.close()
})

/** @returns the commit */
async function offer(ref: string, old: string | null, text: string): Promise<string> {
  const { oid, objects } = testCommit(text, old === null ? [] : [old])
  await delegate.store.transact(id, [{ ref, old, new: oid }], { by, objects })
  const { writer } = delegate.store
  const after = owner.store.heads(id).get(writer)?.sequence ?? 0
  await owner.store.adopt(id, await delegate.store.envelopes(id, writer, after), { objects })
  return oid
}

const at = (ref: string): string | undefined => owner.store.refs(id, { as: null }).get(ref)
const offered = (): string | undefined => delegate.store.refs(id).get(main)
const left = () => journal.range(TABLES.offer)

test('after a restart it follows', async () => {
  expect([at(main), faults]).toEqual([first.oid, ['a delegate is not followed yet']])
  journal.mend()
  await owner.reopen()
  expect(at(main)).toBe(offered())
  expect(await left()).toEqual([])
  const { record } = await owner.store.record(id, owner.store.writer, 3)
  expect(record.by.reason).toBe(`follows the delegate ${delegate.store.writer}`)
})

test('with the next records it follows in all that was offered, each from where it was', async () => {
  const before = offered()
  journal.mend()
  // The disk fails once more, so that two offers are put together
  await offer(side, null, 'new')
  journal.mend()
  const tip = await offer(side, delegate.store.refs(id).get(side) ?? null, 'newer')
  journal.mend()
  await owner.reopen()
  expect([at(main), at(side)]).toEqual([before, tip])
  expect(await left()).toEqual([])
})

test('what the owner itself moved meanwhile is offered no more', async () => {
  journal.mend()
  const own = testCommit('other')
  await owner.store.transact(id, [{ ref: main, old: first.oid, new: own.oid }], { by, objects: own.objects })
  await owner.store.transact(id, [{ ref: main, old: own.oid, new: first.oid }], { by })
  expect(await left()).toEqual([])
  await owner.reopen()
  expect(at(main)).toBe(first.oid)
})

test('what it does not take over is no burden later', async () => {
  journal.mend()
  await owner.store.update(id, { delegates: [] }, by)
  await owner.reopen()
  expect([at(main), await left()]).toEqual([first.oid, []])
})
