/** What `manyhands status` shows. */
import type { StatusView } from '../protocol/api.ts'
import { VERSION } from '../protocol/version.ts'
import type { Paths } from './config/paths.ts'
import type { DirectoryService } from './discovery/directory-service.ts'
import type { Identity } from './identity/identity.ts'
import type { MembershipService } from './identity/membership-service.ts'
import type { Mesh } from './identity/mesh-file.ts'
import type { Journal } from './journal/journal.ts'
import type { MeshNet } from './net/mesh-net.ts'
import type { TaskParts } from './tasks/compose.ts'

export interface StatusSources {
  readonly identity: Identity
  readonly mesh: Mesh
  readonly membership: MembershipService
  readonly directory: DirectoryService
  readonly net: MeshNet
  readonly tasks: TaskParts
  readonly journal: Journal
  readonly paths: Paths
  /** Wall clock */
  readonly startedAt: number
  readonly joinedAfterMs: number | undefined
}

export function statusOf(sources: StatusSources): StatusView {
  const { identity, mesh, membership, directory, net, tasks, journal, paths, startedAt, joinedAfterMs } = sources
  const health = journal.health()
  const executors = directory.executors()
  const peers = directory.peers()
  return {
    id: identity.nodeId,
    name: membership.member(identity.nodeId)?.name ?? mesh.nodeName,
    version: VERSION,
    mesh: {
      id: mesh.meshId,
      name: mesh.meshName,
      epoch: membership.epoch,
      members: membership.members().size,
      role: membership.role,
    },
    addresses: net.addresses(),
    peers: { known: peers.length, connected: peers.filter(({ connected }) => connected).length },
    executors,
    tasks: { working: tasks.engine.working, queued: tasks.hands.state().queued, total: tasks.engine.accepted },
    journal: {
      sequence: journal.head,
      healthy: health.state === 'ok',
      ...(health.state === 'ok' ? {} : { reason: health.reason }),
    },
    health: health.state !== 'ok' ? 'read-only' : executors.length === 0 ? 'degraded' : 'ok',
    uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
    ...(joinedAfterMs === undefined ? {} : { joinedAfterMs }),
    pid: process.pid,
    memoryBytes: process.memoryUsage.rss(),
    startedAt: new Date(startedAt).toISOString(),
    paths: { ...paths },
  }
}
