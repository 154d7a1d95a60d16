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
import type { TaskEngine } from './tasks/engine.ts'
import type { Hands } from './tasks/hands.ts'

export interface StatusSources {
  readonly identity: Pick<Identity, 'nodeId'>
  readonly mesh: Pick<Mesh, 'meshId' | 'meshName' | 'nodeName'>
  readonly membership: Pick<MembershipService, 'epoch' | 'isIn' | 'member' | 'members' | 'role'>
  readonly directory: Pick<DirectoryService, 'executors' | 'peers'>
  readonly net: Pick<MeshNet, 'addresses'>
  readonly tasks: {
    readonly engine: Pick<TaskEngine, 'accepted' | 'working'>
    readonly hands: Pick<Hands, 'state'>
    /** Whether the operator wants peers to get hands here */
    readonly acceptsFromPeers: boolean
  }
  readonly journal: Pick<Journal, 'head' | 'health'>
  readonly paths: Paths
  /** Wall clock */
  readonly startedAt: number
  readonly joinedAfterMs: number | undefined
  /** Of the listener on loopback */
  readonly apiUrl: string | undefined
}

export function statusOf(sources: StatusSources): StatusView {
  const { identity, mesh, membership, directory, net, tasks, journal, paths, startedAt, joinedAfterMs, apiUrl } =
    sources
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
      isMember: membership.isIn,
    },
    addresses: net.addresses(),
    ...(apiUrl === undefined ? {} : { apiUrl }),
    peers: { known: peers.length, connected: peers.filter(({ connected }) => connected).length },
    executors,
    tasks: { working: tasks.engine.working, queued: tasks.hands.state().queued, total: tasks.engine.accepted },
    journal: {
      sequence: journal.head,
      healthy: health.state === 'ok',
      ...(health.state === 'ok' ? {} : { reason: health.reason }),
    },
    health: healthOf(health.state === 'ok', (executors.length > 0 || !tasks.acceptsFromPeers) && membership.isIn),
    uptimeSeconds: Math.round(process.uptime()),
    ...(joinedAfterMs === undefined ? {} : { joinedAfterMs }),
    pid: process.pid,
    memoryBytes: process.memoryUsage.rss(),
    startedAt: new Date(startedAt).toISOString(),
    paths: { ...paths },
  }
}

function healthOf(canWrite: boolean, canServe: boolean): StatusView['health'] {
  if (!canWrite) return 'read-only'
  return canServe ? 'ok' : 'degraded'
}
