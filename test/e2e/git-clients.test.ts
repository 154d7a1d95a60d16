/** Ordinary Git clients at the door of a real store: git, git-lfs, isomorphic-git, dulwich. */
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import * as fs from 'node:fs'
import { join } from 'node:path'
import isomorphic from 'isomorphic-git'
import http from 'isomorphic-git/http/node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type DoorKit, openDoor, run } from '../support/git-door.ts'

let kit: DoorKit
const at = (...parts: string[]): string => join(kit.folder, ...parts)

beforeAll(async () => {
  kit = await openDoor()
})
afterAll(async () => {
  await kit.close()
  expect(kit.faults).toEqual([])
})

/** A clone of a new artifact with one commit pushed. */
async function seeded(name: string): Promise<string> {
  await kit.create(name)
  const clone = at(name)
  await kit.git('clone', '-q', kit.url(name), clone)
  await commit(clone, 'README.md', 'hello\n')
  await kit.git('-C', clone, 'push', '-q', 'origin', 'main')
  return clone
}

async function commit(clone: string, file: string, content: string | Buffer): Promise<void> {
  writeFileSync(join(clone, file), content)
  await kit.git('-C', clone, 'add', '.')
  await kit.git('-C', clone, 'commit', '-qm', `adds ${file}`)
}

const head = (clone: string): Promise<string> => kit.git('-C', clone, 'rev-parse', 'HEAD').then((text) => text.trim())

