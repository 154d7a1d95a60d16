/** What the local API shows of peers and capabilities. */
import type { CapabilityView, ExecutorView, PeerView } from '../../protocol/api.ts'
import type { Card, ExecutorOffer } from '../../protocol/card/card.ts'
import type { Member } from '../../protocol/membership/member-list.ts'
import type { PeerConnection } from '../net/mesh-net.ts'

export interface PeerFacts {
  readonly member: Member
  readonly connection: PeerConnection | undefined
  readonly card: Card | undefined
  readonly distanceMs: number | undefined
  readonly seenMsAgo: number | undefined
}

export function executorView({ kind, grade, slots, free, queued }: ExecutorOffer): ExecutorView {
  return { kind, grade, slots, free, queued }
}

export function peerView({ member, connection, card, distanceMs, seenMsAgo }: PeerFacts): PeerView {
  const rttMs = connection?.rttMs
  return {
    id: member.nodeId,
    name: member.name,
    role: member.role,
    connected: connection !== undefined,
    ...(rttMs === undefined ? {} : { rttMs }),
    ...(connection ? { address: connection.address } : {}),
    ...(rttMs === undefined && distanceMs !== undefined ? { distanceMs } : {}),
    capabilities: card?.labels ?? [],
    executors: (card?.executors ?? []).map(executorView),
    ...(card ? { version: card.version } : {}),
    ...(seenMsAgo === undefined ? {} : { seenSecondsAgo: Math.round(seenMsAgo / 1000) }),
  }
}

export interface Holder {
  readonly id: string
  readonly name: string
  readonly rttMs: number | undefined
  readonly labels: readonly string[]
  readonly executors: readonly ExecutorOffer[]
}

/** One row for each label, in order; the nearest holder first. @param label only this one */
export function capabilityViews(holders: readonly Holder[], label?: string): CapabilityView[] {
  const labels = label === undefined ? new Set(holders.flatMap((holder) => holder.labels)) : new Set([label])
  return [...labels].sort().map((name) => ({ label: name, nodes: nodesOf(holders, name) }))
}

function nodesOf(holders: readonly Holder[], label: string): CapabilityView['nodes'] {
  const near = holders.filter((holder) => holder.labels.includes(label))
  near.sort((a, b) => (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity))
  return near.map(({ id, name, rttMs, executors }) => {
    const executor = executors.find(({ kind }) => kind === label)
    const known = rttMs === undefined ? { id, name } : { id, name, rttMs }
    return executor ? { ...known, grade: executor.grade, free: executor.free, slots: executor.slots } : known
  })
}
