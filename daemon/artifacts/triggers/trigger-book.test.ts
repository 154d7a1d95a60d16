/** Every push that a trigger is for starts its task, once, whatever fails or comes at the same time. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { storageError } from '../../journal/errors.ts'
import type { NewRecord } from '../../journal/journal.ts'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { ARTIFACT_RECORDS } from '../store/journal-store.ts'
import { storeFixture, type StoreFixture, testCommit, testSigner } from '../testing/store-fixture.ts'
import { TRIGGER_RECORDS, TriggerBook } from './trigger-book.ts'

const main = 'refs/heads/main'
let fixture: StoreFixture
let book: TriggerBook
let id: string
/** Ends of the keys of tasks that were started: the sequences of their records */
let started: number[]
let failures: number
let tip: string | null

beforeEach(async () => {
  started = []
  failures = 0
  tip = null
  const journal = new MemoryJournal({ types: [...ARTIFACT_RECORDS, ...TRIGGER_RECORDS] })
  fixture = await storeFixture({ journal })
  book = bookOf(fixture)
})
afterEach(async () => {
  await book.close()
  await fixture.close()
})

function bookOf({ store, journal }: StoreFixture): TriggerBook {
  const run = (_request: unknown, { key = '' }: { key?: string }) => {
    if (failures-- > 0) return Promise.reject(storageError('it is full'))
    started.push(Number(key.split('/').at(-1)))
    const task = { id: `t${started.length}`, kind: 'run', state: 'submitted', program: '', createdAt: '' } as const
    return Promise.resolve({ ...task, attempts: 0 })
  }
  const ways = { onEvent: () => undefined, note: () => undefined, wallMs: () => 0, now: () => 0 }
  return new TriggerBook({ store, journal, tasks: { run }, ...ways })
}

const add = (artifact: string) =>
  book.add(artifact, { name: 'build', on: 'push', program: { source: '' }, perMinute: 100 }, 'ada')

async function push(at: StoreFixture, text: string): Promise<void> {
  const { oid, objects } = testCommit(text, tip === null ? [] : [tip])
  await at.store.transact(id, [{ ref: main, old: tip, new: oid }], { by: {}, objects })
  tip = oid
}

test('a push that could not be looked at is looked at with the next one, in order', async () => {
  const made = await fixture.store.create({})
  id = made.id
  await add(id)
  failures = 1
  await push(fixture, 'one')
  await book.settled()
  expect(started).toEqual([])
  await push(fixture, 'two')
  await push(fixture, 'three')
  await book.settled()
  expect(started).toEqual([2, 3, 4])
  expect(await book.list(id)).toMatchObject([{ started: 3, dropped: 0 }])
})

test('records of another node that come together are looked at one by one, and not again after a restart', async () => {
  const other = await storeFixture({ signer: testSigner(2) })
  try {
    const made = await other.store.create({})
    id = made.id
    const { writer } = other.store
    await fixture.store.adopt(id, await other.store.envelopes(id, writer))
    await add(id)
    const objects = []
    for (const text of ['one', 'two']) {
      objects.push(...testCommit(text, tip === null ? [] : [tip]).objects)
      await push(other, text)
    }
    await fixture.store.adopt(id, await other.store.envelopes(id, writer, 1), { objects })
    await book.settled()
    expect(started).toEqual([2, 3])
    await book.close()
    book = bookOf(fixture)
    await book.recover()
    await book.settled()
    expect(started).toEqual([2, 3])
  } finally {
    await other.close()
  }
})

/** Stores triggers when it is told to. */
class SlowJournal extends MemoryJournal {
  readonly gate = Promise.withResolvers<void>()

  override async append(record: NewRecord): Promise<number> {
    if (record.type === 'trigger.set') await this.gate.promise
    return super.append(record)
  }
}

test('a push that comes while a trigger is being stored is looked at', async () => {
  const journal = new SlowJournal({ types: [...ARTIFACT_RECORDS, ...TRIGGER_RECORDS] })
  const slow = await storeFixture({ journal })
  await book.close()
  book = bookOf(slow)
  try {
    const made = await slow.store.create({})
    id = made.id
    const adding = add(id)
    await new Promise(setImmediate)
    await push(slow, 'one')
    journal.gate.resolve()
    await adding
    await book.settled()
    expect(started).toEqual([2])
  } finally {
    await slow.close()
  }
})
