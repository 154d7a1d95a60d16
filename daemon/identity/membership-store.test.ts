import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { nextList } from '../../protocol/membership/change.ts'
import { considerList } from '../../protocol/membership/consider-list.ts'
import { effective } from '../../protocol/membership/held-lists.ts'
import { foundingList } from '../../protocol/membership/member-list.ts'
import { HeldJournal } from '../../test/support/held-journal.ts'
import { MemoryMesh, newSigner, type TestMember, until } from '../../test/support/memory-mesh.ts'
import { DISCOVERY_RECORDS } from '../discovery/address-book.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { InviteBook } from './invite-book.ts'
import { MembershipService } from './membership-service.ts'
import { foundMesh } from './mesh-file.ts'
import { loadMembership, MEMBERSHIP_RECORDS, membershipRecord } from './membership-store.ts'

const meshId = 'ab'.repeat(16)
const add = (nodeId: string) => ({ type: 'add', nodeId, name: 'n', role: 'admin' }) as const

describe('membership in the journal', () => {
  test('lists, revocations of lists that lost, and pending additions read back', async () => {
    const [root, ann, bob] = [newSigner(), newSigner(), newSigner()]
    const first = foundingList(root, meshId, 'root')
    const second = nextList(root, first, new Map(), [add(ann.nodeId), add(bob.nodeId)])
    const third = nextList(root, second, new Map(), [])
    const fourth = nextList(root, third, new Map(), [])
    const lost = nextList(ann, second, new Map(), [{ type: 'revoke', nodeId: bob.nodeId }])
    const held = effective({ current: fourth, history: [third, second, first], extra: [] })
    const verdict = considerList(held, lost)
    if (verdict.type !== 'learned') throw new Error(verdict.type)
    const state = { held: verdict.held, pending: [{ change: add(ann.nodeId), epoch: 2 }] }
    const journal = new MemoryJournal({ types: MEMBERSHIP_RECORDS })
    expect(loadMembership(journal, meshId)).toBeUndefined()
    await journal.append(membershipRecord(meshId, undefined, state))
    expect(loadMembership(journal, meshId)).toEqual(state)
    expect(loadMembership(journal, meshId)?.held.active.has(bob.nodeId)).toBe(false)
    // what is no longer held leaves the journal
    const later = { held: effective({ current: fourth, history: [], extra: [] }), pending: [] }
    await journal.append(membershipRecord(meshId, state.held, later))
    expect(await journal.range('list')).toHaveLength(1)
    expect(loadMembership(journal, meshId)).toEqual(later)
  })

  test('a journal that fails lets nobody in and still puts out at once; what failed is written with the next', async () => {
    const mesh = new MemoryMesh()
    const journal = new FailingJournal({ types: [...MEMBERSHIP_RECORDS, 'node.boot', 'peer.address'] })
    const founder = await mesh.found('founder', { journal })
    const member = await mesh.join(founder, 'member')
    await until('connected', () => founder.net.isConnected(member.id))
    const { invite } = await founder.joins.invite({})
    const newcomer = newSigner()
    journal.fails = true
    await expect(mesh.joinWith(invite, newcomer, 'new')).rejects.toMatchObject({ code: 'E_STORAGE' })
    await expect(founder.membership.revoke('member')).rejects.toMatchObject({ code: 'E_STORAGE' })
    await until('put out all the same', () => !founder.net.isConnected(member.id))
    journal.fails = false
    await mesh.joinWith(invite, newcomer, 'new')
    mesh.crash(founder)
    const again = await mesh.up({ mesh: founder.mesh, signer: founder.signer, journal })
    expect(again.membership.isMember(member.id)).toBe(false)
    expect(again.membership.isMember(newcomer.nodeId)).toBe(true)
    await mesh.close()
  })
})

