/** What a node holds about membership: the list in force, the ones before it, and revocations learned from lists that lost. */
import type { SignedBody } from '../signing/signed.ts'
import { sameBytes } from '../signing/signed.ts'
import type { Member, SignedList } from './member-list.ts'

/** A revocation known only from a list that is not in force: concurrent, or older than ours. */
export interface ExtraRevocation {
  readonly nodeId: string
  readonly epoch: number
  /** Who signed the list it was in, and that list's epoch: it falls with its signer */
  readonly signer: string
  readonly listEpoch: number
}

export interface HeldLists {
  readonly current: SignedList
  /** Adopted before, newest first */
  readonly history: readonly SignedList[]
  readonly extra: readonly ExtraRevocation[]
}

/** `HeldLists` with what follows from it. Invariant: equal to `effective(held)`. */
export interface Effective extends HeldLists {
  /** Every revocation known: node id to epoch */
  readonly revoked: ReadonlyMap<string, number>
  /** Members of the list in force that no known revocation puts out */
  readonly active: ReadonlyMap<string, Member>
}

/** Lists kept to prove to a node that was away how today's admins became admins. */
const MAX_HISTORY = 64
const MAX_HISTORY_BYTES = 8 << 20

export function effective(held: HeldLists): Effective {
  const revoked = new Map(held.current.list.revoked.map((entry) => [entry.nodeId, entry.epoch]))
  const extra = held.extra.filter((entry) => {
    const isNews = (revoked.get(entry.nodeId) ?? 0) < entry.epoch && !wasReadded(held.current, entry)
    if (isNews) revoked.set(entry.nodeId, entry.epoch)
    return isNews
  })
  const active = new Map<string, Member>()
  for (const member of held.current.list.members) {
    if (member.sinceEpoch > (revoked.get(member.nodeId) ?? 0)) active.set(member.nodeId, member)
  }
  return { current: held.current, history: bounded(held.history), extra, revoked, active }
}

function wasReadded(current: SignedList, entry: ExtraRevocation): boolean {
  return current.list.members.some((member) => member.nodeId === entry.nodeId && member.sinceEpoch > entry.epoch)
}

/** Drops the oldest lists that made nobody an admin first, then the oldest. */
function bounded(history: readonly SignedList[]): readonly SignedList[] {
  const bytes = (lists: readonly SignedList[]) => lists.reduce((sum, item) => sum + item.signed.body.length, 0)
  let kept = history
  while (kept.length > MAX_HISTORY || bytes(kept) > MAX_HISTORY_BYTES) {
    const plain = kept.findLastIndex((item, at) => !madeAdmin(item, kept[at + 1]))
    kept = kept.toSpliced(plain < 0 ? kept.length - 1 : plain, 1)
  }
  return kept
}

function madeAdmin(item: SignedList, before: SignedList | undefined): boolean {
  if (!before) return true
  const old = new Set(admins(before))
  return admins(item).some((nodeId) => !old.has(nodeId))
}

function admins(item: SignedList): string[] {
  return item.list.members.filter((member) => member.role === 'admin').map((member) => member.nodeId)
}

/** What leads a node at `epoch` to the list in force: the lists since that made someone an admin, oldest first, within `maxBytes`. */
export function chainSince(held: HeldLists, epoch: number, maxBytes: number): SignedBody[] {
  const since = held.history.filter((item, at) => item.list.epoch > epoch && madeAdmin(item, held.history[at + 1]))
  const chain: SignedBody[] = []
  let room = maxBytes - held.current.signed.body.length
  for (const item of since.toReversed()) {
    room -= item.signed.body.length + 256
    if (room < 0) break
    chain.push(item.signed)
  }
  return chain
}

export function holds(held: HeldLists, digest: Uint8Array): boolean {
  return sameBytes(held.current.digest, digest) || held.history.some((item) => sameBytes(item.digest, digest))
}
