import { afterEach, beforeEach, expect, test } from 'vitest'
import { addNote, readNote } from './notes.ts'
import { gitObject } from './store/git-object.ts'
import type { OpenStore } from './store/journal-store.ts'
import { git, storeFixture, type StoreFixture, testCommit } from './testing/store-fixture.ts'

const main = 'refs/heads/main'
const by = { agent: 'ada' }
let fixture: StoreFixture
let store: OpenStore
let artifact: string
let commit: string
beforeEach(async () => {
  fixture = await storeFixture()
  store = fixture.store
  artifact = (await store.create({ name: 'noted' })).id
  const made = testCommit('one')
  commit = made.oid
  await store.transact(artifact, [{ ref: main, old: null, new: commit }], { by, objects: made.objects })
})
afterEach(() => fixture.close())

const note = (text: string, kind = 'commits') => addNote(store, { artifact, kind, commit, text }, by)

test('are written so that Git shows them, each kind apart, and replaced', async () => {
  expect(await readNote(store, artifact, 'commits', commit)).toBeUndefined()
  expect(await note('first')).toMatchObject({ ref: 'refs/notes/commits', sequence: 3 })
  await note('a prompt\n', 'prompts')
  await note('second')
  expect(await readNote(store, artifact, 'commits', commit)).toBe('second\n')
  const path = await store.repository(artifact)
  expect(git(path, 'notes', 'show', commit)).toBe('second\n')
  expect(git(path, 'notes', '--ref', 'prompts', 'show', commit)).toBe('a prompt\n')
  expect(git(path, 'fsck', '--strict')).toBe('')
  expect((await store.record(artifact, store.writer, 3)).record).toMatchObject({ by })
})

test('of other commits stay; one that Git has spread over folders keeps its place', async () => {
  const spread = `${commit.slice(0, 2)}/${commit.slice(2)}`
  const path = await store.repository(artifact)
  const other = testCommit('by Git', [], 'placeholder')
  await note('flat')
  const flat = store.refs(artifact).get('refs/notes/commits') ?? null
  // the same note, as Git writes it where there are many
  const blob = gitObject('blob', Buffer.from('spread\n'))
  const inner = gitObject(
    'tree',
    Buffer.concat([Buffer.from(`100644 ${commit.slice(2)}\0`), Buffer.from(blob.oid, 'hex')]),
  )
  const root = gitObject(
    'tree',
    Buffer.concat([Buffer.from(`40000 ${commit.slice(0, 2)}\0`), Buffer.from(inner.oid, 'hex')]),
  )
  const text = `tree ${root.oid}\nauthor A <a@b.c> 1 +0000\ncommitter A <a@b.c> 1 +0000\n\nspread\n`
  const made = gitObject('commit', Buffer.from(text))
  await store.transact(artifact, [{ ref: 'refs/notes/commits', old: flat, new: made.oid }], {
    by,
    objects: [blob, inner, root, made],
  })
  expect(await readNote(store, artifact, 'commits', commit)).toBe('spread\n')
  await note('changed')
  await addNote(store, { artifact, kind: 'commits', commit: other.oid, text: 'of another' }, by)
  await store.repository(artifact)
  const names = git(path, 'ls-tree', '-r', '--name-only', 'refs/notes/commits').trim().split('\n')
  expect(names.sort()).toEqual([spread, other.oid].sort())
  expect(git(path, 'notes', 'show', commit)).toBe('changed\n')
})

test('of many who write at the same time none is lost', async () => {
  const kinds = ['a', 'b', 'c']
  const commits = kinds.map((kind) => testCommit(kind).oid)
  await Promise.all(
    commits.map((oid, index) =>
      addNote(store, { artifact, kind: 'commits', commit: oid, text: kinds[index] ?? '' }, by),
    ),
  )
  expect(await Promise.all(commits.map((oid) => readNote(store, artifact, 'commits', oid)))).toEqual([
    'a\n',
    'b\n',
    'c\n',
  ])
})

test.each(['../heads/main', 'a..b', 'x.lock', ''])('a kind named %j is refused', async (kind) => {
  await expect(note('x', kind)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
  expect([...store.refs(artifact).keys()]).toEqual([main])
})
