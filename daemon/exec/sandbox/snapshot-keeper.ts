/**
 * Snapshots of a sandbox: a copy of its disk in its folder, and, where the root can be written, an image of the root. Both are taken while the guest
 * is frozen, so they are of one moment. Restoring makes a new container beside the old: the old one is there until the new one runs.
 */
import { MeshError } from '../../../protocol/errors.ts'
import type { SandboxRow, SnapshotRow } from '../../../protocol/sandbox/row.ts'
import { type Awake, bothOf, type ContainerHost, type Made } from './container-host.ts'
import { engineJson } from './engine/engine-json.ts'
import type { EngineLink } from './engine/engine-link.ts'
import { SANDBOX_BOUNDS } from './limits.ts'
import { checkName } from './recipe.ts'
import { copyDisk } from './workspace/disk-copy.ts'
import { mountDisk } from './workspace/loop-disk.ts'

export const ROOTS_REPOSITORY = 'manyhands/roots'

export class SnapshotKeeper {
  readonly #link: EngineLink
  readonly #host: ContainerHost

  constructor(link: EngineLink, host: ContainerHost) {
    this.#link = link
    this.#host = host
  }

  /** To be called while the guest is frozen. @throws MeshError E_BAD_REQUEST, E_CONFLICT, E_GUEST_FEATURE */
  async take(row: SandboxRow, name: string): Promise<SnapshotRow> {
    checkName(name)
    if (row.snapshots.some((one) => one.name === name))
      throw new MeshError('E_CONFLICT', `Cannot take the snapshot: there is one of the name ${name}`, {
        hint: 'Take another name',
      })
    if (row.snapshots.length >= SANDBOX_BOUNDS.snapshots)
      throw new MeshError('E_CONFLICT', `Cannot take the snapshot: a sandbox has at most ${SANDBOX_BOUNDS.snapshots}`, {
        hint: 'Fork the sandbox and go on there, or begin a new one: its snapshots are its own',
      })
    const { disk, root, bytes } = await this.copy(row, row.id, freshDisk(row))
    return { name, createdAt: Date.now(), bytes, disk, ...(root === undefined ? {} : { root }) }
  }

  /**
   * Copies disk and root as they are now to a folder of sandbox `id`; what fails leaves nothing, as it may be as large as the whole.
   * @returns the root's image when it can differ from the sandbox's own
   */
  async copy(row: SandboxRow, id: string, disk: string): Promise<{ disk: string; root?: string; bytes: number }> {
    if (row.workspace !== 'loop')
      throw new MeshError('E_GUEST_FEATURE', 'Cannot copy the sandbox: its workspace is in memory alone')
    let bytes = 0
    let root: string | undefined
    const copied = copyDisk(this.#host.diskOf(row), this.#host.diskOf({ id, disk })).then((size) => {
      bytes = size
    })
    const kept = this.#keepRoot(row, id, disk).then((digest) => {
      root = digest
    })
    try {
      await bothOf(copied, kept)
    } catch (error) {
      await this.#drop(id, { disk, ...(root === undefined ? {} : { root }) }).catch(() => {})
      throw error
    }
    return { disk, bytes, ...(root === undefined ? {} : { root }) }
  }

  /** The sandbox as it was, running, beside the present one. */
  async restore(row: SandboxRow, from: SnapshotRow): Promise<{ made: Made; awake: Awake }> {
    const blank: Made = { ...row, container: '', disk: freshDisk(row), root: from.root ?? row.image.digest }
    let made = blank
    const restored = this.#host.making.begin(row.id)
    try {
      const created = this.#host.createContainer(blank).then((container) => {
        made = { ...blank, container }
      })
      const target = this.#host.diskOf(blank)
      const filled = copyDisk(this.#host.diskOf({ id: row.id, disk: from.disk }), target).then(() => mountDisk(target))
      await bothOf(created, filled)
      return { made, awake: await this.#host.start(made) }
    } catch (error) {
      await this.#host.removeContainer(made.container).catch(() => {})
      await this.#host.removeFolder(row.id, [blank.disk]).catch(() => {})
      throw error
    } finally {
      restored()
    }
  }

  /** The container and disk a sandbox had before it was restored. */
  async forget(before: SandboxRow): Promise<void> {
    await this.#host.removeContainer(before.container)
    await this.#host.removeFolder(before.id, [before.disk])
  }

  remove(row: SandboxRow, gone: SnapshotRow): Promise<void> {
    return this.#drop(row.id, gone)
  }

  async #drop(id: string, { disk, root }: Pick<SnapshotRow, 'disk' | 'root'>): Promise<void> {
    await this.#host.removeFolder(id, [disk])
    // While a container stands on it the engine keeps it; it goes with the sandbox then.
    if (root !== undefined) await this.#removeImage(`${ROOTS_REPOSITORY}:${id}-${disk}`)
  }

  /** The roots of one that is gone, or of all of this node that are of none known. */
  async removeImages(
    of: { readonly id: string } | { readonly node: string; known(id: string): boolean },
  ): Promise<void> {
    const filters =
      'id' in of
        ? { reference: [`${ROOTS_REPOSITORY}:${of.id}-*`] }
        : { reference: [`${ROOTS_REPOSITORY}:*`], label: [`mesh.node=${of.node}`] }
    const raw: unknown = await this.#link
      .client()
      .images('look for kept roots', SANDBOX_BOUNDS.engineCallMs, (docker) =>
        docker.listImages({ filters: JSON.stringify(filters) }),
      )
    const names = engineJson(raw)
      .items()
      .flatMap((one) => one.items('RepoTags').map((tag) => tag.text()))
    for (const name of names) {
      const id = /:([a-z0-9]+)-/.exec(name)?.[1] ?? ''
      if (name.startsWith(`${ROOTS_REPOSITORY}:`) && ('id' in of ? id === of.id : !of.known(id)))
        await this.#removeImage(name)
    }
  }

  async #keepRoot(row: SandboxRow, id: string, disk: string): Promise<string | undefined> {
    if (row.rootQuota === 'read-only') return undefined
    return this.#link.client().commit(row.container, ROOTS_REPOSITORY, `${id}-${disk}`)
  }

  async #removeImage(name: string): Promise<void> {
    await this.#link
      .client()
      .images('remove a snapshot', SANDBOX_BOUNDS.engineCallMs, (docker) =>
        docker.getImage(name).remove({ force: false }),
      )
      .catch((error: unknown) => {
        if (!(error instanceof MeshError) || (error.code !== 'E_NOT_FOUND' && error.code !== 'E_CONFLICT')) throw error
      })
  }
}

/** A folder name that the sandbox has not used yet, as it never counts backwards. */
export function freshDisk(row: Pick<SandboxRow, 'disk' | 'snapshots'>): string {
  const numbers = [row.disk, ...row.snapshots.map(({ disk }) => disk)].map((disk) => Number(disk.slice(1)))
  return `d${Math.max(...numbers) + 1}`
}
