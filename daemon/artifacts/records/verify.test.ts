import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { recordRef } from '../../../protocol/artifact/ref-name.ts'
import { sealRecord } from '../../../protocol/artifact/record.ts'
import { Content } from '../content/content.ts'
import { git, storeFixture, type StoreFixture, testCommit, testSigner } from '../testing/store-fixture.ts'
import { recordCommit } from './record-commit.ts'
import { verifyRepository } from './verify.ts'

let fixture: StoreFixture
let scratch: string
let id: string
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'manyhands-verify-'))
  fixture = await storeFixture()
  id = (await fixture.store.create({ name: 'n' })).id
  const content = new Content(fixture.store)
  for (const text of ['one', 'two']) {
    await content.commit(id, {
      files: [{ path: 'f', content: Buffer.from(text) }],
      message: text,
      by: { task: 't', receipt: 'ab'.repeat(32) },
    })
  }
})
afterEach(async () => {
  await fixture.close()
  rmSync(scratch, { recursive: true, force: true })
})

/** A plain mirror, made by Git, with nothing of ours in it. */
async function mirror(): Promise<string> {
  const path = join(scratch, 'mirror.git')
  git(scratch, 'clone', '-q', '--mirror', await fixture.store.repository(id), path)
  return path
}

/** Puts an object into a repository as somebody who tampers would. */
function plant(path: string, type: string, content: Uint8Array): string {
  return execFileSync(
    'git',
    ['-c', 'safe.directory=*', '-C', path, 'hash-object', '-t', type, '-w', '--stdin', '--literally'],
    { input: content, encoding: 'utf8' },
  ).trim()
}

describe('verifyRepository', () => {
  test('a mirror and an ordinary clone are valid, and name owner, writers and receipts', async () => {
    const { store } = fixture
    const verified = await verifyRepository(await mirror(), { artifact: id })
    expect(verified).toMatchObject({
      valid: true,
      faults: [],
      artifact: id,
      owner: store.writer,
      writers: [{ writer: store.writer, sequence: 3, records: 3 }],
    })
    expect(verified.receipts).toEqual(
      [3, 2].map((sequence) => ({ receipt: 'ab'.repeat(32), writer: store.writer, sequence })),
    )
    const clone = join(scratch, 'clone')
    git(
      scratch,
      'clone',
      '-q',
      '-c',
      'remote.origin.fetch=+refs/manyhands/*:refs/manyhands/*',
      await store.repository(id),
      clone,
    )
    expect(await verifyRepository(join(clone, '.git'))).toMatchObject({ valid: true })
  })

  test('a branch that was moved by hand is found', async () => {
    const path = await mirror()
    git(path, 'update-ref', 'refs/heads/main', 'refs/heads/main~1')
    git(path, 'update-ref', 'refs/heads/extra', 'refs/heads/main')
    const { valid, faults } = await verifyRepository(path)
    expect([valid, faults.length]).toEqual([false, 2])
    expect(faults.join()).toMatch(/refs\/heads\/main is at .*refs\/heads\/extra/)
  })

  test('a plain clone without records says what is missing', async () => {
    const clone = join(scratch, 'clone')
    git(scratch, 'clone', '-q', await fixture.store.repository(id), clone)
    expect((await verifyRepository(join(clone, '.git'))).faults[0]).toContain('fetch refs/manyhands')
  })

  test('GIT-13: an older signed state, another artifact, another signature are found', async () => {
    const path = await mirror()
    const head = recordRef(fixture.store.writer)
    const newest = git(path, 'rev-parse', head).trim()
    git(path, 'update-ref', head, `${head}~1`)
    expect((await verifyRepository(path)).faults[0]).toContain('refs/heads/main')
    git(path, 'update-ref', head, newest)
    expect((await verifyRepository(path, { artifact: `a${'b'.repeat(32)}` })).valid).toBe(false)
    // the same record, signed by somebody else
    const { record } = await fixture.store.record(id, fixture.store.writer, 3)
    const stranger = testSigner(9)
    const forged = sealRecord(stranger, { ...record, writer: stranger.nodeId }).text.replaceAll(
      stranger.nodeId,
      fixture.store.writer,
    )
    const commit = plant(path, 'commit', recordCommit(forged, git(path, 'rev-parse', `${newest}~1`).trim()).content)
    git(path, 'update-ref', head, commit)
    expect((await verifyRepository(path)).faults.join()).toContain('signature')
    // a record that skips one, rightly signed
    const skipping = sealRecord(testSigner(1), { ...record, sequence: 5 })
    git(path, 'update-ref', head, plant(path, 'commit', recordCommit(skipping.text, newest).content))
    expect((await verifyRepository(path)).faults.join()).toContain('followed by record 5')
  })

  test('a move that no record owns up to is found', async () => {
    const path = await mirror()
    const { writer } = fixture.store
    const last = await fixture.store.record(id, writer, 3)
    const { record } = last
    const one = git(path, 'rev-parse', 'main~1').trim()
    const silent = sealRecord(testSigner(1), {
      ...record,
      sequence: 4,
      previous: last.digest,
      refs: { 'refs/heads/main': one },
      moves: [],
    })
    const newest = git(path, 'rev-parse', recordRef(writer)).trim()
    git(path, 'update-ref', recordRef(writer), plant(path, 'commit', recordCommit(silent.text, newest).content))
    git(path, 'update-ref', 'refs/heads/main', one)
    expect((await verifyRepository(path)).faults).toEqual([
      `Record 3 of ${writer}: the record after it moves refs/heads/main without saying so`,
    ])
  })

  test('F22: a flipped bit in an object is found', async () => {
    const path = join(scratch, 'copy.git')
    await fixture.reopen()
    cpSync(await fixture.store.repository(id), path, { recursive: true })
    expect((await verifyRepository(path)).valid).toBe(true)
    const blob = git(path, 'rev-parse', 'main:f').trim()
    const pack = execFileSync('sh', ['-c', `ls ${path}/objects/pack/*.pack`], { encoding: 'utf8' }).trim()
    git(path, 'cat-file', '-e', blob)
    execFileSync('sh', ['-c', `chmod u+w ${pack}; printf X | dd of=${pack} bs=1 seek=200 conv=notrunc 2>/dev/null`])
    expect((await verifyRepository(path)).valid).toBe(false)
  })
})

