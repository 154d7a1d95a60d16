/** Artifacts as the API shows them. Pure. */
import type {
  ArtifactView as ApiView,
  Attribution as ApiAttribution,
  GitTokenView,
  ReplicationView,
} from '../../protocol/api.ts'
import type { GitToken } from '../../protocol/artifact/git-token.ts'
import type { Attribution } from '../../protocol/artifact/record.ts'
import type { ReplicationStatus } from './replicate/status.ts'
import type { ArtifactView } from './store/artifact-store.ts'

/** @param base of the loopback listener, e.g. "http://127.0.0.1:4280"; undefined: there is none */
export function apiView(view: ArtifactView, head: string | undefined, base: string | undefined): ApiView {
  const { id, name, owner, defaultBranch, settings, sequence, bytes, frozen, createdAt } = view
  const gitPath = `/git/${name}.git`
  return {
    id,
    name,
    ...(settings.description === '' ? {} : { description: settings.description }),
    owner,
    defaultBranch,
    visibility: settings.visibility,
    readers: settings.readers,
    delegates: settings.delegates,
    ...(settings.threshold === 1 ? {} : { threshold: settings.threshold }),
    review: { checks: settings.checks, approvals: settings.approvals },
    replicas: settings.replicas,
    sequence,
    ...(head === undefined ? {} : { head }),
    bytes,
    frozen,
    gitPath,
    ...(base === undefined ? {} : { gitUrl: `${base}${gitPath}` }),
    createdAt: timeOf(createdAt),
  }
}

export function replicationView(
  status: ReplicationStatus,
  names: (node: string) => string | undefined,
  rttMs: (node: string) => number | undefined,
): ReplicationView {
  const { artifact, contract, state, holders, missing } = status
  return {
    artifact,
    contract,
    state,
    sequence: holders[0]?.sequence ?? 0,
    holders: holders.map((holder) => {
      const name = names(holder.node)
      const rtt = rttMs(holder.node)
      return {
        node: holder.node,
        ...(name === undefined ? {} : { name }),
        sequence: holder.sequence,
        current: holder.current,
        ...(holder.lacks === 0 ? {} : { lacks: holder.lacks }),
        connected: holder.connected,
        ...(rtt === undefined ? {} : { rttMs: rtt }),
        at: timeOf(holder.at),
        signed: holder.signed,
      }
    }),
    missing,
  }
}

export function gitTokenView(token: GitToken): GitTokenView {
  const { id, name, access, expiresAt, createdAt } = token
  return {
    id,
    name,
    access,
    ...(expiresAt === undefined ? {} : { expiresAt: timeOf(expiresAt) }),
    createdAt: timeOf(createdAt),
  }
}

/** Without the fields that are undefined. */
export function attributionView(by: Attribution): ApiAttribution {
  return Object.fromEntries(Object.entries(by).filter(([, value]) => value !== undefined))
}

/** What a caller says of itself, with the name of its token, which it cannot choose. */
export function attributionOf(
  said: { readonly agent?: string; readonly task?: string; readonly reason?: string } | undefined,
  subject: string,
): Attribution {
  const { agent, task, reason } = said ?? {}
  return {
    subject,
    ...(agent === undefined ? {} : { agent }),
    ...(task === undefined ? {} : { task }),
    ...(reason === undefined ? {} : { reason }),
  }
}

/** A damaged or lying clock is shown as the beginning of time rather than as a failure. */
function timeOf(ms: number): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString()
}
