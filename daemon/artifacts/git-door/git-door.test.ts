import { describe, expect, it } from 'vitest'
import { MemoryJournal } from '../../journal/memory-journal.ts'
import { advertisement, protocolVersion, refListing } from './advertisement.ts'
import { doorTarget } from './door-path.ts'
import { readFetchRequest } from './fetch-request.ts'
import { GIT_TOKEN_RECORDS, GitTokens } from './git-tokens.ts'
import { band, packet, packetAt, packets } from '../../../protocol/artifact/pkt-line.ts'
import { planPush } from './push-plan.ts'
import { readPushRequest } from './push-request.ts'
import { Slots } from './slots.ts'

const A = 'a'.repeat(40)
const B = 'b'.repeat(40)
const ZERO = '0'.repeat(40)
const joined = (...parts: (string | Buffer)[]): Buffer => Buffer.concat(parts.map((part) => Buffer.from(part)))
const main = new Map([['refs/heads/main', A]])

describe('packets', () => {
  it('are read as they were written, and refused otherwise', () => {
    expect(packets(joined(packet('a\n'), '0000', packet(''), '00010002'))).toEqual([
      { kind: 'data', payload: Buffer.from('a\n') },
      { kind: 'flush' },
      { kind: 'data', payload: Buffer.alloc(0) },
      { kind: 'delimiter' },
      { kind: 'end' },
    ])
    for (const bad of ['0003', 'xxxx', 'fff1', '-001', '0005', '00'])
      expect(() => packets(Buffer.from(bad))).toThrow(/Git request/)
    expect(packetAt(Buffer.from('0006a'), 0)).toBeUndefined()
    expect(
      packets(band(2, Buffer.alloc(200_000))).map((next) => (next.kind === 'data' ? next.payload.length : 0)),
    ).toEqual([65_516, 65_516, 65_516, 3_456])
  })
})

describe('paths', () => {
  it('name one of the things that are served, by the right method', () => {
    expect(doorTarget('GET', '/git/a.b.git/info/refs?service=git-upload-pack')).toMatchObject({
      kind: 'advertise',
      name: 'a.b',
    })
    expect(doorTarget('POST', '/git/x.git/git-receive-pack')).toMatchObject({
      kind: 'serve',
      service: 'git-receive-pack',
    })
    expect(doorTarget('PUT', `/git/x.git/info/lfs/objects/${'0'.repeat(64)}`)).toMatchObject({ kind: 'lfs-object' })
    expect(doorTarget('POST', '/git/x.git/info/lfs/locks/verify')).toMatchObject({ kind: 'lfs-locks' })
    for (const path of [
      '/git/x/info/refs',
      '/git/x.git/HEAD',
      '/git/x.git/info/refs',
      '/git/../x.git/git-upload-pack',
      '/git/x.git/git-upload-pack?a',
    ])
      expect(doorTarget('GET', path)).toBeUndefined()
  })
})

describe('advertisements', () => {
  it('differ by version', () => {
    expect(['version=2', 'version=1:x', 'x=1:version=2', '', 'version=3'].map(protocolVersion)).toEqual([2, 1, 2, 0, 0])
    const shown = { refs: new Map([...main, ['refs/tags/v', B]]), head: 'refs/heads/main', peeled: new Map([[B, A]]) }
    const v0 = advertisement('git-upload-pack', 0, shown).toString()
    expect(v0).toMatch(
      new RegExp(`^001e# service=git-upload-pack\n0000....${A} HEAD\0.*symref=HEAD:refs/heads/main .*\n`),
    )
    expect(v0).toContain(`${A} refs/tags/v^{}\n`)
    expect(advertisement('git-upload-pack', 2, shown).toString()).toMatch(/^000eversion 2\n/)
    expect(advertisement('git-receive-pack', 1, { ...shown, refs: new Map() }).toString()).toContain(
      `${ZERO} capabilities^{}\0report-status`,
    )
    const listing = refListing(
      { ...shown, head: 'refs/heads/none' },
      { peel: true, symrefs: true, unborn: true, prefixes: ['HEAD', 'refs/tags/'] },
    )
    expect(listing.toString()).toBe(
      joined(
        packet('unborn HEAD symref-target:refs/heads/none\n'),
        packet(`${B} refs/tags/v peeled:${A}\n`),
        '0000',
      ).toString(),
    )
  })
})

