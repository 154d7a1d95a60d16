import { MeshError } from '../../../protocol/errors.ts'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { git, storeFixture, type StoreFixture, testCommit, testSigner } from '../testing/store-fixture.ts'
import { ARTIFACT_RECORDS } from './journal-store.ts'
import type { ArtifactStore } from './artifact-store.ts'

let fixture: StoreFixture
let store: ArtifactStore
beforeEach(async () => {
  fixture = await storeFixture()
  store = fixture.store
})
afterEach(() => fixture.close())

const by = { agent: 'ada' }
const move = (ref: string, old: string | null, tip: string | null) => ({ ref, old, new: tip })
const main = 'refs/heads/main'

describe('create', () => {
  test('by id and by name; nothing on disk until it is needed', async () => {
    const made = await store.create({ name: 'notes', description: 'what I know', by })
    expect(store.get('notes')).toEqual(made)
    expect(store.get(made.id)).toMatchObject({ name: 'notes', mine: true, sequence: 1, agent: 'ada', bytes: 0 })
    expect(readdirSync(fixture.root)).toEqual([])
    const path = await store.repository(made.id)
    expect(git(path, 'fsck', '--strict')).toBe('')
    expect(git(path, 'for-each-ref', '--format=%(refname)')).toBe(`refs/manyhands/records/${store.writer}\n`)
  })

  test('a name is given once, also to those who ask at the same time', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => store.create({ name: 'same' })))
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    await expect(store.create({ name: 'same' })).rejects.toMatchObject({ code: 'E_CONFLICT' })
  })

  test.each(['', 'A', '../x', 'a/b', '-a', 'a.git', 'a..b', '__proto__', 'x'.repeat(65)])(
    'GIT-01: no artifact is named %j',
    async (name) => {
      await expect(store.create({ name })).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
      expect(store.get(name)).toBeUndefined()
    },
  )

  test.each(['a/../../b', '%2e%2e', '..%5c', 'x\0y', '/etc', 'a'.repeat(300), '.git/hooks'])(
    'GIT-01: %j leads nowhere',
    async (id) => {
      expect(store.get(id)).toBeUndefined()
      await expect(store.repository(id)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
      await expect(store.stage(id)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
    },
  )
})

describe('list', () => {
  test('by page, in order of names, by prefix', async () => {
    for (const name of ['b', 'a', 'c', 'aa', 'd']) await store.create({ name })
    const first = await store.list({ limit: 2 })
    expect(first.items.map(({ name }) => name)).toEqual(['a', 'aa'])
    const rest = await store.list({ limit: 3, ...(first.next === undefined ? {} : { after: first.next }) })
    expect(rest.items.map(({ name }) => name)).toEqual(['b', 'c', 'd'])
    expect((await store.list({ prefix: 'a' })).items).toHaveLength(2)
    expect(await store.ids()).toHaveLength(5)
  })
})

