/**
 * Whether a node adopts a list it is shown. The rules, in the words of what each node can check by itself:
 *
 * 1. A list counts only if its signer is an active admin by what I hold (rule 5 is the exception). A list of a later epoch whose signer I do not know may be
 *    proven by the lists in between (`unknown-signer`: ask for the chain), or signed again by an admin I know (`confirm` in membership.ts).
 * 2. Later epoch: adopted. Same epoch, made at once by two admins: the lower digest wins; the loser's author makes its change again.
 * 3. Every revocation in a list that counts is in force at once, whether the list wins or not, until a later epoch adds the node again.
 * 4. A list whose signer was revoked at or before the list's epoch is void, with all it says; if I hold it, I go back to what was before it.
 * 5. Two admins who put each other out at once: the one who has been admin longer stays (then the lower node id). This cannot be ground out by trying many
 *    encodings, as a digest could, and whoever founded the mesh can always end such a duel.
 *
 * What remains: a node that has not yet heard that an admin was put out believes what that admin signs until it meets a member who knows; and an admin who was
 * put out by a *newer* admin can, towards nodes that hold nothing later than that epoch, claim to have acted at once with it (rule 5).
 */
import { type Effective, effective, type HeldLists, holds } from './held-lists.ts'
import type { MemberList, SignedList } from './member-list.ts'

export type Verdict =
  /** `replaced` lost against it and was made by someone still trusted */
  | { readonly type: 'adopt'; readonly held: Effective }
  /** Not in force, but it told of revocations */
  | { readonly type: 'learned'; readonly held: Effective }
  | { readonly type: 'known' }
  | { readonly type: 'older' }
  | { readonly type: 'unknown-signer' }
  | { readonly type: 'refuse'; readonly reason: string }

/** Epochs a list may be ahead: an admin gone bad cannot use up the numbers. */
const MAX_JUMP = 1_000_000

/** @param incoming its signature was verified by `openList` */
export function considerList(held: Effective, incoming: SignedList): Verdict {
  const { list, signed } = incoming
  if (list.meshId !== held.current.list.meshId) return refuse('it is of another mesh')
  if (holds(held, incoming.digest)) return { type: 'known' }
  if (list.epoch > held.current.list.epoch + MAX_JUMP) return refuse('its epoch is too far ahead')
  if (held.active.get(signed.signer)?.role === 'admin') return weigh(held, incoming)
  if (winsAppeal(held, incoming)) return weigh(held, incoming)
  if (held.revoked.has(signed.signer)) return refuse('its signer was put out of the mesh')
  if (list.epoch <= held.current.list.epoch) return { type: 'older' }
  return { type: 'unknown-signer' }
}

function refuse(reason: string): Verdict {
  return { type: 'refuse', reason }
}

function weigh(held: Effective, incoming: SignedList): Verdict {
  const isVoid = (signer: string, epoch: number) =>
    signer !== incoming.signed.signer && (revokedAt(incoming.list, signer) ?? Infinity) <= epoch
  const standing = [held.current, ...held.history].filter((item) => !isVoid(item.signed.signer, item.list.epoch))
  const extra = held.extra.filter((entry) => !isVoid(entry.signer, entry.listEpoch))
  const newest = standing[0]
  if (!newest || outranks(incoming, newest)) {
    // Even a later list may come from the other side of a partition; `effective` drops what it says itself.
    const lost = newest ? extrasOf(newest) : []
    const next = { current: incoming, history: standing, extra: [...extra, ...lost] }
    return { type: 'adopt', held: effective(next) }
  }
  const next: HeldLists = { current: newest, history: standing.slice(1), extra: [...extra, ...extrasOf(incoming)] }
  const learned = effective(next)
  if (newest !== held.current) return { type: 'adopt', held: learned }
  return grew(held, learned) ? { type: 'learned', held: learned } : { type: 'older' }
}

function outranks(a: SignedList, b: SignedList): boolean {
  if (a.list.epoch !== b.list.epoch) return a.list.epoch > b.list.epoch
  return Buffer.compare(a.digest, b.digest) < 0
}

function extrasOf(item: SignedList) {
  return item.list.revoked.map((entry) => ({ ...entry, signer: item.signed.signer, listEpoch: item.list.epoch }))
}

function grew(before: Effective, after: Effective): boolean {
  return [...after.revoked].some(([nodeId, epoch]) => (before.revoked.get(nodeId) ?? 0) < epoch)
}

/** Rule 5: the signer was put out by the author of my list, puts that author out in turn, and was admin before it. */
function winsAppeal(held: Effective, incoming: SignedList): boolean {
  const author = held.current.signed.signer
  if ((revokedAt(incoming.list, author) ?? Infinity) > held.current.list.epoch) return false
  const base = held.history.find((item) => item.signed.signer !== author || item.list.epoch < incoming.list.epoch)
  if (!base || base.list.epoch >= incoming.list.epoch) return false
  const challenger = adminSince(base.list, incoming.signed.signer)
  const defender = adminSince(base.list, author)
  if (challenger === undefined) return false
  if (defender === undefined || challenger !== defender) return challenger < (defender ?? Infinity)
  return incoming.signed.signer < author
}

function adminSince(list: MemberList, nodeId: string): number | undefined {
  return list.members.find((member) => member.nodeId === nodeId && member.role === 'admin')?.sinceEpoch
}

function revokedAt(list: MemberList, nodeId: string): number | undefined {
  return list.revoked.find((entry) => entry.nodeId === nodeId)?.epoch
}
