import { describe, expect, test } from 'vitest'
import { type Signer, signerFromSeed } from '../signing/signing.ts'
import { reissue } from './admin.ts'
import { nextList } from './change.ts'
import { effective } from './held-lists.ts'
import { foundingList, openList, type SignedList, signList } from './member-list.ts'
import { type MembershipInput, type MembershipState, startMembership, stepMembership } from './membership.ts'

const signers = [1, 2, 3, 4].map((fill) => signerFromSeed(new Uint8Array(32).fill(fill)))
const [admin, one, two, other] = signers as [Signer, Signer, Signer, Signer]
const first = foundingList(admin, 'ab'.repeat(16), 'admin')
const add = (signer: Signer, role: 'admin' | 'member') =>
  ({ type: 'add', nodeId: signer.nodeId, name: 'n', role }) as const
const list = nextList(admin, first, new Map(), [add(one, 'member'), add(two, 'member'), add(other, 'admin')])
const SETTLE = 3_000

const started = (self: Signer, current: SignedList = list) =>
  startMembership(
    { signer: self, settleMs: SETTLE, cutOffMs: 30_000 },
    effective({ current, history: [first], extra: [] }),
    [],
    0,
  )
const helloOf = (peer: Signer, from: SignedList = list): MembershipInput => ({
  type: 'hello',
  peer: peer.nodeId,
  epoch: from.list.epoch,
  digest: from.digest,
})

/** Runs inputs and gives the end and every effect as `type peer`. */
function run(state: MembershipState, ...inputs: [number, MembershipInput][]) {
  let now = state
  const said: string[] = []
  for (const [at, input] of inputs) {
    const step = stepMembership(now, input, at)
    now = step.state
    for (const effect of step.effects) said.push('peer' in effect ? `${effect.type} ${effect.peer}` : effect.type)
  }
  return { state: now, said }
}

describe('whom a node serves after a start', () => {
  test('a member alone with it has to wait: until another is heard', () => {
    const { said } = run(started(one), [10, helloOf(two)], [20, { type: 'tick' }], [30, helloOf(admin)])
    // the admin itself may be served, and vouches for the other
    expect(said).toEqual([`ready ${two.nodeId}`, `ready ${admin.nodeId}`])
  })

  test('or until the settle time after every known address was tried', () => {
    const before = run(
      started(one),
      [100, { type: 'dialed' }],
      [110, helloOf(two)],
      [100 + SETTLE - 1, { type: 'tick' }],
    )
    expect(before.said).toEqual([])
    expect(run(before.state, [100 + SETTLE, { type: 'tick' }]).said).toEqual([`ready ${two.nodeId}`])
  })

  test('or for five settle times if nothing ever says that the addresses were tried', () => {
    const { said } = run(started(one), [110, helloOf(two)], [5 * SETTLE - 1, { type: 'tick' }])
    expect(said).toEqual([])
    expect(run(started(one), [110, helloOf(two)], [5 * SETTLE, { type: 'tick' }]).said).toEqual([`ready ${two.nodeId}`])
  })

  test('the only admin need not wait: nobody else can have made a newer list', () => {
    const alone = nextList(admin, first, new Map(), [add(one, 'member')])
    expect(run(started(admin, alone), [10, helloOf(one, alone)]).said).toEqual([`ready ${one.nodeId}`])
    expect(run(started(admin), [10, helloOf(one)]).said).toEqual([])
  })

  test('a peer with another list is asked for it, and served only after that is settled', () => {
    const newer = nextList(admin, list, new Map(), [{ type: 'revoke', nodeId: two.nodeId }])
    const asked = run(started(one), [10, helloOf(admin, newer)], [11, helloOf(two)])
    expect(asked.said).toEqual([`fetch-list ${admin.nodeId}`])
    const told = run(asked.state, [20, { type: 'lists', peer: admin.nodeId, list: newer.signed, chain: [] }])
    expect(told.said).toEqual(['persist', `expel ${two.nodeId}`, 'notify', `ready ${admin.nodeId}`])
    // one that does not answer does not hold up for ever
    expect(run(asked.state, [20, { type: 'fetch-failed', peer: admin.nodeId }]).said).toContain(`ready ${admin.nodeId}`)
  })

  test('a peer whose list did not come vouches for nobody: it may be the one that puts them out', () => {
    const newer = nextList(admin, list, new Map(), [{ type: 'revoke', nodeId: two.nodeId }])
    const asked = run(started(one), [10, helloOf(admin, newer)], [11, helloOf(two)])
    const failed = run(asked.state, [20, { type: 'fetch-failed', peer: admin.nodeId }], [30, { type: 'tick' }])
    expect(failed.said).toEqual([`ready ${admin.nodeId}`])
    expect(run(failed.state, [5 * SETTLE, { type: 'tick' }]).said).toEqual([`ready ${two.nodeId}`])
  })

  test('a node without any peer for long settles again, after a short gap not', () => {
    const up = run(started(one), [1, { type: 'dialed' }], [2, helloOf(two)], [SETTLE + 1, { type: 'tick' }])
    expect(up.said).toEqual([`ready ${two.nodeId}`])
    const down = run(up.state, [10_000, { type: 'peer-down', peer: two.nodeId }])
    expect(run(down.state, [20_000, helloOf(two)]).said).toEqual([`ready ${two.nodeId}`])
    expect(run(down.state, [50_000, helloOf(two)]).said).toEqual([])
    expect(run(down.state, [50_000, helloOf(two)], [50_000 + SETTLE, { type: 'tick' }]).said).toEqual([
      `ready ${two.nodeId}`,
    ])
  })

  test('a node that stood still for long settles again: what it heard before is too old, also of who is connected', () => {
    const up = run(started(one), [1, { type: 'dialed' }], [2, helloOf(two)], [3, helloOf(other)], [4, { type: 'tick' }])
    expect(up.said).toEqual([`ready ${two.nodeId}`, `ready ${other.nodeId}`])
    // stopped, or the machine was; what waits in the sockets comes before its own timers
    const back = 3_600_000
    const first = run(up.state, [back, { type: 'peer-down', peer: other.nodeId }], [back + 1, helloOf(two)])
    expect(first.said).toEqual([`wait ${two.nodeId}`])
    expect(run(first.state, [back + 2, helloOf(other)]).said).toEqual([`ready ${two.nodeId}`, `ready ${other.nodeId}`])
    expect(run(first.state, [back + SETTLE, { type: 'tick' }]).said).toEqual([`ready ${two.nodeId}`])
    // a moment is nothing
    expect(run(up.state, [20_000, helloOf(two)], [back, { type: 'tick' }]).said).toEqual([`wait ${two.nodeId}`])
  })

  test('a peer is ready once for each connection, however often it says hello', () => {
    const newer = nextList(admin, list, new Map(), [])
    const { state, said } = run(started(one), [1, helloOf(admin)], [2, helloOf(admin)], [3, helloOf(admin, newer)])
    expect(said).toEqual([`ready ${admin.nodeId}`, `fetch-list ${admin.nodeId}`])
    const lists: MembershipInput = { type: 'lists', peer: admin.nodeId, list: newer.signed, chain: [] }
    expect(run(state, [4, lists], [5, helloOf(admin, newer)]).said).toEqual(['persist', 'notify'])
    const again = run(state, [4, { type: 'peer-down', peer: admin.nodeId }], [5, helloOf(admin)])
    expect(again.said).toEqual([`ready ${admin.nodeId}`])
  })

  test('one that does not belong is refused, whatever it says', () => {
    const stranger = signerFromSeed(new Uint8Array(32).fill(9))
    expect(run(started(admin), [1, helloOf(stranger)]).said).toEqual([`refuse ${stranger.nodeId}`])
  })
})