describe('transact', () => {
  test('moves refs, names who did it, and leaves a repository that Git finds sound', async () => {
    const { id } = await store.create({ name: 'n' })
    const one = testCommit('one')
    const two = testCommit('two', [one.oid])
    await store.transact(id, [move(main, null, one.oid)], { by, objects: one.objects })
    const done = await store.transact(id, [move(main, one.oid, two.oid), move('refs/tags/v1', null, one.oid)], {
      by: { task: 't1' },
      objects: two.objects,
    })
    expect(done.sequence).toBe(3)
    expect([...store.refs(id)]).toEqual([
      [main, two.oid],
      ['refs/tags/v1', one.oid],
    ])
    const path = await store.repository(id)
    expect(git(path, 'fsck', '--strict')).toBe('')
    expect(git(path, 'log', '--format=%s', 'main')).toBe('two\none\n')
    expect((await store.record(id, store.writer, 3)).record).toMatchObject({
      by: { task: 't1' },
      sequence: 3,
      previous: (await store.record(id, store.writer, 2)).digest,
    })
    expect(await store.envelopes(id, store.writer, 1)).toHaveLength(2)
    expect(Buffer.from(fixture.journal.get('artifact-task', `t1/${id}/0000000003`) ?? '').toString()).toContain(
      'refs/tags/v1',
    )
  })

  test('GIT-14: of 20 who swap the same ref one wins', async () => {
    const { id } = await store.create({ name: 'race' })
    const commits = Array.from({ length: 20 }, (_, index) => testCommit(`try ${index}`))
    const outcomes = await Promise.allSettled(
      commits.map(({ oid, objects }) => store.transact(id, [move(main, null, oid)], { by, objects })),
    )
    const winner = outcomes.findIndex(({ status }) => status === 'fulfilled')
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(
      outcomes.filter(
        (outcome) =>
          outcome.status === 'rejected' &&
          outcome.reason instanceof MeshError &&
          outcome.reason.code === 'E_REF_CONFLICT',
      ),
    ).toHaveLength(19)
    expect(store.refs(id).get(main)).toBe(commits[winner]?.oid)
  })

  test('GIT-14: names that exclude each other, all or none, and delete with create in one', async () => {
    const { id } = await store.create({ name: 'df' })
    const { oid, objects } = testCommit('x')
    await store.transact(id, [move('refs/heads/a', null, oid)], { by, objects })
    const clash = [move('refs/heads/b', null, oid), move('refs/heads/a/b', null, oid)]
    await expect(store.transact(id, clash, { by })).rejects.toMatchObject({ code: 'E_REF_CONFLICT' })
    expect([...store.refs(id).keys()]).toEqual(['refs/heads/a'])
    await store.transact(id, [move('refs/heads/a', oid, null), move('refs/heads/a/b', null, oid)], { by })
    expect([...store.refs(id).keys()]).toEqual(['refs/heads/a/b'])
    expect(git(await store.repository(id), 'for-each-ref', '--format=%(refname)', 'refs/heads')).toBe(
      'refs/heads/a/b\n',
    )
  })

  test.each(['refs/manyhands/records/x', 'refs/manyhands/writers/x/heads/main'])(
    "GIT-14: %s is the system's",
    async (ref) => {
      const { id } = await store.create({ name: 'n' })
      const { oid, objects } = testCommit('x')
      await expect(store.transact(id, [move(ref, null, oid)], { by, objects })).rejects.toMatchObject({
        code: 'E_FORBIDDEN',
      })
    },
  )

  test('a ref names only what is there, and a branch only a commit', async () => {
    const { id } = await store.create({ name: 'n' })
    const { oid, objects } = testCommit('x')
    await expect(store.transact(id, [move(main, null, 'f'.repeat(40))], { by })).rejects.toMatchObject({
      code: 'E_BAD_REQUEST',
    })
    await expect(store.transact(id, [move(main, null, objects[0]?.oid ?? '')], { by, objects })).rejects.toMatchObject({
      code: 'E_BAD_REQUEST',
    })
    await store.transact(id, [move(main, null, oid)], { by, objects })
    await expect(store.transact(id, [move('refs/heads/b', null, objects[1]?.oid ?? '')], { by })).rejects.toThrow(
      /is a tree/,
    )
    expect(store.refs(id).size).toBe(1)
  })

  test('staged objects come in with the refs, and are gone when it fails', async () => {
    const { id } = await store.create({ name: 'n' })
    const source = join(fixture.root, 'source')
    mkdirSync(source)
    git(source, 'init', '-q', '-b', 'main')
    writeFileSync(join(source, 'f'), 'hello')
    git(source, 'add', '.')
    git(source, 'commit', '-q', '-m', 'first')
    const tip = git(source, 'rev-parse', 'HEAD').trim()
    const failing = await store.stage(id)
    git(failing.path, 'fetch', '-q', source, 'main')
    expect(await failing.bytes()).toBeGreaterThan(0)
    await expect(store.transact(id, [move(main, 'f'.repeat(40), tip)], { by, staging: failing })).rejects.toMatchObject(
      { code: 'E_REF_CONFLICT' },
    )
    expect(existsSync(failing.path)).toBe(false)
    const staging = await store.stage(id)
    git(staging.path, 'fetch', '-q', source, 'main')
    await store.transact(id, [move(main, null, tip)], { by, staging })
    expect(git(await store.repository(id), 'show', 'main:f')).toBe('hello')
    expect(store.require(id).bytes).toBeGreaterThan(100)
    expect(readdirSync(join(fixture.root, 'staging'))).toEqual([])
  })

  test('settings are a record of the owner', async () => {
    const { id } = await store.create({ name: 'old' })
    const renamed = await store.update(id, { name: 'new', visibility: 'private' }, by)
    expect(renamed).toMatchObject({ name: 'new', sequence: 2, settings: { visibility: 'private' } })
    expect([store.get('old'), store.get('new')?.id]).toEqual([undefined, id])
    expect((await store.record(id, store.writer, 2)).record.settings?.name).toBe('new')
  })
})

