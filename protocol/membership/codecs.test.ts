import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MeshError } from '../errors.ts'
import { signerFromSeed } from '../signing/signing.ts'
import { signBody } from '../signing/signed.ts'
import { DOMAINS } from '../signing/signing.ts'
import {
  decodeHello,
  decodeListRequest,
  decodeLists,
  decodeNotice,
  encodeHello,
  encodeLists,
  encodeNotice,
} from './hello.ts'
import { fingerprint, formatInvite, type Invite, isExpired, parseInvite } from './invite.ts'
import { decodeJoinReply, encodeJoinReply, makeJoinRequest, openJoinRequest } from './join.ts'
import { decodeList, encodeList, foundingList, type MemberList, openList, signList } from './member-list.ts'

const signer = (index: number) => signerFromSeed(new Uint8Array(32).fill(index + 1))
const ids = Array.from({ length: 8 }, (_, index) => signer(index).nodeId)
const meshId = 'ab'.repeat(16)
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })

/** Nothing but a value or a typed error may come of any bytes. */
function neverCrashes(decode: (bytes: Uint8Array) => unknown, sample: Uint8Array): void {
  const mutated = fc
    .tuple(fc.nat(sample.length - 1), fc.nat(255))
    .map(([at, value]) => sample.map((byte, index) => (index === at ? value : byte)))
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 400 }), mutated), (bytes) => {
      try {
        decode(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(MeshError)
      }
    }),
  )
}

const list: fc.Arbitrary<MemberList> = fc
  .record({
    epoch: fc.integer({ min: 2, max: 2 ** 40 }),
    count: fc.integer({ min: 1, max: 6 }),
    out: fc.nat(2),
    previous: bytes32,
  })
  .map(({ epoch, count, out, previous }) => ({
    meshId,
    epoch,
    previous,
    members: ids
      .slice(0, count)
      .map((nodeId, at) => ({ nodeId, name: `n${at}`, role: at === 0 ? 'admin' : 'member', sinceEpoch: epoch })),
    revoked: ids.slice(6, 6 + out).map((nodeId) => ({ nodeId, epoch })),
  }))

describe('member lists', () => {
  test('a list reads back as it was written, and only with its signature', () => {
    fc.assert(
      fc.property(list, (value) => {
        expect(decodeList(encodeList(value))).toEqual(value)
        expect(openList(signList(signer(0), value).signed).list).toEqual(value)
      }),
      { numRuns: 50 },
    )
  })

  test('any bytes are a list or a typed error', () => {
    neverCrashes(decodeList, foundingList(signer(0), meshId, 'first').signed.body)
  })

  test.each([
    ['a field it does not know', (body: Uint8Array) => Buffer.concat([body, Buffer.from([0x78, 1])])],
    ['a field twice', (body: Uint8Array) => Buffer.concat([body, Buffer.from([0x10, 1])])],
  ])('refuses %s', (_what, change) => {
    const body = change(foundingList(signer(0), meshId, 'first').signed.body)
    expect(() => openList(signBody(signer(0), DOMAINS.memberList, body))).toThrow('does not know')
  })

  test.each<[string, Partial<MemberList>]>([
    ['no admin', { members: [{ nodeId: ids[0] ?? '', name: 'a', role: 'member', sinceEpoch: 1 }] }],
    ['a member from the future', { members: [{ nodeId: ids[0] ?? '', name: 'a', role: 'admin', sinceEpoch: 9 }] }],
    ['an epoch of zero', { epoch: 0 }],
    ['a mesh id that is none', { meshId: 'x' }],
    ['someone both in and out', { revoked: [{ nodeId: ids[0] ?? '', epoch: 2 }] }],
  ])('refuses %s', (_what, change) => {
    const base: MemberList = {
      meshId,
      epoch: 2,
      previous: new Uint8Array(32),
      members: [{ nodeId: ids[0] ?? '', name: 'a', role: 'admin', sinceEpoch: 1 }],
      revoked: [],
    }
    expect(decodeList(encodeList(base))).toEqual(base)
    expect(() => decodeList(encodeList({ ...base, ...change }))).toThrow(MeshError)
  })
})

const invite: fc.Arbitrary<Invite> = fc.record({
  meshId: fc.constant(meshId),
  meshName: fc.constantFrom('', 'Werk Süd', 'lab'),
  inviter: fc.constantFrom(...ids),
  addresses: fc.array(fc.constantFrom('/ip4/10.0.0.1/tcp/4001', '/dns4/host.example/tcp/1'), { maxLength: 16 }),
  secret: bytes32,
  networkKey: bytes32,
  expiresAtMs: fc.integer({ min: 1, max: 2 ** 48 }),
  role: fc.constantFrom('admin', 'member'),
})

