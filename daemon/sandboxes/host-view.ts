/** A sandbox of this node as its owner sees it. */
import type { SandboxLimits, SandboxLimitsInput, SandboxView, SnapshotView } from '../../protocol/api-sandboxes.ts'
import type {
  SandboxLimits as OwnLimits,
  SandboxView as OwnView,
  SnapshotView as OwnSnapshot,
} from '../exec/sandbox/sandbox.ts'

/**
 * The owner of a sandbox is the node that asked for it, and the agent it is for where one was named: `<node id>` or `<node id>/<agent>`. The engine keeps
 * sandboxes of different owners apart; a node may use all whose owner begins with its id.
 */
export function ownerText(node: string, agent: string | undefined): string {
  return agent === undefined ? node : `${node}/${agent}`
}

export function ownerParts(owner: string): { readonly node: string; readonly agent: string | undefined } {
  const slash = owner.indexOf('/')
  return slash < 0 ? { node: owner, agent: undefined } : { node: owner.slice(0, slash), agent: owner.slice(slash + 1) }
}

export function hostView(view: OwnView, node: string, nodeName: string): SandboxView {
  const { agent } = ownerParts(view.owner)
  const note = view.lastEnd === undefined ? undefined : ENDS[view.lastEnd]
  return {
    id: view.id,
    ...(view.name === undefined ? {} : { name: view.name }),
    state: view.state,
    node,
    nodeName,
    image: view.image.name,
    digest: view.image.digest,
    grade: view.grade,
    profile: view.profile,
    limits: shownLimits(view.limits),
    workspace: view.workspace.path,
    survivesStop: view.workspace.survivesStop,
    snapshots: view.snapshots.map(snapshotView),
    createdAt: new Date(view.createdAt).toISOString(),
    ...(agent === undefined ? {} : { agent }),
    ...(note === undefined ? {} : { note }),
  }
}

const ENDS: Readonly<Record<NonNullable<OwnView['lastEnd']>, string>> = {
  memory: 'it was ended when it used more memory than its limit',
  pids: 'it was ended when it had no process left',
  disk: 'it was ended when its disk was full',
  exit: 'its first process ended',
  engine: 'the container engine ended it',
}

export function snapshotView({ name, createdAt, bytes }: OwnSnapshot): SnapshotView {
  return { name, createdAt: new Date(createdAt).toISOString(), bytes }
}

function shownLimits({ milliCpus, ...rest }: OwnLimits): SandboxLimits {
  const { memoryBytes, pids, diskBytes, inodes, tmpBytes, rootBytes } = rest
  return { memoryBytes, cpus: milliCpus / 1000, pids, diskBytes, inodes, tmpBytes, rootBytes }
}

export function ownLimits({ cpus, ...rest }: SandboxLimitsInput): Partial<OwnLimits> {
  return cpus === undefined ? rest : { ...rest, milliCpus: Math.round(cpus * 1000) }
}
