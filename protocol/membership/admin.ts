/** What an admin's node does beyond following: making lists, and making again what a concurrent list undid. */
import { MeshError } from '../errors.ts'
import type { Signer } from '../signing/signing.ts'
import { type Change, nextList } from './change.ts'
import { type Effective, effective } from './held-lists.ts'

/**
 * An addition made here. It is lost when a list that does not know it wins, and told from one that was undone on purpose by a revocation at or after `epoch`.
 * Revocations need no such memory: they are in force whichever list wins.
 */
export interface PendingAdd {
  readonly change: Change & { readonly type: 'add' }
  readonly epoch: number
}

/** Beyond this the oldest addition is no longer made again. */
const MAX_PENDING = 256

/** @throws MeshError E_FORBIDDEN, E_NOT_FOUND, E_BAD_REQUEST */
export function applyChange(signer: Signer, held: Effective, pending: readonly PendingAdd[], change: Change) {
  if (held.active.get(signer.nodeId)?.role !== 'admin') {
    throw new MeshError('E_FORBIDDEN', 'Cannot change the member list: this node is not an admin of the mesh', {
      hint: 'Do it on a node whose role is admin; `manyhands status` shows the role.',
    })
  }
  if (change.type === 'revoke') requireRevocable(signer, held, change.nodeId)
  const list = nextList(signer, held.current, held.revoked, [change])
  const kept = pending.filter((item) => item.change.nodeId !== change.nodeId)
  if (change.type === 'add') kept.push({ change, epoch: list.list.epoch })
  return { held: succeed(held, list), pending: kept.slice(-MAX_PENDING) }
}

function requireRevocable(signer: Signer, held: Effective, nodeId: string): void {
  if (nodeId === signer.nodeId) {
    throw new MeshError('E_BAD_REQUEST', 'Cannot revoke this node by itself', { hint: 'Ask another admin to do it.' })
  }
  if (held.active.has(nodeId)) return
  throw new MeshError('E_NOT_FOUND', `Cannot revoke ${nodeId}: it is not a member of the mesh`, {
    hint: 'See those who are with: manyhands members',
  })
}

function succeed(held: Effective, list: Effective['current']): Effective {
  return effective({ current: list, history: [held.current, ...held.history], extra: held.extra })
}

/**
 * Additions still to be watched, after `held` came in force. One that is in the list now stays watched: that list may itself lose to one that is still on its way.
 */
export function stillPending(pending: readonly PendingAdd[], held: Effective): readonly PendingAdd[] {
  return pending.filter(({ change, epoch }) => (held.revoked.get(change.nodeId) ?? 0) < epoch)
}

/**
 * The lists after making again what was lost here; `later` when only others' revocations are missing from the list in force, unless `all`.
 * Undefined when there is nothing to do or this node may not.
 */
export function reissue(signer: Signer, held: Effective, pending: readonly PendingAdd[], all = false) {
  if (held.active.get(signer.nodeId)?.role !== 'admin') return undefined
  const lost = pending.map(({ change }) => change).filter(({ nodeId }) => !held.active.has(nodeId))
  const isOurs = held.extra.some((entry) => entry.signer === signer.nodeId)
  if (lost.length === 0 && !isOurs && !all) return held.extra.length > 0 ? 'later' : undefined
  if (lost.length === 0 && held.extra.length === 0) return undefined
  return withLost(signer, held, lost)
}

/** What is in force, as the next list of this admin. Undefined when others would refuse it. */
export function signAgain(signer: Signer, held: Effective): Effective | undefined {
  return withLost(signer, held, [])
}

/**
 * When the mesh filled up meanwhile, what was lost stays lost; revocations are written all the same, for they take no room. Without any there is nothing to write:
 * a list that says nothing new would be answered by the next admin whose addition was lost, and that one by this node.
 */
function withLost(signer: Signer, held: Effective, lost: readonly Change[]) {
  for (const changes of held.extra.length > 0 ? [lost, []] : [lost]) {
    try {
      return succeed(held, nextList(signer, held.current, held.revoked, changes))
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
    }
  }
  return undefined
}
