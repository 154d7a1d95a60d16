/**
 * Membership in the journal. Table "list", key: hex digest of a list: the wire's Signed. Table "member", key: mesh id: `MembershipState`, which names lists by digest.
 * Both are written in one record, so a state never names a list that is not there.
 */
import { manyhands } from '../../proto/gen/wire.js'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { PendingAdd } from '../../protocol/membership/admin.ts'
import { type Effective, effective } from '../../protocol/membership/held-lists.ts'
import { openList, type SignedList } from '../../protocol/membership/member-list.ts'
import { decodeSigned, encodeSigned } from '../../protocol/signing/signed.ts'
import type { Journal, NewRecord, TableWrite } from '../journal/journal.ts'

/** Kinds of records of this folder, for the journal's reader. */
export const MEMBERSHIP_RECORDS = ['member.list', 'invite.made', 'invite.used', 'peer.heard'] as const

export interface StoredMembership {
  readonly held: Effective
  readonly pending: readonly PendingAdd[]
}

/** What the journal knows of a mesh; undefined when nothing. @throws MeshError E_JOURNAL_GAP when a list is missing or damaged */
export function loadMembership(journal: Journal, meshId: string): StoredMembership | undefined {
  const row = journal.get('member', meshId)
  if (!row) return undefined
  const state = manyhands.MembershipState.decode(row)
  const held = effective({
    current: loadList(journal, state.current),
    history: state.history.map((digest) => loadList(journal, digest)),
    extra: state.extra.map((item) => ({
      nodeId: item.nodeId ?? '',
      epoch: item.epoch ?? 0,
      signer: item.signer ?? '',
      listEpoch: item.listEpoch ?? 0,
    })),
  })
  return { held, pending: state.pending.map(pendingFromWire) }
}

function pendingFromWire(item: manyhands.PendingAdd.$Properties): PendingAdd {
  const role = item.role === 'admin' ? 'admin' : 'member'
  return { change: { type: 'add', nodeId: item.nodeId ?? '', name: item.name ?? '', role }, epoch: item.epoch ?? 0 }
}

function loadList(journal: Journal, digest: Uint8Array): SignedList {
  const row = journal.get('list', keyOf(digest))
  if (!row) throw new MeshError('E_JOURNAL_GAP', 'Cannot read the member list: the journal does not hold it')
  return openList(decodeSigned(row, LIMITS.listBytes + 1024))
}

function keyOf(digest: Uint8Array): string {
  return Buffer.from(digest).toString('hex')
}

/** The record that makes `next` durable; lists that `before` held and `next` does not are dropped. */
export function membershipRecord(meshId: string, before: Effective | undefined, next: StoredMembership): NewRecord {
  const old = new Map(before ? listsOf(before) : [])
  const now = new Map(listsOf(next.held))
  const writes: TableWrite[] = []
  for (const [key, item] of now)
    if (!old.has(key)) writes.push({ table: 'list', key, value: encodeSigned(item.signed) })
  for (const key of old.keys()) if (!now.has(key)) writes.push({ table: 'list', key })
  const state = manyhands.MembershipState.encode({
    current: next.held.current.digest,
    history: next.held.history.map((item) => item.digest),
    extra: [...next.held.extra],
    pending: next.pending.map(({ change, epoch }) => ({
      nodeId: change.nodeId,
      name: change.name,
      role: change.role,
      epoch,
    })),
  }).finish()
  writes.push({ table: 'member', key: meshId, value: state })
  return { type: 'member.list', body: next.held.current.digest, writes }
}

function listsOf(held: Effective): [string, SignedList][] {
  return [held.current, ...held.history].map((item) => [keyOf(item.digest), item])
}