describe('git', () => {
  it('clones an empty artifact, pushes into it and gets it back', async () => {
    const clone = await seeded('empty')
    expect(kit.store.refs(kit.store.require('empty').id)).toEqual(new Map([['refs/heads/main', await head(clone)]]))
    const copies = ['0', '1', '2'].map(async (version) => {
      const copy = at(`copy-${version}`)
      await kit.git('-c', `protocol.version=${version}`, 'clone', '-q', kit.url('empty', 'read'), copy)
      expect(readFileSync(join(copy, 'README.md'), 'utf8')).toBe('hello\n')
      await kit.git('-C', copy, 'fsck', '--strict')
    })
    await Promise.all(copies)
  })

  it('pushes tags, notes and deletes; all or none when atomic; the default branch stays', async () => {
    const clone = await seeded('refs')
    const inside = (...args: string[]): ReturnType<DoorKit['tryGit']> => kit.tryGit('-C', clone, ...args)
    await inside('tag', '-a', 'v1', '-m', 'first')
    await inside('notes', 'add', '-m', 'a prompt')
    expect((await inside('push', 'origin', 'v1', 'refs/notes/commits')).code).toBe(0)
    const listing = await kit.git('-C', clone, 'ls-remote', 'origin')
    expect(listing).toMatch(/refs\/tags\/v1\n[0-9a-f]{40}\trefs\/tags\/v1\^\{\}/)
    expect(await kit.git('-C', clone, '-c', 'protocol.version=0', 'ls-remote', 'origin')).toBe(listing)
    const atomic = await inside('push', '--atomic', 'origin', 'main:refs/heads/a', 'main:refs/elsewhere/b')
    expect(atomic.text).toMatch(/atomic push failed/)
    const partly = await inside('push', 'origin', 'main:refs/heads/a', 'main:refs/elsewhere/b', 'main:refs/manyhands/x')
    expect(partly.text).toMatch(/remote rejected\] main -> refs\/elsewhere\/b \(the name is not allowed/)
    expect((await inside('push', 'origin', ':refs/heads/a')).code).toBe(0)
    expect((await inside('push', 'origin', ':main')).text).toMatch(/the default branch cannot be deleted/)
    const names = [...kit.store.refs(kit.store.require('refs').id).keys()].sort()
    expect(names).toEqual(['refs/heads/main', 'refs/notes/commits', 'refs/tags/v1'])
  })

  it('leaves out the history of a branch or tag that is named in short, and tells a shallow push what it lacks', async () => {
    const clone = await seeded('short')
    await kit.git('-C', clone, 'tag', 'v1')
    await kit.git('-C', clone, 'push', '-q', 'origin', 'v1', 'main:refs/heads/old')
    await commit(clone, 'more.txt', 'more\n')
    await kit.git('-C', clone, 'push', '-q', 'origin', 'main')
    for (const ref of ['v1', 'old', 'refs/tags/v1']) {
      const copy = at(`without-${ref.replaceAll('/', '-')}`)
      await kit.git('clone', '-q', `--shallow-exclude=${ref}`, kit.url('short', 'read'), copy)
      expect((await kit.git('-C', copy, 'rev-list', '--count', 'HEAD')).trim(), ref).toBe('1')
    }
    await kit.create('elsewhere')
    const pushed = await kit.tryGit('-C', at('without-v1'), 'push', kit.url('elsewhere'), 'HEAD:main')
    expect(pushed.text).toMatch(/objects are missing that its commits need/)
    expect(pushed.text).toMatch(/A shallow clone must fetch the whole history/)
  })

  it('says in the record who pushed and why', async () => {
    const clone = await seeded('why')
    const { id } = kit.store.require('why')
    const { secret } = await kit.door.tokens.create(id, {
      access: 'write',
      name: 'builder',
      by: { agent: 'fixer', task: 't1' },
    })
    await kit.git('-C', clone, 'remote', 'set-url', 'origin', kit.url('why', secret))
    await commit(clone, 'a', 'a')
    await kit.git('-C', clone, 'push', '-q', '-o', 'reason=mends the build', 'origin', 'main')
    const newest = kit.store.heads(id).get(kit.store.writer)
    const { record } = await kit.store.record(id, kit.store.writer, newest?.sequence ?? 0)
    expect(record.by).toEqual({ agent: 'fixer', task: 't1', subject: 'builder', reason: 'mends the build' })
    expect(record.moves).toEqual([expect.objectContaining({ ref: 'refs/heads/main', new: await head(clone) })])
  })

  it('is told when someone else was faster, and may force', async () => {
    const first = await seeded('race')
    const second = at('race-2')
    await kit.git('clone', '-q', kit.url('race'), second)
    await commit(first, 'x', '1')
    await kit.git('-C', first, 'push', '-q', 'origin', 'main')
    await commit(second, 'x', '2')
    expect((await kit.tryGit('-C', second, 'push', 'origin', 'main')).text).toMatch(/\[rejected\]/)
    await kit.git('-C', second, 'push', '-qf', 'origin', 'main')
    await kit.git('-C', first, 'fetch', '-q')
    expect(await kit.git('-C', first, 'rev-parse', 'origin/main')).toBe(`${await head(second)}\n`)
  })

  it('clones shallow and partial, and fetches what is missing later', async () => {
    const clone = await seeded('parts')
    for (const name of ['a', 'b', 'c']) await commit(clone, name, name.repeat(2_000))
    await kit.git('-C', clone, 'push', '-q', 'origin', 'main')
    for (const version of ['0', '2']) {
      const shallow = at(`shallow-${version}`)
      await kit.git('-c', `protocol.version=${version}`, 'clone', '-q', '--depth', '1', kit.url('parts'), shallow)
      expect(await kit.git('-C', shallow, 'rev-list', '--count', 'HEAD')).toBe('1\n')
      await kit.git('-C', shallow, 'fetch', '-q', '--unshallow')
      expect(await kit.git('-C', shallow, 'rev-list', '--count', 'HEAD')).toBe('4\n')
    }
    for (const filter of ['blob:none', 'blob:limit=1k', 'tree:0']) {
      const partial = at(`partial-${filter.replaceAll(/\W/g, '-')}`)
      await kit.git('clone', '-q', `--filter=${filter}`, '--no-checkout', kit.url('parts'), partial)
      expect(await kit.git('-C', partial, 'rev-list', '--objects', '--missing=print', '--all')).toMatch(/^\?/m)
      // Each is fetched by its name, which is no ref's
      await kit.git('-C', partial, 'checkout', '-q', 'main')
      expect(readFileSync(join(partial, 'b'), 'utf8')).toBe('b'.repeat(2_000))
    }
  })

  it('pushes from a shallow clone, much at once, and in compressed requests', async () => {
    const clone = await seeded('bulk')
    const bytes = randomBytes(6 << 20)
    await commit(clone, 'big.bin', bytes)
    // Above http.postBuffer: chunked, after a probe
    await kit.git('-C', clone, 'push', '-q', 'origin', 'main')
    const shallow = at('bulk-shallow')
    await kit.git('clone', '-q', '--depth', '1', kit.url('bulk'), shallow)
    expect(readFileSync(join(shallow, 'big.bin')).equals(bytes)).toBe(true)
    await commit(shallow, 'more', 'more')
    await kit.git('-C', shallow, 'push', '-q', 'origin', 'main')
    // With more than 1 KiB to say git compresses its request
    const names = Array.from({ length: 40 }, (_, index) => `refs/tags/t${index}`)
    await kit.git('-C', clone, 'fetch', '-q')
    for (const name of names)
      await kit
        .git('-C', clone, 'commit-tree', '-m', name, 'HEAD^{tree}')
        .then((oid) => kit.git('-C', clone, 'update-ref', name, oid.trim()))
    await commit(shallow, 'again', 'again')
    await kit.git('-C', shallow, 'push', '-q', 'origin', 'main')
    await kit.git('-C', clone, 'fetch', '-q', 'origin')
    expect(await kit.git('-C', clone, 'rev-parse', 'origin/main')).toBe(`${await head(shallow)}\n`)
    const tags = await kit.tryGit('-C', clone, 'push', '-q', 'origin', ...names)
    expect(tags).toEqual({ code: 0, text: '' })
    expect(kit.store.refs(kit.store.require('bulk').id).size).toBe(41)
  })

  it('shows the record chain to who asks for it, and only then', async () => {
    const clone = await seeded('chain')
    const mirror = at('chain-mirror')
    await kit.git('clone', '-q', '--mirror', kit.url('chain', 'read'), mirror)
    expect(await kit.git('-C', mirror, 'for-each-ref')).not.toContain('refs/manyhands')
    await kit.git('-C', mirror, 'fetch', '-q', 'origin', 'refs/manyhands/*:refs/manyhands/*')
    const { id } = kit.store.require('chain')
    const record = kit.store.heads(id).get(kit.store.writer)?.commit
    expect(await kit.git('-C', mirror, 'rev-parse', `refs/manyhands/records/${kit.store.writer}`)).toBe(`${record}\n`)
    expect((await kit.tryGit('-C', clone, 'push', 'origin', 'main:refs/manyhands/records/x')).text).toContain(
      'remote rejected',
    )
  })

  it('is told by status and words what it may not do', async () => {
    await seeded('closed')
    const { id } = kit.store.require('closed')
    const other = await kit.create('other')
    const { secret, token } = await kit.door.tokens.create(id, { access: 'read', ttlMs: 3_600_000 })
    const list = (url: string): Promise<string> => kit.tryGit('ls-remote', url).then(({ text }) => text)
    expect(await list(kit.url('closed', secret))).toContain('refs/heads/main')
    expect(await list(kit.url(id, secret))).toContain('refs/heads/main')
    // Git never shows the words of a first 401, and asks for a name instead
    expect(await list(`http://127.0.0.1:${kit.port}/git/closed.git`)).toMatch(/could not read Username/)
    expect(await list(kit.url('closed', 'wrong'))).toMatch(/remote: Cannot serve it: the token is wrong/)
    expect(await list(kit.url(other.id, secret))).toMatch(/remote: .*no artifact.*\n.*not found/)
    const pushed = await kit.tryGit('-C', at('closed'), 'push', kit.url('closed', secret), 'main:x')
    expect(pushed.text).toMatch(/remote: Cannot push to closed: this token may only read/)
    await kit.door.tokens.revoke(id, token.id)
    expect(await list(kit.url('closed', secret))).toMatch(/Authentication failed/)
  })
})

