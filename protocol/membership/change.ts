/** What an admin does to the member list, and the list that results. */
import { MeshError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { Signer } from '../signing/signing.ts'
import { faultOf, type Member, type MemberList, type Role, type SignedList, signList } from './member-list.ts'

export type Change =
  | { readonly type: 'add'; readonly nodeId: string; readonly name: string; readonly role: Role }
  | { readonly type: 'revoke'; readonly nodeId: string }

/** A list travels whole, in one frame. About 10,000 members of 100 bytes fit. */
const MAX_BODY_BYTES = LIMITS.frameBytes - 4096

/**
 * The list of the next epoch. Every known revocation goes in, so that whoever reads only this list knows them all.
 * @param revoked every revocation known: node id to epoch
 * @throws MeshError E_BAD_REQUEST when the mesh would be full or left without an admin, or the list too long or one that others refuse
 */
export function nextList(
  signer: Signer,
  from: SignedList,
  revoked: ReadonlyMap<string, number>,
  changes: readonly Change[],
): SignedList {
  const epoch = from.list.epoch + 1
  const out = new Map(revoked)
  const members = new Map<string, Member>()
  for (const member of from.list.members) {
    if (member.sinceEpoch > (revoked.get(member.nodeId) ?? 0)) members.set(member.nodeId, member)
  }
  for (const change of changes) {
    if (change.type === 'revoke') {
      members.delete(change.nodeId)
      out.set(change.nodeId, epoch)
    } else {
      const { nodeId, name, role } = change
      members.set(nodeId, { nodeId, name, role, sinceEpoch: members.get(nodeId)?.sinceEpoch ?? epoch })
      // A revocation of this epoch or a later one is not outlived by it.
      if ((out.get(nodeId) ?? 0) < epoch) out.delete(nodeId)
      else members.delete(nodeId)
    }
  }
  requireGoverned([...members.values()])
  const entries = [...out].map(([nodeId, at]) => ({ nodeId, epoch: Math.min(at, epoch) }))
  const list: MemberList = {
    meshId: from.list.meshId,
    epoch,
    previous: from.digest,
    members: [...members.values()].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1)),
    revoked: entries.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1)),
  }
  // What readers refuse must never be signed: every later list would carry it on, and this node's own journal could not be read back.
  const fault = faultOf(list)
  if (fault) throw new MeshError('E_BAD_REQUEST', `Cannot change the member list: ${fault}`)
  const next = signList(signer, list)
  if (next.signed.body.length > MAX_BODY_BYTES) {
    throw new MeshError('E_BAD_REQUEST', 'Cannot change the member list: it would be too long to send')
  }
  return next
}

function requireGoverned(members: readonly Member[]): void {
  if (members.length > LIMITS.members) {
    throw new MeshError(
      'E_BAD_REQUEST',
      `Cannot add a member: the mesh has ${LIMITS.members}, which is the most it can have`,
    )
  }
  if (!members.some((member) => member.role === 'admin')) {
    throw new MeshError('E_BAD_REQUEST', 'Cannot change the member list: it would have no admin left', {
      hint: 'Invite another admin first.',
    })
  }
}
