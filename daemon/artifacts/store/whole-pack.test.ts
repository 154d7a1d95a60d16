import { readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { git, storeFixture, type StoreFixture, testCommit } from '../testing/store-fixture.ts'
import { KEEP_MS } from './collect-policy.ts'
import { gitObject } from './git-object.ts'

const main = 'refs/heads/main'
let now: number
let fixture: StoreFixture
let id: string
beforeEach(async () => {
  now = 1_800_000_000_000
  fixture = await storeFixture({ now: () => now })
  id = (await fixture.store.create({ name: 'n' })).id
})
afterEach(() => fixture.close())

const one = testCommit('one')
const two = testCommit('two', [one.oid])
const other = testCommit('other')
type Moves = readonly (readonly [ref: string, old: string | null, next: string | null])[]

async function move(moves: Moves, objects: typeof one.objects = []): Promise<void> {
  const all = moves.map(([ref, old, next]) => ({ ref, old, new: next }))
  await fixture.store.transact(id, all, { by: {}, objects })
}
const collect = () => fixture.store.collect(id, { keepRecent: true })

/** Whether a whole pack is offered, whose objects then are compared with those that refs reach. */
async function isOffered(): Promise<boolean> {
  const pack = await fixture.store.wholePack(id)
  if (pack === undefined) return false
  const { size } = await pack.file.stat()
  await pack.file.close()
  const path = await fixture.store.repository(id)
  const folder = join(path, 'objects', 'pack')
  const name = readdirSync(folder).find((each) => each.endsWith('.bitmap')) ?? ''
  const list = git(path, 'verify-pack', '-v', join(folder, name.replace('.bitmap', '.idx')))
  const inside = [...list.matchAll(/^([0-9a-f]{40}) (?:commit|tree|blob|tag)/gm)].map(([, oid]) => oid)
  const reached = git(path, 'rev-list', '--objects', '--no-object-names', '--all').trim().split('\n')
  expect([pack.bytes, new Set(inside)]).toEqual([size, new Set(reached)])
  return true
}

test('what was collected is offered whole until a ref moves, also after a restart', async () => {
  expect(await isOffered()).toBe(false)
  await move([[main, null, one.oid]], one.objects)
  expect(await isOffered()).toBe(false)
  await collect()
  expect(await isOffered()).toBe(true)
  await fixture.reopen()
  expect(await isOffered()).toBe(true)
  const pack = await fixture.store.wholePack(id)
  await pack?.file.close()
  expect(pack?.tips).toEqual(new Set([one.oid]))
  await move([[main, one.oid, two.oid]], two.objects)
  expect(await isOffered()).toBe(false)
  // what the ref named a moment ago is kept, but the new commit contains it
  await collect()
  expect(await isOffered()).toBe(true)
})

test('GIT-16: a pack with something that no ref reaches any more is never offered', async () => {
  await move([[main, null, one.oid]], one.objects)
  await move([[main, one.oid, other.oid]], other.objects)
  await collect()
  expect(git(await fixture.store.repository(id), 'cat-file', '-t', one.oid)).toBe('commit\n')
  expect(await isOffered()).toBe(false)
  now += KEEP_MS + 1
  await collect()
  expect(await isOffered()).toBe(true)
})

test('GIT-16: neither is one with a tag that was deleted, of a commit that is still there', async () => {
  await move([[main, null, one.oid]], one.objects)
  const text = `object ${one.oid}\ntype commit\ntag v1\ntagger a <a@example.com> 1 +0000\n\nsecret\n`
  const tag = gitObject('tag', Buffer.from(text))
  await move([['refs/tags/v1', null, tag.oid]], [tag])
  await collect()
  expect(await isOffered()).toBe(true)
  await move([['refs/tags/v1', tag.oid, null]])
  await collect()
  expect(await isOffered()).toBe(false)
})

test('a note that is damaged, or names a pack that is gone, offers nothing', async () => {
  await move([[main, null, one.oid]], one.objects)
  await collect()
  const path = await fixture.store.repository(id)
  const note = join(path, 'whole-pack')
  for (const text of ['', '{', '{"v":1}', 'x'.repeat(5_000)]) {
    writeFileSync(note, text)
    expect(await isOffered()).toBe(false)
  }
  rmSync(note)
  expect(await isOffered()).toBe(false)
  await collect()
  expect(await isOffered()).toBe(true)
  const folder = join(path, 'objects', 'pack')
  const pack = readdirSync(folder).find((name) => name.endsWith('.pack')) ?? ''
  renameSync(join(folder, pack), join(path, 'moved'))
  expect(await fixture.store.wholePack(id)).toBeUndefined()
})