describe('another start', () => {
  test('finds everything, and makes files say what the journal says', async () => {
    const { id } = await store.create({ name: 'n' })
    const one = testCommit('one')
    await store.transact(id, [move(main, null, one.oid)], { by, objects: one.objects })
    const path = await store.repository(id)
    writeFileSync(join(path, 'packed-refs'), '')
    writeFileSync(join(path, 'config'), '[core]\n\tfsmonitor = touch /tmp/x\n')
    mkdirSync(join(path, 'hooks'))
    const again = await fixture.reopen()
    expect(again.refs(id).get(main)).toBe(one.oid)
    expect(git(await again.repository(id), 'log', '--format=%s', 'main')).toBe('one\n')
    expect(readdirSync(path).sort()).toEqual(['HEAD', 'config', 'objects', 'packed-refs', 'refs'])
    expect(await fixture.journal.range('artifact-pending')).toEqual([])
    expect(again.require('n').bytes).toBeGreaterThan(0)
  })

  test('removes what was being removed, and quarantines', async () => {
    const { id } = await store.create({ name: 'n' })
    const path = await store.repository(id)
    await store.stage(id)
    await store.remove(id, by)
    expect([store.get('n'), existsSync(path)]).toEqual([undefined, false])
    await fixture.reopen()
    expect(existsSync(join(fixture.root, 'staging'))).toBe(false)
  })
})

test('garbage goes, what refs name stays, and usage is counted anew', async () => {
  const { id } = await store.create({ name: 'n' })
  const kept = testCommit('kept')
  const lost = testCommit('lost'.repeat(1000))
  await store.transact(id, [move(main, null, kept.oid), move('refs/heads/x', null, lost.oid)], {
    by,
    objects: [...kept.objects, ...lost.objects],
  })
  await store.transact(id, [move('refs/heads/x', lost.oid, null)], { by })
  const staged = await store.stage(id)
  await expect(store.collect(id)).rejects.toMatchObject({ code: 'E_CONFLICT' })
  await staged.discard()
  await store.collect(id)
  const path = await store.repository(id)
  expect(git(path, 'fsck', '--strict', '--unreachable')).toBe('')
  expect(() => git(path, 'cat-file', '-e', lost.oid)).toThrow()
  await expect(store.transact(id, [move('refs/heads/x', null, lost.oid)], { by })).rejects.toMatchObject({
    code: 'E_BAD_REQUEST',
  })
})

test('quotas: of an artifact, an agent and the node, and nothing changes when one is reached', async () => {
  const journal = new MemoryJournal({ types: ARTIFACT_RECORDS })
  const small = await storeFixture({
    journal,
    quotas: { artifactBytes: 5_000, agentArtifacts: 2, nodeArtifacts: 3, agentBytes: 7_000 },
  })
  try {
    const { id } = await small.store.create({ name: 'a', by })
    await small.store.create({ name: 'b', by })
    await expect(small.store.create({ name: 'c', by })).rejects.toMatchObject({
      code: 'E_QUOTA',
      details: { quota: 'agent.artifacts' },
    })
    await small.store.create({ name: 'c' })
    await expect(small.store.create({ name: 'd' })).rejects.toMatchObject({
      code: 'E_QUOTA',
      details: { quota: 'node.artifacts' },
    })
    const noise = testCommit(randomBytes(5_000).toString('hex'))
    await expect(
      small.store.transact(id, [move(main, null, noise.oid)], { by, objects: noise.objects }),
    ).rejects.toMatchObject({ code: 'E_QUOTA', details: { quota: 'artifact.bytes' } })
    expect(small.store.refs(id).size).toBe(0)
    await small.store.remove(id, by)
    await small.store.create({ name: 'a', by })
  } finally {
    await small.close()
  }
})

