import { describe, expect, test } from 'vitest'
import { MeshError } from '../../protocol/errors.ts'
import { nextList } from '../../protocol/membership/change.ts'
import { considerList } from '../../protocol/membership/consider-list.ts'
import { effective } from '../../protocol/membership/held-lists.ts'
import { foundingList } from '../../protocol/membership/member-list.ts'
import { MemoryMesh, newSigner, until } from '../../test/support/memory-mesh.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
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

class FailingJournal extends MemoryJournal {
  fails = false
  override append(record: Parameters<MemoryJournal['append']>[0]): Promise<number> {
    if (this.fails) return Promise.reject(new MeshError('E_STORAGE', 'The disk is full'))
    return super.append(record)
  }
}