describe('membership while the journal fails', () => {
  let mesh: MemoryMesh
  let journal: FailingJournal
  let founder: TestMember
  beforeEach(async () => {
    mesh = new MemoryMesh()
    journal = new FailingJournal({ types: [...MEMBERSHIP_RECORDS, ...DISCOVERY_RECORDS] })
    founder = await mesh.found('founder', { journal })
  })
  afterEach(() => mesh.close())
  const epochInJournal = () => loadMembership(journal, founder.mesh.meshId)?.held.current.list.epoch

  test.each(['name', 'id'])('P2P-17 a revocation that failed is durable when asked again by %s', async (by) => {
    const bad = await mesh.join(founder, 'bad')
    const whom = by === 'id' ? bad.id : 'bad'
    journal.fails = true
    await expect(founder.membership.revoke(whom)).rejects.toMatchObject({ code: 'E_STORAGE' })
    await expect(founder.membership.revoke(whom)).rejects.toMatchObject({ code: 'E_STORAGE' })
    journal.fails = false
    expect((await founder.membership.revoke(whom)).revoked.map(({ id }) => id)).toEqual([bad.id])
    expect(loadMembership(journal, founder.mesh.meshId)?.held.active.has(bad.id)).toBe(false)
    await expect(founder.membership.revoke(whom)).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  })

  test('P2P-17 nobody is sent a list before it is durable, and all are once the disk recovers, without a further change', async () => {
    const bad = await mesh.join(founder, 'bad')
    const other = await mesh.join(founder, 'other')
    await until('all know all', () =>
      mesh.members.every(({ net, membership }) => net.connections().length === 2 && membership.epoch === 3),
    )
    journal.fails = true
    await expect(founder.membership.revoke('bad')).rejects.toMatchObject({ code: 'E_STORAGE' })
    await until('it is cut off', () => !founder.net.isConnected(bad.id))
    expect([bad, other].map(({ membership }) => membership.epoch)).toEqual([3, 3])
    // peers that come meanwhile are served
    const late = await mesh.up({ mesh: other.mesh, signer: (await down(other)).signer, journal: other.journal })
    await until('served', () => founder.net.connections().some(({ peer, ready }) => peer === late.id && ready))
    expect(epochInJournal()).toBe(3)
    journal.fails = false
    await until('it is written', () => epochInJournal() === 4)
    await until('the other knows', () => !late.membership.isMember(bad.id))
  })

  test('P2P-10 an invite whose use could not be written lets in nobody but that joiner', async () => {
    const { invite } = await founder.joins.invite({})
    const [first, second] = [newSigner(), newSigner()]
    journal.fails = true
    await expect(mesh.joinWith(invite, first, 'first')).rejects.toMatchObject({ code: 'E_STORAGE' })
    await expect(mesh.joinWith(invite, first, 'first')).rejects.toMatchObject({ code: 'E_STORAGE' })
    journal.fails = false
    await expect(mesh.joinWith(invite, second, 'second')).rejects.toMatchObject({ code: 'E_INVITE' })
    await mesh.joinWith(invite, first, 'first')
    const held = loadMembership(journal, founder.mesh.meshId)?.held
    expect([held?.active.has(first.nodeId), held?.active.size]).toEqual([true, 2])
  })

  test('P2P-10 a record that is written meanwhile never holds a new member without the use of its invite', async () => {
    const held = new HeldJournal(new MemoryJournal({ types: [...MEMBERSHIP_RECORDS, ...DISCOVERY_RECORDS] }))
    const signer = newSigner()
    const file = foundMesh(signer, 'test', 'founder')
    const opened = MembershipService.open({ journal: held, mesh: file, signer, version: '0' })
    await until('it is opened', () => held.waiting.length > 0)
    await held.sync()
    const membership = await opened
    const made = membership.invites.open('member', 60_000)
    await held.sync()
    const { oneTime } = await made
    const [other, joiner] = [newSigner().nodeId, newSigner().nodeId]
    const added = [membership.add(other, 'other', 'member')]
    added.push(membership.add(joiner, 'joiner', 'member', membership.invites.burn(oneTime, joiner)))
    await until('the first record waits', () => held.waiting.length > 0)
    await held.sync(1)
    // what a crash leaves now
    const book = new InviteBook(held.disk, Date.now)
    await book.load()
    const isIn = loadMembership(held.disk, file.meshId)?.held.active.has(joiner) ?? false
    expect(book.claim(oneTime, joiner).isAgain).toBe(isIn)
    await held.sync()
    await Promise.all(added)
    await membership.close()
  })

  async function down(member: TestMember): Promise<TestMember> {
    await mesh.down(member)
    return member
  }
})

class FailingJournal extends MemoryJournal {
  fails = false
  override append(record: Parameters<MemoryJournal['append']>[0]): Promise<number> {
    if (this.fails) return Promise.reject(new MeshError('E_STORAGE', 'The disk is full'))
    return super.append(record)
  }
}