describe('fetch requests', () => {
  const v2 = (...args: string[]): Buffer =>
    joined(packet('command=fetch'), packet('agent=x'), '0001', ...args.map((line) => packet(`${line}\n`)), '0000')

  it('come out as they went in, without what is not understood', () => {
    const asked = readFetchRequest(
      2,
      v2(`want ${A}`, `have ${B}`, 'deepen 3', 'deepen-not refs/heads/x', 'filter tree:0', 'done'),
    )
    if (asked.kind !== 'fetch') throw new Error(asked.kind)
    expect(asked).toMatchObject({ wants: [A], excluded: ['refs/heads/x'] })
    expect(asked.encode((ref) => `${ref}-there`).toString()).toContain('deepen-not refs/heads/x-there\n')
    const old = readFetchRequest(
      0,
      joined(packet(`want ${A} side-band-64k unheard=of agent=x\n`), packet(`want ${B}\n`), '0000', packet('done')),
    )
    expect(old.kind === 'fetch' && old.encode(String).toString()).toBe(
      joined(packet(`want ${A} side-band-64k\n`), packet(`want ${B}\n`), '0000', packet('done\n')).toString(),
    )
    expect(readFetchRequest(2, Buffer.from('0000'))).toEqual({ kind: 'nothing' })
  })

  it('are refused for anything else', () => {
    for (const line of [
      'want x',
      `want ${A} b`,
      'filter sparse:oid=x',
      'packfile-uris https',
      'sideband-all',
      `want-ref refs/heads/x`,
      'deepen -1',
      `shallow ${A}\0`,
    ])
      expect(() => readFetchRequest(2, v2(line))).toThrow(/Cannot serve the fetch/)
    expect(() => readFetchRequest(2, joined(packet('command=object-info'), '0000'))).toThrow(/no command/)
    expect(() => readFetchRequest(0, joined(packet(`have ${A} x`), '0000'))).toThrow(/Cannot serve the fetch/)
  })
})

describe('pushes', () => {
  const caps = 'report-status atomic push-options object-format=sha1 unheard-of'

  it('are read when they are whole', () => {
    const body = joined(
      packet(`${ZERO} ${A} refs/heads/ü\0${caps}\n`),
      packet(`${A} ${ZERO} refs/heads/b`),
      '0000',
      packet('reason=x'),
      '0000',
      'PACK',
    )
    for (let end = 0; end < body.length - 4; end++) expect(readPushRequest(body.subarray(0, end))).toBeUndefined()
    const found = readPushRequest(body)
    expect(found?.end).toBe(body.length - 4)
    expect(found?.request.commands).toEqual([
      { ref: 'refs/heads/ü', old: null, new: A },
      { ref: 'refs/heads/b', old: A, new: null },
    ])
    expect([...(found?.request.capabilities ?? [])]).toEqual(['report-status', 'atomic', 'push-options'])
    expect(found?.request.options).toEqual(['reason=x'])
    const sha256 = joined(packet(`${ZERO} ${A} refs/heads/a\0object-format=sha256`), '0000')
    expect(() => readPushRequest(sha256)).toThrow(/SHA-1/)
  })

  it('are judged ref by ref, or as a whole when they are atomic', () => {
    const commands = [
      { ref: 'refs/heads/main', old: B, new: A },
      { ref: 'refs/heads/new', old: null, new: A },
      { ref: 'refs/proposals/1', old: null, new: A },
      { ref: 'refs/heads/new', old: null, new: B },
    ]
    const plan = planPush({ commands, capabilities: new Set(), options: [] }, main, 'refs/heads/main')
    expect([...plan.refused]).toEqual([
      ['refs/heads/main', 'it has moved since; fetch first'],
      ['refs/proposals/1', 'refs/proposals/ is not written by push'],
      ['refs/heads/new', 'it is named twice'],
    ])
    expect(plan.moves).toEqual([])
    const atomic = planPush(
      { commands: commands.slice(0, 2), capabilities: new Set(['atomic']), options: [] },
      main,
      'refs/heads/main',
    )
    expect([atomic.moves, atomic.refused.get('refs/heads/new')]).toEqual([[], 'atomic push failed'])
  })
})

