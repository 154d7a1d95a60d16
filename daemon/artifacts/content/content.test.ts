import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { git, storeFixture, type StoreFixture } from '../testing/store-fixture.ts'
import { Content } from './content.ts'
import { overlaid } from '../../../test/support/overlaid.ts'

let fixture: StoreFixture
let content: Content
let id: string
beforeEach(async () => {
  fixture = await storeFixture()
  content = new Content(fixture.store, () => 1_700_000_000_000)
  id = (await fixture.store.create({ name: 'notes' })).id
})
afterEach(() => fixture.close())

const by = { agent: 'ada' }
const file = (path: string, text: string | null) => ({ path, content: text === null ? null : Buffer.from(text) })
const write = (files: Record<string, string | null>, more: object = {}) =>
  content.commit(id, {
    files: Object.entries(files).map(([path, text]) => file(path, text)),
    message: 'change',
    by,
    ...more,
  })
const text = async (path: string, rev?: string) =>
  Buffer.from((await content.read(id, path, rev === undefined ? {} : { rev })).content).toString()
const repository = () => fixture.store.repository(id)

describe('commit', () => {
  test('makes what Git itself would make of the same files', async () => {
    await write({ 'README.md': '# hi\n', 'a/b/c.txt': 'deep', 'a/d': 'd', 'a.txt': 'sorts before a/' })
    const { commit } = await write({ 'a/b/c.txt': null, 'a/e': 'e' })
    const path = await repository()
    expect(git(path, 'fsck', '--strict', '--full')).toBe('')
    expect(git(path, 'ls-tree', '-r', '--name-only', 'main')).toBe('README.md\na.txt\na/d\na/e\n')
    expect(git(path, 'rev-parse', 'main')).toBe(`${commit}\n`)
    expect(git(path, 'log', '-1', '--format=%an %ae %at %s', 'main')).toBe(
      'ada nobody@manyhands.invalid 1700000000 change\n',
    )
  })

  test('an expected head that is elsewhere moves nothing', async () => {
    const one = await write({ f: '1' }, { expectedHead: null })
    await write({ f: '2' }, { expectedHead: one.commit })
    await expect(write({ f: '3' }, { expectedHead: one.commit })).rejects.toMatchObject({ code: 'E_REF_CONFLICT' })
    await expect(write({ f: '3' }, { expectedHead: null })).rejects.toMatchObject({ code: 'E_REF_CONFLICT' })
    expect(await text('f')).toBe('2')
  })

  test('a new branch begins where it is told by the move that commits to it, or not at all', async () => {
    const { commit } = await write({ f: '1' })
    const more = { branch: 'next', from: 'main' }
    await expect(write({ absent: null }, more)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await expect(write({ f: '2' }, { ...more, expectedHead: '1'.repeat(40) })).rejects.toMatchObject({
      code: 'E_REF_CONFLICT',
    })
    expect([...fixture.store.refs(id).keys()]).toEqual(['refs/heads/main'])
    const { sequence } = fixture.store.heads(id).get(fixture.store.writer) ?? { sequence: 0 }
    const next = await write({ g: '2' }, { ...more, expectedHead: commit })
    expect(next.sequence).toBe(sequence + 1)
    expect((await content.log(id, { rev: 'next' })).commits.map(({ oid }) => oid)).toEqual([next.commit, commit])
    expect(await write({ f: '1' }, { branch: 'same', from: 'main' })).toMatchObject({ commit, changed: false })
    expect(fixture.store.refs(id).get('refs/heads/same')).toBe(commit)
  })

  test('a push to the branch meanwhile is built upon, unless a head was expected', async () => {
    const base = await write({ f: '1' })
    const pushed = await write({ g: '1' }, { branch: 'pushed', from: 'main' })
    let pushes = 0
    const transact: StoreFixture['store']['transact'] = async (...of) => {
      const move = { ref: 'refs/heads/main', old: base.commit, new: pushed.commit }
      if (pushes++ === 0) await fixture.store.transact(id, [move], { by: {} })
      return fixture.store.transact(...of)
    }
    const racing = new Content(overlaid(fixture.store, { transact }))
    const change = { files: [file('f', '2')], message: 'change', by }
    expect((await racing.commit(id, change)).changed).toBe(true)
    expect([await text('f'), await text('g')]).toEqual(['2', '1'])
    pushes = 0
    await expect(racing.commit(id, { ...change, expectedHead: base.commit })).rejects.toMatchObject({
      code: 'E_REF_CONFLICT',
    })
  })

  test('many at once without one all land, one after another', async () => {
    await Promise.all(Array.from({ length: 12 }, (_, index) => write({ [`f${index}`]: `${index}` })))
    expect((await content.list(id)).entries).toHaveLength(12)
    expect((await content.log(id)).commits).toHaveLength(12)
  })

  test('nothing changed makes no commit; removing all leaves an empty tree', async () => {
    const one = await write({ f: '1' })
    expect(await write({ f: '1' })).toMatchObject({ commit: one.commit, changed: false })
    await write({ f: null })
    expect((await content.list(id)).entries).toEqual([])
    await write({ f: 'again' })
    expect(git(await repository(), 'fsck', '--strict')).toBe('')
  })

  test('keeps what is executable, and sets it', async () => {
    await content.commit(id, {
      files: [{ path: 'run', content: Buffer.from('#!'), executable: true }],
      message: 'm',
      by,
    })
    await write({ run: '#!/bin/sh' })
    expect(await content.read(id, 'run')).toMatchObject({ executable: true })
    expect(git(await repository(), 'ls-tree', 'main').slice(0, 6)).toBe('100755')
  })

  test('GIT-07: a file named __proto__ is a file like any other', async () => {
    const files = JSON.parse('{"__proto__":"x","constructor/prototype":"y"}') as Record<string, string>
    await write(files)
    expect([await text('__proto__'), await text('constructor/prototype')]).toEqual(['x', 'y'])
    expect(Object.hasOwn(Object.prototype, 'content')).toBe(false)
  })

  test.each([
    '.git/config',
    'a/.GIT/x',
    'git~1',
    'GIT~1/x',
    '.git\u200c',
    '.g\u200dit/x',
    '.git. ',
    '.git::$INDEX_ALLOCATION',
    '../x',
    'a/../b',
    'a//b',
    '/etc/passwd',
    'a/',
    '',
    'a\\b',
    'a\nb',
    'a\0b',
    '.gitmodules',
    '.GITMODULES',
    'gitmod~1',
    'x'.repeat(256),
    '\ud800',
  ])('GIT-07: %j is refused', async (path) => {
    await expect(write({ [path]: 'x' })).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
    await expect(content.read(id, path)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
  })

  test.each([
    { message: '' },
    { message: 'a\0b' },
    { branch: '../x' },
    { branch: '-x' },
    { branch: 'a.lock' },
    { branch: '__proto__' },
    { author: { name: 'a\nparent x' } },
    { author: { name: 'a', email: 'x> 0 +0000\n' } },
  ])('what would break out of a commit or a ref is refused: %j', async (more) => {
    await expect(write({ f: '1' }, more)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
  })

  test('a file in the way of a folder, and the other way round', async () => {
    await write({ 'a/b': '1', c: '2' })
    await expect(write({ a: 'x' })).rejects.toMatchObject({ code: 'E_CONFLICT' })
    await expect(write({ 'c/d': 'x' })).rejects.toMatchObject({ code: 'E_CONFLICT' })
    await expect(write({ 'x/y': 'x', x: 'y' })).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
    await expect(write({ none: null })).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await write({ a: null, 'a2/b': 'moved' })
    expect((await content.list(id, { recursive: true })).entries.map(({ path }) => path)).toEqual(['a2/b', 'c'])
  })

  test('a large file, even the very first, does not stand in the journal, and survives another start', async () => {
    const large = randomBytes(600_000)
    await content.commit(id, { files: [{ path: 'large', content: large }], message: 'm', by })
    const rows = await fixture.journal.range('artifact-pending')
    expect(rows.every(({ value }) => value.length < 300_000)).toBe(true)
    const store = await fixture.reopen()
    const { content: found } = await new Content(store).read(id, 'large')
    expect(large.equals(found)).toBe(true)
    expect(git(await store.repository(id), 'fsck', '--strict', '--full')).toBe('')
  })
})

describe('read, list, log, diff', () => {
  test('by branch, tag, commit and full name; nothing else is a revision', async () => {
    const one = await write({ 'd/f': '1' })
    await write({ 'd/f': '2' }, { branch: 'main' })
    await fixture.store.transact(id, [{ ref: 'refs/tags/v1', old: null, new: one.commit }], { by })
    expect([
      await text('d/f'),
      await text('d/f', 'v1'),
      await text('d/f', one.commit),
      await text('d/f', 'refs/heads/main'),
    ]).toEqual(['2', '1', '1', '2'])
    for (const rev of [
      'main~1',
      'HEAD',
      '-x',
      '--output=/tmp/x',
      ':/change',
      'f'.repeat(40),
      one.commit.slice(0, 10),
    ]) {
      await expect(content.read(id, 'd/f', { rev })).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    }
    await expect(content.read(id, 'd')).rejects.toMatchObject({ code: 'E_CONFLICT' })
    await expect(content.read(id, 'd/none')).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await expect(content.read(id, 'd/f', { maxBytes: 0 })).rejects.toMatchObject({ code: 'E_TOO_LARGE' })
    expect(await text('d/f')).toBe('2')
  })

  test("pages of a listing join up to the whole, in Git's order", async () => {
    const names = ['a', 'a.b', 'a/', 'b/c/d', 'b/c.d', 'b-', 'z/z/z', 'z0'].map((name) =>
      name.endsWith('/') ? `${name.slice(0, -1)}x/y` : name,
    )
    await write(Object.fromEntries(names.map((name) => [name, name])))
    for (const recursive of [true, false]) {
      const all: string[] = []
      for (let after: string | undefined; ; ) {
        const page = await content.list(id, { recursive, limit: 2, ...(after === undefined ? {} : { after }) })
        all.push(...page.entries.map(({ path }) => path))
        after = page.next
        if (after === undefined) break
      }
      expect(all.join('\n')).toBe(
        git(await repository(), 'ls-tree', '--name-only', ...(recursive ? ['-r'] : []), 'main').trim(),
      )
    }
    expect((await content.list(id, { path: 'b' })).entries.map(({ path, type }) => `${path} ${type}`)).toEqual([
      'b/c.d file',
      'b/c folder',
    ])
  })

  test('log by page and by path', async () => {
    for (let number = 1; number <= 5; number++)
      await write({ [number % 2 === 0 ? 'even' : 'odd']: `${number}` }, { message: `${number}` })
    const first = await content.log(id, { limit: 2 })
    const rest = await content.log(id, { limit: 10, ...(first.next === undefined ? {} : { after: first.next }) })
    expect([...first.commits, ...rest.commits].map(({ message }) => message.trim())).toEqual(['5', '4', '3', '2', '1'])
    expect((await content.log(id, { path: 'even' })).commits.map(({ message }) => message.trim())).toEqual(['4', '2'])
    expect(first.commits[0]).toMatchObject({
      author: { name: 'ada', at: 1_700_000_000_000 },
      parents: [first.commits[1]?.oid],
    })
  })

  test('diff names what changed and shows text', async () => {
    const one = await write({ same: '1', changed: 'a\nb\n', 'bin/x': 'a\0b', gone: 'diff --git a/x b/x\n' })
    const two = await write({ changed: 'a\nc\n', 'bin/x': 'c\0d', gone: null, new: 'n\n' })
    const { entries, truncated } = await content.diff(id, one.commit, two.commit)
    expect(entries.map(({ path, change }) => `${path} ${change}`)).toEqual([
      'bin/x changed',
      'changed changed',
      'gone removed',
      'new added',
    ])
    expect(truncated).toBe(false)
    expect(entries[1]?.patch).toContain('@@ -1,2 +1,2 @@\n a\n-b\n+c\n')
    expect(entries[2]?.patch).toContain('-diff --git a/x b/x')
    expect([entries[0]?.patch, entries[3]?.patch?.includes('+n')]).toEqual([undefined, true])
    expect((await content.diff(id, one.commit, two.commit, { limit: 1 })).truncated).toBe(true)
    expect((await content.diff(id, one.commit, two.commit, { paths: ['new'] })).entries).toHaveLength(1)
  })
})

describe('merge', () => {
  test('forward, with a merge commit, and not again', async () => {
    const base = await write({ f: '1\n2\n3\n4\n5\n', g: 'g' })
    await fixture.store.transact(id, [{ ref: 'refs/heads/fix', old: null, new: base.commit }], { by })
    const fix = await write({ f: '1\n2\n3\n4\nfive\n' }, { branch: 'fix' })
    expect(await content.merge(id, { from: 'fix', by })).toMatchObject({
      merged: true,
      fastForward: true,
      commit: fix.commit,
    })
    await write({ f: 'one\n2\n3\n4\nfive\n' })
    await write({ h: 'h' }, { branch: 'fix' })
    const done = await content.merge(id, { from: 'fix', by, message: 'both' })
    expect(done).toMatchObject({ merged: true, fastForward: false })
    expect([await text('f'), await text('h')]).toEqual(['one\n2\n3\n4\nfive\n', 'h'])
    expect(await content.merge(id, { from: 'fix', by })).toMatchObject({ merged: true, fastForward: true })
    expect(git(await repository(), 'fsck', '--strict')).toBe('')
    expect((await content.log(id, { limit: 1 })).commits[0]?.parents).toHaveLength(2)
  })

  test('conflicts are data, and move nothing', async () => {
    const base = await write({ text: 'a\n', bin: 'a\0', gone: 'x\n' })
    await fixture.store.transact(id, [{ ref: 'refs/heads/fix', old: null, new: base.commit }], { by })
    await write({ text: 'b\n', bin: 'b\0', gone: 'changed\n' }, { branch: 'fix' })
    const ours = await write({ text: 'c\n', bin: 'c\0', gone: null })
    const result = await content.merge(id, { from: 'fix', by })
    expect(result).toMatchObject({ merged: false })
    expect('conflicts' in result && result.conflicts.map(({ path, reason }) => `${path}: ${reason}`).sort()).toEqual([
      'bin: binary',
      'gone: modify/delete',
      'text: contents',
    ])
    expect(await content.resolve(id)).toBe(ours.commit)
    expect(readdirSync(join(fixture.root, 'staging'))).toEqual([])
  })

  test('histories without a common commit are refused', async () => {
    await write({ f: '1' })
    await write({ g: '1' }, { branch: 'other' })
    await expect(content.merge(id, { from: 'other', by })).rejects.toMatchObject({ code: 'E_CONFLICT' })
  })
})

test('GIT-17: a fork has what its refs reach and nothing else, and shares no file', async () => {
  await write({ f: 'public' })
  const secret = await write({ f: 'secret' }, { branch: 'secret' })
  await fixture.store.transact(id, [{ ref: 'refs/heads/secret', old: secret.commit, new: null }], { by })
  const fork = await content.fork(id, { name: 'mine', by })
  expect(Buffer.from((await content.read(fork.id, 'f')).content).toString()).toBe('public')
  await expect(content.read(fork.id, 'f', { rev: secret.commit })).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  const own = await content.commit(id, { files: [file('f', 'later')], message: 'm', by })
  await expect(content.read(fork.id, 'f', { rev: own.commit })).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  const path = await fixture.store.repository(fork.id)
  expect(git(path, 'fsck', '--strict')).toBe('')
  expect(readdirSync(join(path, 'objects')).includes('info')).toBe(false)
})
