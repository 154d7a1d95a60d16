/**
 * What the engine holds beside what the journal says, after the daemon or the engine came back. Containers of rows are taken up as they are;
 * containers and disks without a row belong to nobody and are removed. Pure decision, then the sweep.
 */
import { readdir } from 'node:fs/promises'
import type { SandboxRow } from '../../../protocol/sandbox/row.ts'
import type { ContainerHost } from './container-host.ts'
import type { EngineClient, ListedContainer } from './engine/engine-client.ts'
import type { SandboxState } from './sandbox.ts'

export interface Adoption {
  /** State of each row's container by sandbox id */
  readonly states: ReadonlyMap<string, SandboxState>
  readonly orphans: readonly ListedContainer[]
}

/** Pure. @param busy ids of sandboxes that are just being made, whose containers have no row yet */
export function adoption(
  containers: readonly ListedContainer[],
  rows: readonly SandboxRow[],
  busy: ReadonlySet<string>,
): Adoption {
  const owner = new Map(rows.filter(({ container }) => container !== '').map((row) => [row.container, row.id]))
  const states = new Map<string, SandboxState>()
  const orphans: ListedContainer[] = []
  for (const one of containers) {
    const id = owner.get(one.id)
    if (id !== undefined) states.set(id, one.paused ? 'paused' : one.running ? 'running' : 'stopped')
    else if (!busy.has(one.labels['mesh.sandbox'] ?? '')) orphans.push(one)
  }
  for (const row of rows) {
    if (states.has(row.id)) continue
    // With a read-only root and a disk of ours a new container is as good as the old.
    states.set(row.id, row.rootQuota === 'read-only' && row.workspace === 'loop' ? 'stopped' : 'lost')
  }
  return { states, orphans }
}

/** Removes containers one after the other; what cannot be removed now is told as trouble. */
export async function removeOrphans(
  client: EngineClient,
  orphans: readonly ListedContainer[],
  trouble: (error: unknown) => void,
): Promise<void> {
  for (const { id } of orphans) await client.remove(id).catch(trouble)
}

/** What is there as of now: sandboxes are made meanwhile. */
export interface KnownSandboxes {
  get(id: string): { removeStrays(remove: (named: ReadonlySet<string>) => Promise<void>): Promise<void> } | undefined
  /** Also true of one that is only being made */
  known(id: string): boolean
}

/** Removes folders of disks that no row names. */
export async function removeStrayDisks(host: ContainerHost, folder: string, sandboxes: KnownSandboxes): Promise<void> {
  for (const id of await readdir(folder).catch(() => [])) {
    if (id.startsWith('.')) continue
    const sandbox = sandboxes.get(id)
    if (!sandbox && !sandboxes.known(id)) await host.removeFolder(id)
    await sandbox?.removeStrays(async (named) => {
      const found = await readdir(host.folderOf(id)).catch(() => [])
      if (host.making.has(id)) return
      const stray = found.filter((disk) => !named.has(disk))
      await host.removeFolder(id, stray)
    })
  }
}

export const disksOfRow = (row: SandboxRow): ReadonlySet<string> =>
  new Set([row.disk, ...row.snapshots.map(({ disk }) => disk)])