describe('turns', () => {
  it('are given in order, bounded, and end with those who wait', async () => {
    const slots = new Slots('things', { slots: 1, waiting: 2, waitMs: 50 })
    const signal = new AbortController().signal
    const first = await slots.take(signal)
    const gone = new AbortController()
    const second = slots.take(gone.signal)
    const third = slots.take(signal)
    await expect(slots.take(signal)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
    gone.abort(new Error('gone'))
    await expect(second).rejects.toThrow('gone')
    first()
    first()
    const release = await third
    expect([slots.used, slots.waiting]).toEqual([1, 0])
    await expect(slots.take(signal)).rejects.toMatchObject({ code: 'E_OVERLOADED' })
    release()
    expect(slots.used).toBe(0)
  })
})

describe('tokens', () => {
  it('are good until they expire or are revoked, and never shown again', async () => {
    let now = 1_000
    const journal = new MemoryJournal({ types: GIT_TOKEN_RECORDS })
    const tokens = new GitTokens(journal, () => now)
    const { token, secret } = await tokens.create('a1', { access: 'write', ttlMs: 500, by: { agent: 'x' } })
    const other = await tokens.create('a2', { access: 'read' })
    expect(tokens.check(secret)).toEqual(token)
    expect(tokens.check(`${secret.slice(0, -1)}_`)).not.toEqual(token)
    expect(JSON.stringify(await tokens.list('a1'))).not.toContain(secret)
    expect(await tokens.list('a1')).toEqual([token])
    const stored = (await journal.read(1)).map(({ body }) => Buffer.from(body).toString())
    expect(JSON.stringify([stored, await journal.range('git-token')])).not.toContain(secret)
    now += 500
    expect(tokens.check(secret)).toBeUndefined()
    await tokens.revoke('a1', token.id)
    await expect(tokens.revoke('a1', token.id)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await expect(tokens.revoke('a1', other.token.id)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await tokens.forget('a2')
    expect([tokens.check(other.secret), await tokens.list('a2')]).toEqual([undefined, []])
    await expect(tokens.create('a1', { access: 'read', ttlMs: 0 })).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
  })

  it('all end with their artifact, also when more were made at once than it may have', async () => {
    const tokens = new GitTokens(new MemoryJournal({ types: GIT_TOKEN_RECORDS }))
    const made = await Promise.all(Array.from({ length: 1_005 }, () => tokens.create('a1', { access: 'write' })))
    await tokens.forget('a1')
    expect(made.filter(({ secret }) => tokens.check(secret) !== undefined)).toEqual([])
  })

  it('those that have expired keep no new one from being made', async () => {
    let now = 1_000
    const tokens = new GitTokens(new MemoryJournal({ types: GIT_TOKEN_RECORDS }), () => now)
    const lasting = await tokens.create('a1', { access: 'read' })
    const passing = Array.from({ length: 999 }, () => tokens.create('a1', { access: 'write', ttlMs: 500 }))
    await Promise.all(passing)
    await expect(tokens.create('a1', { access: 'read' })).rejects.toMatchObject({ code: 'E_OVERLOADED' })
    now = 1_500
    const fresh = await tokens.create('a1', { access: 'read' })
    expect((await tokens.list('a1')).map(({ id }) => id)).toEqual([lasting.token.id, fresh.token.id])
    expect(tokens.check(lasting.secret)?.id).toBe(lasting.token.id)
  })
})