test('F15: a journal that cannot be written moves nothing, and goes on when it can', async () => {
  const journal = new MemoryJournal({ types: ARTIFACT_RECORDS })
  const own = await storeFixture({ journal })
  try {
    const { id } = await own.store.create({ name: 'n', by })
    const one = testCommit('one')
    journal.setFailing('no space left')
    await expect(
      own.store.transact(id, [move(main, null, one.oid)], { by, objects: one.objects }),
    ).rejects.toMatchObject({ code: 'E_STORAGE' })
    await expect(own.store.create({ name: 'm', by })).rejects.toMatchObject({ code: 'E_STORAGE' })
    expect([own.store.refs(id).size, own.store.get('m'), own.store.require(id).bytes]).toEqual([0, undefined, 0])
    journal.setFailing(undefined)
    await own.store.transact(id, [move(main, null, one.oid)], { by, objects: one.objects })
    await own.store.create({ name: 'm', by })
  } finally {
    await own.close()
  }
})

test('another signer on the same journal writes in a namespace of its own', async () => {
  const { id } = await store.create({ name: 'n' })
  const one = testCommit('one')
  await store.transact(id, [move(main, null, one.oid)], { by, objects: one.objects })
  const records = await store.envelopes(id, store.writer)
  const other = await storeFixture({ signer: testSigner(2) })
  try {
    const staging = await other.store.stage(id)
    git(staging.path, 'fetch', '-q', await store.repository(id), 'main')
    const adopted = await other.store.adopt(id, records, { staging })
    expect([adopted.taken, other.store.require('n').mine]).toEqual([2, false])
    const two = testCommit('two', [one.oid])
    await other.store.transact(id, [move(main, one.oid, two.oid)], { by, objects: two.objects })
    expect([other.store.refs(id).get(main), other.store.refs(id, { as: null }).get(main)]).toEqual([two.oid, one.oid])
    const path = await other.store.repository(id)
    expect(git(path, 'rev-parse', 'main', `refs/manyhands/writers/${other.store.writer}/heads/main`)).toBe(
      `${one.oid}\n${two.oid}\n`,
    )
    await expect(other.store.update(id, { name: 'mine' }, by)).rejects.toMatchObject({ code: 'E_FORBIDDEN' })
    // the owner follows a delegate that goes forward; then the delegate's own ref has served
    await store.update(id, { delegates: [other.store.writer] }, by)
    const back = await store.stage(id)
    git(back.path, 'fetch', '-q', path, `refs/manyhands/writers/${other.store.writer}/heads/main`)
    await store.adopt(id, await other.store.envelopes(id, other.store.writer), { staging: back })
    expect(store.refs(id).get(main)).toBe(two.oid)
    await other.store.adopt(id, await store.envelopes(id, store.writer, 2))
    expect(other.store.refs(id, { as: null }).get(main)).toBe(two.oid)
    const three = testCommit('three', [two.oid])
    await store.transact(id, [move(main, two.oid, three.oid)], { by, objects: three.objects })
    const more = await other.store.stage(id)
    git(more.path, 'fetch', '-q', await store.repository(id), 'main')
    await other.store.adopt(id, await store.envelopes(id, store.writer, 4), { staging: more })
    expect(other.store.refs(id).get(main)).toBe(three.oid)
  } finally {
    await other.close()
  }
})

test('what a removed artifact left and cannot be cleared keeps no other one from being opened', async () => {
  const faults: string[] = []
  const failing = await storeFixture({
    forget: () => Promise.reject(new MeshError('E_STORAGE', 'the disk refuses')),
    onFault: (what) => void faults.push(what),
  })
  try {
    const { id } = await failing.store.create({ name: 'gone' })
    const kept = await failing.store.create({ name: 'kept' })
    await failing.store.remove(id, {})
    await failing.reopen()
    expect([failing.store.get('kept')?.id, failing.store.get(id), faults.length]).toEqual([kept.id, undefined, 2])
  } finally {
    await failing.close()
  }
})
