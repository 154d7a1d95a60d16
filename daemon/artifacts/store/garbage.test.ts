import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { git, storeFixture, type StoreFixture, testCommit } from '../testing/store-fixture.ts'
import type { ArtifactStore } from './artifact-store.ts'
import { Catalog } from './catalog.ts'
import { KEEP_MS, MAX_PACKS } from './collect-policy.ts'
import { countFiles, isUnreached } from './garbage-signs.ts'
import { Housekeeping } from './housekeeping.ts'
import { ObjectReader } from './object-reader.ts'
import { Repositories } from './repositories.ts'
import { decodeLeftRow, TABLES } from './rows.ts'
import { Stagings } from './staging.ts'
import { sweepStrays } from './stray-folders.ts'
import { Turns } from './turns.ts'

const main = 'refs/heads/main'
const { signal } = new AbortController()
let now: number
let fixture: StoreFixture
let store: ArtifactStore
beforeEach(async () => {
  now = 1_800_000_000_000
  fixture = await storeFixture({ now: () => now })
  store = fixture.store
})
afterEach(() => fixture.close())

const leftSince = (id: string): number | undefined => {
  const row = fixture.journal.get(TABLES.left, id)
  return row && decodeLeftRow(row).since
}

test('what a ref moved away from stays for two weeks, then goes; nothing of it is seen', async () => {
  const { id } = await store.create({ name: 'n' })
  const one = testCommit('one')
  const other = testCommit('other')
  await store.transact(id, [{ ref: main, old: null, new: one.oid }], { by: {}, objects: one.objects })
  const forcedAt = now
  await store.transact(id, [{ ref: main, old: one.oid, new: other.oid }], { by: {}, objects: other.objects })
  now += KEEP_MS - 1
  await store.collect(id, { keepRecent: true })
  const path = await store.repository(id)
  expect(git(path, 'cat-file', 'blob', `${one.oid}:file.txt`)).toBe('one')
  expect(leftSince(id)).toBe(forcedAt)
  expect(git(path, 'for-each-ref', '--format=%(refname)')).not.toContain('kept')
  expect([existsSync(join(path, 'logs')), git(path, 'fsck', '--strict', '--no-dangling')]).toEqual([false, ''])
  // and can be taken back
  await store.transact(id, [{ ref: main, old: other.oid, new: one.oid }], { by: {} })
  await store.transact(id, [{ ref: main, old: one.oid, new: other.oid }], { by: {} })

  now += KEEP_MS + 1
  await store.collect(id, { keepRecent: true })
  expect(() => git(path, 'cat-file', '-e', one.oid)).toThrow()
  expect(leftSince(id)).toBeUndefined()
  expect(git(path, 'fsck', '--strict', '--unreachable')).toBe('')
})

test('what a quarantine sees while garbage is collected does not go', async () => {
  const { id } = await store.create({ name: 'n' })
  const one = testCommit('one')
  await store.transact(id, [{ ref: main, old: null, new: one.oid }], { by: {}, objects: one.objects })
  await store.transact(id, [{ ref: main, old: one.oid, new: null }], { by: {} })
  await store.repository(id)
  const collecting = store.collect(id)
  const staging = await store.stage(id)
  // Git writes no object that it finds in the repository
  for (const { type, content } of one.objects) {
    const file = join(fixture.root, 'pushed')
    writeFileSync(file, content)
    git(staging.path, 'hash-object', '-w', '-t', type, file)
  }
  await collecting
  const moves = [{ ref: main, old: null, new: one.oid }]
  await store.transact(id, moves, { by: {}, staging, checked: true })
  expect(git(await store.repository(id), 'log', '--format=%s', 'main')).toBe('one\n')
})

