/** What an undo takes back is the task's own work, also where others moved the same branch between two of its moves. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { storeFixture, type StoreFixture, testCommit } from '../testing/store-fixture.ts'
import { undoTask } from './undo.ts'

const main = 'refs/heads/main'
let fixture: StoreFixture
let id: string
let tip: string | null

beforeEach(async () => {
  tip = null
  fixture = await storeFixture()
  id = (await fixture.store.create({})).id
})
afterEach(() => fixture.close())

async function move(text: string, task?: string): Promise<void> {
  const { oid, objects } = testCommit(text, tip === null ? [] : [tip])
  const by = task === undefined ? {} : { task }
  await fixture.store.transact(id, [{ ref: main, old: tip, new: oid }], { by, objects })
  tip = oid
}

function undo() {
  const { store, journal } = fixture
  return undoTask({ store, journal, isTask: () => true, now: () => 0 }, 't1', false, {})
}

async function expectRefused(refused: string): Promise<void> {
  expect(await undo()).toMatchObject({ undone: false, artifacts: [{ refused }] })
  expect(fixture.store.refs(id).get(main)).toBe(tip)
}

test('several moves of one task are taken back together', async () => {
  await move('before')
  await move('one', 't1')
  await move('two', 't1')
  expect(await undo()).toMatchObject({ undone: true })
  expect(await undo(), 'a second time there is nothing left of it').toMatchObject({ undone: true })
  const repository = await fixture.store.repository(id)
  const file = await fixture.store.reader.read(repository, `${fixture.store.refs(id).get(main)}:file.txt`)
  expect(Buffer.from(file?.content ?? []).toString()).toBe('before')
})

test('it is refused when somebody changed the same path between two moves of the task', async () => {
  await move('before')
  await move('one', 't1')
  await move('by somebody else')
  await move('two', 't1')
  await expectRefused('others changed file.txt between two changes of the task')
})

test('it goes through when they put the path back as it was', async () => {
  await move('before')
  await move('one', 't1')
  await move('before')
  await move('two', 't1')
  expect(await undo()).toMatchObject({ undone: true })
})

test('it does not remove a branch that the task made when others committed to it between two of its moves', async () => {
  await move('one', 't1')
  await move('by somebody else')
  await move('two', 't1')
  await expectRefused('others moved it in between, and the task had made or removed it')
})