describe('what an admin does', () => {
  test('a change is made durable before it is told', () => {
    const { said } = run(
      started(admin),
      [1, helloOf(other)],
      [2, { type: 'change', change: { type: 'revoke', nodeId: two.nodeId } }],
    )
    expect(said).toEqual([`ready ${other.nodeId}`, 'persist', `expel ${two.nodeId}`, 'push'])
  })

  test.each<[string, Signer, MembershipInput & { type: 'change' }, string]>([
    ['by a member', one, { type: 'change', change: { type: 'revoke', nodeId: two.nodeId } }, 'E_FORBIDDEN'],
    ['of itself', admin, { type: 'change', change: { type: 'revoke', nodeId: admin.nodeId } }, 'E_BAD_REQUEST'],
    ['of nobody', admin, { type: 'change', change: { type: 'revoke', nodeId: 'x' } }, 'E_NOT_FOUND'],
  ])('a revocation %s is refused', (_what, self, input, code) => {
    expect(() => stepMembership(started(self), input, 1)).toThrow(expect.objectContaining({ code }))
  })
})

describe('a full mesh', () => {
  const otherEntry = { nodeId: other.nodeId, name: 'n', role: 'admin' as const, sinceEpoch: 2 }
  const idOf = (at: number) =>
    `12D3KooW${String(at)
      .padStart(44, '0')
      .replaceAll(/\d/g, (digit) => 'abcdefghij'.charAt(Number(digit)))}`

  test('P2P-12 what others would refuse is never signed, and more nodes may be put out than may be in', () => {
    const named = (name: string) => nextList(admin, first, new Map(), [{ ...add(one, 'member'), name }])
    expect(() => named('é'.repeat(33))).toThrow('a name is too long')
    expect(openList(named('é'.repeat(32)).signed).list.members).toHaveLength(2)
    const revoked = new Map(Array.from({ length: 10_001 }, (_, at) => [idOf(at), 1]))
    expect(openList(nextList(admin, first, revoked, []).signed).list.revoked).toHaveLength(10_001)
  })

  test('an addition that has no room any more makes no list: two admins would answer each other without end', () => {
    const ids = Array.from({ length: 9_998 }, (_, at) => idOf(at))
    const entries = ids.map((nodeId) => ({ nodeId, name: 'host-1', role: 'member' as const, sinceEpoch: 1 }))
    const full = signList(other, { ...list.list, epoch: 3, members: [...first.list.members, ...entries, otherEntry] })
    const pending = [{ change: add(one, 'member'), epoch: 2 }]
    const held = effective({ current: full, history: [list, first], extra: [] })
    expect(reissue(admin, held, pending)).toBeUndefined()
  })

  test('a list too long for one frame is refused when it is made', () => {
    const ids = Array.from({ length: 9_999 }, (_, at) => idOf(at))
    const members = [
      ...first.list.members,
      ...ids.map((nodeId) => ({ nodeId, name: 'x'.repeat(64), role: 'member' as const, sinceEpoch: 1 })),
    ]
    const full = { ...first, list: { ...first.list, members } }
    expect(() => nextList(admin, full, new Map(), [])).toThrow('too long')
    const short = {
      ...first,
      list: { ...first.list, members: members.map((member) => ({ ...member, name: 'host-1' })) },
    }
    expect(openList(nextList(admin, short, new Map(), []).signed).list.members).toHaveLength(10_000)
    expect(() => nextList(admin, short, new Map(), [add(one, 'member')])).toThrow('the most it can have')
  })
})