test('a collection that is ended leaves all there was', async () => {
  const { id } = await store.create({ name: 'n' })
  const one = testCommit('one')
  await store.transact(id, [{ ref: main, old: null, new: one.oid }], { by: {}, objects: one.objects })
  const reason = new Error('ended')
  await expect(store.collect(id, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  expect(git(await store.repository(id), 'log', '--format=%s', 'main')).toBe('one\n')
})

test('objects without a bitmap are counted, and a collection leaves none', async () => {
  const { id } = await store.create({ name: 'n' })
  const one = testCommit('one')
  await store.transact(id, [{ ref: main, old: null, new: one.oid }], { by: {}, objects: one.objects })
  const path = await store.repository(id)
  const objects = git(path, 'cat-file', '--batch-all-objects', '--batch-check').trim().split('\n').length
  expect((await countFiles(path)).unmapped).toBe(objects)
  await store.collect(id)
  expect((await countFiles(path)).unmapped).toBe(0)
})

test('packs are counted, and tips no ref reaches are told from those one does', async () => {
  const { id } = await store.create({ name: 'n' })
  const one = testCommit('one')
  const two = testCommit('two', [one.oid])
  const lost = testCommit('lost')
  await store.transact(id, [{ ref: main, old: null, new: lost.oid }], { by: {}, objects: lost.objects })
  await store.transact(id, [{ ref: main, old: lost.oid, new: one.oid }], { by: {}, objects: one.objects })
  await store.transact(id, [{ ref: main, old: one.oid, new: two.oid }], { by: {}, objects: two.objects })
  const path = await store.repository(id)
  expect(await isUnreached(path, [one.oid], signal)).toBe(false)
  expect(await isUnreached(path, ['0123456789'.repeat(4)], signal)).toBe(false)
  expect(await isUnreached(path, [one.oid, lost.oid], signal)).toBe(true)
  for (let index = 0; index < MAX_PACKS; index++) writeFileSync(join(path, 'objects/pack', `x-${index}.pack`), '')
  expect((await countFiles(path)).packs).toBeGreaterThan(MAX_PACKS)
  expect(await countFiles(join(fixture.root, 'nowhere'))).toEqual({ packs: 0, loose: 0, unmapped: 0 })
})

test('folders that belong to no artifact go; those of artifacts and what is not ours stay', async () => {
  const { id } = await store.create({ name: 'n' })
  const path = await store.repository(id)
  const stray = `a${'bcd2'.repeat(8)}`
  const strayPath = join(fixture.root, 'bc', 'd2', stray)
  mkdirSync(join(strayPath, 'objects'), { recursive: true })
  mkdirSync(join(fixture.root, 'bc', 'd2', 'else'), { recursive: true })
  mkdirSync(join(fixture.root, 'zz', 'zz', stray), { recursive: true })
  const seen: string[] = []
  const sweep = (signal: AbortSignal): Promise<number> =>
    sweepStrays({
      root: fixture.root,
      isKnown: (one) => store.get(one) !== undefined,
      remove: async (one) => void seen.push(one),
      signal,
      pauseMs: 0,
    })
  expect(await sweep(AbortSignal.abort())).toBe(0)
  expect(await sweep(signal)).toBe(1)
  expect([seen, existsSync(path)]).toEqual([[stray], true])
  expect(
    await sweepStrays({ root: join(fixture.root, 'none'), isKnown: () => false, remove: async () => {}, signal }),
  ).toBe(0)
})

test('of those, what is known or coming in by the time of its turn stays', async () => {
  const { root, journal } = fixture
  const reader = new ObjectReader()
  const catalog = new Catalog(journal)
  const repositories = new Repositories(root, journal, catalog, reader)
  const stagings = new Stagings(() => repositories.stagingFolder())
  const housekeeping = new Housekeeping({
    ...{ root, journal, catalog, repositories, stagings, turns: new Turns(), wallMs: () => now },
    repository: (id) => store.repository(id),
    collect: async () => {},
    onFault: (_, error) => expect.unreachable(String(error)),
  })
  const { id } = await store.create({ name: 'n' })
  const stray = `a${'bcd2'.repeat(8)}`
  const coming = `a${'cbd2'.repeat(8)}`
  for (const one of [stray, coming]) mkdirSync(join(repositories.path(one), 'objects'), { recursive: true })
  const staging = await stagings.open(coming, undefined, 'main')
  await store.repository(id)
  expect(await housekeeping.sweep(0)).toBe(2)
  expect([stray, coming, id].map((one) => existsSync(repositories.path(one)))).toEqual([false, true, true])
  await staging.discard()
  await housekeeping.close()
  await reader.close()
})

test('records of an unknown artifact that are refused leave no folder', async () => {
  const other = await storeFixture()
  try {
    const { id } = await other.store.create({ name: 'n' })
    const tip = testCommit('x')
    await other.store.transact(id, [{ ref: main, old: null, new: tip.oid }], { by: {}, objects: tip.objects })
    const envelopes = await other.store.envelopes(id, other.store.writer)
    // the objects its record names are missing
    await expect(store.adopt(id, envelopes)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
    const folders = readdirSync(fixture.root, { recursive: true }).map(String)
    expect(folders.filter((folder) => folder.includes(id))).toEqual([])
  } finally {
    await other.close()
  }
})