describe('invites', () => {
  test('an invite reads back, also with white space in it', () => {
    fc.assert(
      fc.property(invite, (value) => {
        const text = formatInvite(value)
        expect(parseInvite(text)).toEqual(value)
        expect(parseInvite(` ${text.slice(0, 20)}\n${text.slice(20)} `)).toEqual(value)
      }),
      { numRuns: 50 },
    )
  })

  test('P2P-10 no mistyped or cut invite is taken', () => {
    fc.assert(
      fc.property(invite, fc.nat(), fc.constantFrom('A', 'z', '0', '_', '+', ''), (value, where, char) => {
        const text = formatInvite(value)
        const at = where % text.length
        const bad = text.slice(0, at) + char + text.slice(at + 1)
        fc.pre(bad !== text)
        expect(() => parseInvite(bad)).toThrow(expect.objectContaining({ code: 'E_INVITE' }))
      }),
    )
  })

  test('F24 an invite is good for one minute longer than it says', () => {
    expect(isExpired(1_000_000, 1_060_000)).toBe(false)
    expect(isExpired(1_000_000, 1_060_001)).toBe(true)
  })

  test('both sides show the same fingerprint, and nobody else', () => {
    const [a = '', b = '', c = ''] = ids
    expect(fingerprint(meshId, a, b)).toMatch(/^\d{5} \d{5} \d{5} \d{5}$/)
    expect(fingerprint(meshId, a, b)).toBe(fingerprint(meshId, b, a))
    expect(fingerprint(meshId, a, b)).not.toBe(fingerprint(meshId, a, c))
    expect(fingerprint('cd'.repeat(16), a, b)).not.toBe(fingerprint(meshId, a, b))
  })
})

describe('joining', () => {
  const [a = '', b = ''] = ids

  test('P2P-11 a request proves its identity on one connection of one mesh only', () => {
    const request = makeJoinRequest(signer(2), 'joiner', meshId, a)
    expect(openJoinRequest(request, meshId, a)).toMatchObject({ nodeId: ids[2], name: 'joiner' })
    expect(() => openJoinRequest(request, meshId, b)).toThrow(expect.objectContaining({ code: 'E_INVITE' }))
    expect(() => openJoinRequest(request, 'cd'.repeat(16), a)).toThrow(expect.objectContaining({ code: 'E_INVITE' }))
    neverCrashes((bytes) => openJoinRequest(bytes, meshId, a), request)
  })

  test('answers read back', () => {
    const ok = { ok: true, list: foundingList(signer(0), meshId, 'a').signed, fingerprint: new Uint8Array(32) } as const
    const no = { ok: false, code: 'E_INVITE', message: 'Cannot join: used' } as const
    expect(decodeJoinReply(encodeJoinReply(ok))).toEqual(ok)
    expect(decodeJoinReply(encodeJoinReply(no))).toEqual(no)
    neverCrashes(decodeJoinReply, encodeJoinReply(ok))
  })
})

describe('hellos and what follows', () => {
  const hello = {
    meshId,
    epoch: 3,
    digest: new Uint8Array(32).fill(1),
    card: undefined,
    version: '1.2.3',
    instance: 2 ** 47,
    journalHigh: 7,
    yourJournalHigh: 0,
  }

  test('a hello reads back, and one of another mesh is refused', () => {
    expect(decodeHello(encodeHello(hello), meshId)).toEqual(hello)
    expect(() => decodeHello(encodeHello(hello), 'cd'.repeat(16))).toThrow(
      expect.objectContaining({ code: 'E_NOT_MEMBER' }),
    )
    neverCrashes((bytes) => decodeHello(bytes, meshId), encodeHello(hello))
  })

  test('lists and notices read back', () => {
    const { signed, digest } = foundingList(signer(0), meshId, 'a')
    expect(decodeLists(encodeLists(signed, [signed]))).toEqual({ list: signed, chain: [signed] })
    expect(decodeNotice(encodeNotice(4, digest))).toEqual({ epoch: 4, digest: new Uint8Array(digest) })
    neverCrashes(decodeLists, encodeLists(signed, [signed]))
    neverCrashes(decodeNotice, encodeNotice(4, digest))
    neverCrashes(decodeListRequest, encodeNotice(4, digest))
  })
})