describe('git-lfs', () => {
  it('keeps large files beside the repository', async (context) => {
    if ((await kit.tryGit('lfs', 'version')).code !== 0) return context.skip('git-lfs is not installed')
    const clone = await seeded('large')
    const bytes = randomBytes(3 << 20)
    await kit.git('-C', clone, 'lfs', 'install', '--local')
    await kit.git('-C', clone, 'lfs', 'track', '*.dat')
    await commit(clone, 'weights.dat', bytes)
    await kit.git('-C', clone, 'push', '-q', 'origin', 'main')
    const copy = at('large-copy')
    await kit.git('clone', '-q', kit.url('large', 'read'), copy)
    expect(readFileSync(join(copy, 'weights.dat'), 'utf8')).toMatch(/^version https:\/\/git-lfs/)
    await kit.git('-C', copy, 'lfs', 'install', '--local')
    await kit.git('-C', copy, 'lfs', 'pull')
    expect(readFileSync(join(copy, 'weights.dat')).equals(bytes)).toBe(true)
  })
})

describe('isomorphic-git', () => {
  it('clones, commits and pushes', async () => {
    await seeded('iso')
    const dir = at('iso-copy')
    const url = `http://127.0.0.1:${kit.port}/git/iso.git`
    const onAuth = (): { username: string; password: string } => ({ username: 'x', password: 'admin' })
    await isomorphic.clone({ fs, http, dir, url, onAuth })
    writeFileSync(join(dir, 'new'), 'new')
    await isomorphic.add({ fs, dir, filepath: 'new' })
    const oid = await isomorphic.commit({ fs, dir, message: 'new', author: { name: 'a', email: 'a@example.org' } })
    const pushed = await isomorphic.push({ fs, http, dir, onAuth, remote: 'origin', ref: 'main' })
    expect(pushed.ok).toBe(true)
    expect(kit.store.refs(kit.store.require('iso').id).get('refs/heads/main')).toBe(oid)
  })
})

describe('dulwich', () => {
  it('clones, commits and pushes', async (context) => {
    const python = ['/usr/bin/python3', '/usr/local/bin/python3'].find((path) => existsSync(path))
    const has = python === undefined ? 1 : (await run(python, ['-c', 'import dulwich'], kit.folder)).code
    if (python === undefined || has !== 0) return context.skip('dulwich is not installed')
    await seeded('py')
    const script = `
import sys
from dulwich import porcelain
url, path = sys.argv[1:]
repo = porcelain.clone(url, path, username="x", password="admin", errstream=porcelain.NoneStream())
open(path + "/new", "w").write("new")
porcelain.add(repo, [path + "/new"])
oid = porcelain.commit(repo, b"new", author=b"a <a@example.org>", committer=b"a <a@example.org>")
porcelain.push(repo, url, b"main", username="x", password="admin", errstream=porcelain.NoneStream(), outstream=porcelain.NoneStream())
print(oid.decode())`
    const url = `http://127.0.0.1:${kit.port}/git/py.git`
    const { code, text } = await run(python, ['-W', 'ignore', '-c', script, url, at('py-copy')], kit.folder)
    expect({ code, text: text.trim() }).toEqual({
      code: 0,
      text: kit.store.refs(kit.store.require('py').id).get('refs/heads/main'),
    })
  })
})
