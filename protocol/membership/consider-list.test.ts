import { describe, expect, test } from 'vitest'
import { signerFromSeed, type Signer } from '../signing/signing.ts'
import { type Change, nextList } from './change.ts'
import { considerList } from './consider-list.ts'
import { chainSince, type Effective, effective } from './held-lists.ts'
import { foundingList, openList, type SignedList, signList } from './member-list.ts'

const meshId = 'ab'.repeat(16)
const [root, ann, bob, eve] = [1, 2, 3, 4].map((fill) => signerFromSeed(new Uint8Array(32).fill(fill))) as [
  Signer,
  Signer,
  Signer,
  Signer,
]
const first = foundingList(root, meshId, 'root')
const add = (signer: Signer, role: 'admin' | 'member' = 'member'): Change => ({
  type: 'add',
  nodeId: signer.nodeId,
  name: 'n',
  role,
})
const out = (signer: Signer): Change => ({ type: 'revoke', nodeId: signer.nodeId })
const holding = (...lists: SignedList[]): Effective => {
  const [current = first, ...history] = lists.toReversed()
  return effective({ current, history, extra: [] })
}
const make = (signer: Signer, held: Effective, ...changes: Change[]) =>
  nextList(signer, held.current, held.revoked, changes)
const take = (held: Effective, list: SignedList): Effective => {
  const verdict = considerList(held, list)
  return verdict.type === 'adopt' || verdict.type === 'learned' ? verdict.held : held
}

describe('considering a list', () => {
  const two = make(root, holding(first), add(ann, 'admin'), add(bob))
  const held = holding(first, two)

  test('P2P-12 a list of a member, a stranger, or another mesh is not adopted', () => {
    const claim = (signer: Signer) => signList(signer, { ...two.list, epoch: 3, previous: two.digest })
    expect(considerList(held, claim(bob)).type).toBe('unknown-signer')
    expect(considerList(held, claim(eve)).type).toBe('unknown-signer')
    const foreign = foundingList(root, 'cd'.repeat(16), 'root')
    expect(considerList(held, foreign)).toMatchObject({ type: 'refuse' })
  })

  test('an epoch far ahead is refused: the numbers cannot be used up', () => {
    const far = signList(root, { ...two.list, epoch: 2 ** 50, previous: two.digest })
    expect(considerList(held, far)).toMatchObject({ type: 'refuse' })
  })

  test('P2P-18 an older list changes nothing', () => {
    const three = make(root, held, out(bob))
    const now = take(held, three)
    expect(considerList(now, two).type).toBe('known')
    const other = signList(root, { ...first.list, members: [...first.list.members] })
    expect(considerList(now, other).type).toMatch(/known|older/)
  })

  test('of two lists made at once both orders end with the same one, and with the revocations of both', () => {
    const one = make(root, held, add(eve))
    const other = make(ann, held, out(bob))
    const a = take(take(held, one), other)
    const b = take(take(held, other), one)
    expect(a.current.digest).toEqual(b.current.digest)
    expect(a.active.has(bob.nodeId)).toBe(false)
    expect(b.active.has(bob.nodeId)).toBe(false)
  })

  test('a revocation from a losing list stays in force under every later list, until the node is added again', () => {
    const revoking = make(ann, held, out(bob))
    const three = make(root, held, add(eve))
    const four = make(root, holding(first, two, three))
    const now = take(take(held, four), revoking)
    expect(now.current.digest).toEqual(four.digest)
    expect(now.active.has(bob.nodeId)).toBe(false)
    const five = make(root, now, add(bob))
    expect(take(now, five).active.has(bob.nodeId)).toBe(true)
  })

  test('an admin that was put out signs nothing more, whatever epoch it claims', () => {
    const now = take(held, make(root, held, out(ann)))
    for (const epoch of [3, 4, 1000]) {
      const forged = signList(ann, { ...two.list, epoch, previous: two.digest })
      expect(considerList(now, forged)).toMatchObject({ type: 'refuse' })
    }
  })

  test('a node misled by an admin that was put out comes back when it meets one who knows', () => {
    const revoking = make(root, held, out(ann))
    const forged = signList(ann, {
      ...two.list,
      epoch: 500,
      previous: two.digest,
      members: two.list.members.filter(({ nodeId }) => nodeId !== root.nodeId),
      revoked: [{ nodeId: root.nodeId, epoch: 500 }],
    })
    const misled = take(held, forged)
    expect(misled.active.has(root.nodeId)).toBe(false)
    const back = take(misled, revoking)
    expect(back.active.has(root.nodeId)).toBe(true)
    expect(back.active.has(ann.nodeId)).toBe(false)
  })

  test('the younger of two admins cannot win a duel by trying encodings', () => {
    const byRoot = make(root, held, out(ann))
    for (let attempt = 0; attempt < 20; attempt++) {
      const byAnn = make(ann, held, out(root), add(eve), {
        type: 'add',
        nodeId: bob.nodeId,
        name: `${attempt}`,
        role: 'member',
      })
      for (const end of [take(take(held, byRoot), byAnn), take(take(held, byAnn), byRoot)]) {
        expect(end.current.digest).toEqual(byRoot.digest)
      }
    }
  })

  test('a chain proves an admin that one who was away does not know', () => {
    const three = make(ann, held, add(eve, 'admin'))
    const four = make(eve, holding(first, two, three), add(bob))
    const now = holding(first, two, three, four)
    let away = holding(first)
    expect(considerList(away, four).type).toBe('unknown-signer')
    for (const signed of chainSince(now, 1, 1 << 20)) away = take(away, openList(signed))
    away = take(away, four)
    expect(away.current.digest).toEqual(four.digest)
  })
})