describe('equivocation', () => {
  test('GIT-13: two records under one number are kept as proof and freeze the writer, here and at those who hear of it', async () => {
    const { store } = fixture
    const { writer } = store
    const other = await storeFixture({ signer: testSigner(2) })
    const third = await storeFixture({ signer: testSigner(3) })
    try {
      const staging = await other.store.stage(id)
      git(staging.path, 'fetch', '-q', await store.repository(id), 'main')
      await other.store.adopt(id, await store.envelopes(id, writer), { staging })
      const last = await store.record(id, writer, 3)
      const rival = sealRecord(testSigner(1), { ...last.record, by: { reason: 'the other truth' } })
      expect((await other.store.adopt(id, [rival.text])).frozen).toEqual([writer])
      expect(other.store.heads(id).get(writer)).toMatchObject({ sequence: 3, frozen: true })
      const next = testCommit('three', [store.refs(id).get('refs/heads/main') ?? ''])
      await store.transact(
        id,
        [{ ref: 'refs/heads/main', old: store.refs(id).get('refs/heads/main') ?? null, new: next.oid }],
        { by: {}, objects: next.objects },
      )
      await expect(other.store.adopt(id, await store.envelopes(id, writer, 3))).rejects.toMatchObject({
        code: 'E_FROZEN',
      })
      const proofs = await other.store.proofs(id, writer)
      expect([...proofs].sort()).toEqual([last.text, rival.text].sort())
      const again = await other.reopen()
      expect(again.require(id).frozen).toEqual([writer])
      expect(await verifyRepository(await again.repository(id))).toMatchObject({
        valid: true,
        writers: [{ frozen: true }],
      })
      // one who holds nothing but the first two records needs only the proof
      const early = await third.store.stage(id)
      git(early.path, 'fetch', '-q', await store.repository(id), 'main')
      await third.store.adopt(id, await store.envelopes(id, writer, 0, 2), { staging: early })
      expect((await third.store.adopt(id, proofs)).frozen).toEqual([writer])
    } finally {
      await other.close()
      await third.close()
    }
  })

  test('GIT-13: older records, those of another artifact, gaps and forged ones are refused', async () => {
    const { store } = fixture
    const { writer } = store
    const other = await storeFixture({ signer: testSigner(2) })
    try {
      const staging = await other.store.stage(id)
      git(staging.path, 'fetch', '-q', await store.repository(id), 'main')
      const all = await store.envelopes(id, writer)
      await expect(other.store.adopt(id, all.slice(1))).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
      await expect(other.store.adopt(id, all)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
      await other.store.adopt(id, all, { staging })
      expect((await other.store.adopt(id, all)).taken).toBe(0)
      const foreign = await store.create({ name: 'another' })
      await expect(other.store.adopt(id, await store.envelopes(foreign.id, writer))).rejects.toMatchObject({
        code: 'E_PROTOCOL',
      })
      const { record } = await store.record(id, writer, 3)
      const gap = sealRecord(testSigner(1), { ...record, sequence: 7 })
      await expect(other.store.adopt(id, [gap.text])).rejects.toMatchObject({
        code: 'E_REF_CONFLICT',
        details: { after: 3 },
      })
      const text = all[2] ?? ''
      await expect(other.store.adopt(id, [text.replace(/"sig":"..../, '"sig":"AAAA')])).rejects.toMatchObject({
        code: 'E_SIGNATURE',
      })
      await expect(other.store.adopt(id, [` ${text}`])).rejects.toMatchObject({ code: 'E_PROTOCOL' })
      await expect(other.store.adopt(id, ['{}'])).rejects.toMatchObject({ code: 'E_PROTOCOL' })
    } finally {
      await other.close()
    }
  })
})
