/** Makes, starts and removes the containers of sandboxes, with their disks and the agent inside. Knows nothing of names, owners or sleep. */
import { randomBytes } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../protocol/errors.ts'
import type { SandboxRow } from '../../../protocol/sandbox/row.ts'
import { attachedTransport } from './engine/attached-stream.ts'
import type { EngineClient } from './engine/engine-client.ts'
import { engineText, isLate } from './engine/engine-error.ts'
import type { EngineLink } from './engine/engine-link.ts'
import { installEtcFiles } from './etc-files.ts'
import { type CgroupFiles, cgroupFiles, readEvidence } from './evidence.ts'
import type { GuestConnection, GuestTransport } from './guest/guest-connection.ts'
import type { GuestAgent } from './guest-agent.ts'
import { SANDBOX_BOUNDS } from './limits.ts'
import { Making } from './making.ts'
import { containerBody, GUEST_UID, WORKSPACE_PATH, type WorkspaceSource } from './profile.ts'
import type { Recipe } from './recipe.ts'
import type { GuestEvidence } from './sandbox.ts'
import { type Freezer, freezerOf } from './standstill.ts'
import { EmptyDisks } from './workspace/empty-disks.ts'
import { diskPaths, isDiskFull, mountDisk, removeDisk, reserveDisk, thawDisk } from './workspace/loop-disk.ts'

/** The part of a row that its container depends on. */
export type Made = Recipe & Pick<SandboxRow, 'id' | 'container' | 'disk' | 'token'>

/** An agent that answers. */
export interface Awake {
  readonly guest: GuestConnection
  readonly pid: number
  /** Absent where the engine must be asked: on another host, or under a runtime that has its own way to stand still */
  readonly freezer: Freezer | undefined
  evidence(): Promise<GuestEvidence | undefined>
}

export interface ContainerHostOptions {
  readonly nodeId: string
  readonly lease: string
  /** All disks are in here, a folder for each sandbox */
  readonly folder: string
  readonly link: EngineLink
  readonly agent: GuestAgent
  /** Folder with the egress door's socket of a sandbox, if it has one */
  door?(sandbox: string): string | undefined
  /** Something was not removed, or may be made yet by an engine that does not answer */
  onLeft(): void
}

/** Who is to blame is asked of an engine that shall answer within, milliseconds */
const PING_MS = 1_000

export class ContainerHost {
  readonly #options: ContainerHostOptions
  /** Sandboxes whose container or disk is being made: what has no row yet is not an orphan */
  readonly making = new Making()
  readonly emptyDisks: EmptyDisks
  #etc: Promise<string> | undefined

  constructor(options: ContainerHostOptions) {
    this.#options = options
    this.emptyDisks = new EmptyDisks(join(options.folder, '.templates'))
  }

  folderOf(id: string): string {
    return join(this.#options.folder, id)
  }

  diskOf({ id, disk }: Pick<Made, 'id' | 'disk'>): string {
    return join(this.folderOf(id), disk)
  }

  /**
   * A started sandbox that nobody owns yet. @param fill brings content onto the new disk before it starts; in place of an empty one
   * @throws MeshError E_ENGINE_LOST, E_ENGINE, E_SANDBOX_LOST
   */
  async prepare(
    recipe: Recipe,
    options: { readonly id?: string; fill?(disk: string): Promise<void> } = {},
  ): Promise<{ made: Made; awake: Awake }> {
    const id = options.id ?? newId()
    const prepared = this.making.begin(id)
    const blank: Made = { ...recipe, id, container: '', disk: 'd1', token: randomBytes(16).toString('hex') }
    let made = blank
    try {
      const container = this.createContainer(blank).then((found) => {
        made = { ...blank, container: found }
      })
      await bothOf(container, this.#prepareDisk(blank, options.fill))
      return { made, awake: await this.start(made) }
    } catch (error) {
      await this.discard(made).catch(() => {})
      throw error
    } finally {
      prepared()
    }
  }

  async #prepareDisk(made: Made, fill: ((disk: string) => Promise<void>) | undefined): Promise<void> {
    if (made.workspace !== 'loop') return
    const folder = this.diskOf(made)
    if (fill) return fill(folder)
    await this.makeEmptyDisk(made)
  }

  async makeEmptyDisk(made: Made): Promise<void> {
    const { diskBytes, inodes } = made.limits
    await this.emptyDisks.make(this.diskOf(made), { bytes: diskBytes, inodes, uid: guestUid(made) })
  }

  /** @returns the engine's id of the container, which is not started */
  async createContainer(made: Made): Promise<string> {
    const { nodeId, lease, link, agent, door } = this.#options
    const client = link.client()
    if (made.workspace === 'loop') await reserveDisk(this.diskOf(made))
    const doorFolder = door?.(made.id)
    const body = containerBody({
      profile: made.profile,
      limits: made.limits,
      runtime: made.runtime,
      grade: made.grade,
      digest: made.root,
      workspace: this.#source(made),
      agent: await agent.install(made.id, made.token),
      etc: await this.#etcFiles(),
      labels: { node: nodeId, sandbox: made.id, lease },
      rootQuota: made.rootQuota === 'hard',
      ...(doorFolder === undefined ? {} : { door: doorFolder }),
    })
    return this.#orLeft(client.create(`manyhands-${made.id}-${randomBytes(3).toString('hex')}`, body))
  }

  /** Written once; tried again after a failure. */
  #etcFiles(): Promise<string> {
    this.#etc ??= installEtcFiles(join(this.#options.folder, '.etc')).catch((error: unknown) => {
      this.#etc = undefined
      throw error
    })
    return this.#etc
  }

  #source(made: Made): WorkspaceSource {
    return made.workspace === 'loop' ? { kind: 'loop', ...diskPaths(this.diskOf(made)) } : { kind: 'tmpfs' }
  }

  /** Starts a container that is there and not running. */
  async start(made: Made): Promise<Awake> {
    const { link, agent } = this.#options
    const client = link.client()
    await agent.install(made.id, made.token)
    const mounted = made.workspace === 'loop' ? mountDisk(this.diskOf(made)) : undefined
    mounted?.catch(() => {})
    const stream = await client.attach(made.container).catch(async (error: unknown) => {
      // Else it is mounted behind the clean-up, or a second time by the next start
      await mounted?.catch(() => {})
      throw error
    })
    try {
      await mounted
      await client.start(made.container)
      link.runtimeHangs(made.runtime, false)
    } catch (error) {
      stream.destroy()
      await this.#blameRuntime(client, made, error)
      throw error
    }
    return this.#connect(client, made, attachedTransport(stream))
  }

  /** Takes up one that runs already, as after a restart of the daemon. */
  async resume(made: Made): Promise<Awake> {
    const client = this.#options.link.client()
    await this.thawDisk(made)
    return this.#connect(client, made, attachedTransport(await client.attach(made.container)))
  }

  async #connect(client: EngineClient, made: Made, transport: GuestTransport): Promise<Awake> {
    const facts = client.inspect(made.container).then(async ({ pid }) => {
      const [files, freezer] = await Promise.all([this.#cgroup(pid), this.freezerFor(made, pid)])
      return { pid, files, freezer }
    })
    facts.catch(() => {})
    const evidence = async (): Promise<GuestEvidence | undefined> => {
      const { files } = await facts
      return files && readEvidence(files, () => this.#isFull(made))
    }
    let guest: GuestConnection | undefined
    // Which of the two is gone is found out before the connection learns that its stream is over.
    const watched: GuestTransport = {
      ...transport,
      onEnd: (listener) =>
        transport.onEnd((error) => {
          void this.#whatWasLost().then((reason) => {
            guest?.lost(reason, error)
            listener(error)
          })
        }),
    }
    const evident = (): Promise<GuestEvidence | undefined> => evidence().catch(() => undefined)
    const signal = AbortSignal.timeout(SANDBOX_BOUNDS.agentMs)
    const { token } = made
    try {
      const local = this.#options.link.info()?.local === true
      const about = { token, cwd: WORKSPACE_PATH, evidence: evident, signal, local }
      guest = await this.#options.agent.connect(made.id, watched, about)
      const { pid, freezer } = await facts
      return { guest, pid, freezer, evidence: evident }
    } catch (error) {
      guest?.close()
      transport.close()
      throw error instanceof MeshError
        ? error
        : new MeshError('E_SANDBOX_LOST', 'Cannot use the sandbox: its agent did not answer', { cause: error })
    }
  }

  /** Disk and container of something that will not be a sandbox (any more). */
  async discard(made: Pick<Made, 'id' | 'container'>): Promise<void> {
    await this.removeContainer(made.container)
    await this.#orLeft(this.removeFolder(made.id))
    await this.#options.agent.uninstall(made.id)
  }

  /** @param container empty: there is none */
  async removeContainer(container: string): Promise<void> {
    if (container !== '') await this.#orLeft(this.#options.link.client().remove(container))
  }

  async #orLeft<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      this.#options.onLeft()
      throw error
    }
  }

  /** @param disks their names; all of the sandbox's when absent */
  async removeFolder(id: string, disks?: readonly string[]): Promise<void> {
    const folder = this.folderOf(id)
    const names = disks ?? (await readdir(folder).catch(() => []))
    for (const name of names) await removeDisk(join(folder, name))
    if (disks === undefined) await rm(folder, { recursive: true, force: true })
  }

  async freezerFor({ container, grade }: Pick<Made, 'container' | 'grade'>, pid: number): Promise<Freezer | undefined> {
    const usable = this.#options.link.info()?.local === true && pid > 0 && grade === 'jailed'
    return usable ? freezerOf(pid, container) : undefined
  }

  /** Lets its disk go on that a daemon of before may have left frozen. */
  async thawDisk(made: Pick<Made, 'id' | 'disk' | 'workspace'>): Promise<void> {
    if (made.workspace === 'loop') await thawDisk(this.diskOf(made))
  }

  async #cgroup(pid: number): Promise<CgroupFiles | undefined> {
    return this.#options.link.info()?.local === true && pid > 0 ? cgroupFiles(pid) : undefined
  }

  #isFull(made: Made): Promise<boolean> {
    return made.workspace === 'loop' ? isDiskFull(this.diskOf(made)) : Promise.resolve(false)
  }

  async #whatWasLost(): Promise<'engine-lost' | 'sandbox-lost'> {
    try {
      await this.#options.link.client().ping(PING_MS)
      return 'sandbox-lost'
    } catch {
      this.#options.link.suspect()
      return 'engine-lost'
    }
  }

  async #blameRuntime(client: EngineClient, made: Made, error: unknown): Promise<void> {
    if (made.grade === 'jailed') return
    const { link } = this.#options
    if (
      /OCI runtime (create|start) failed|unknown runtime|failed to (create|start) (shim|task)/i.test(engineText(error))
    )
      link.dropRuntime(made.runtime)
    if (!isLate(error)) return
    const engineAnswers = await client.ping(PING_MS).then(
      () => true,
      () => false,
    )
    if (engineAnswers) link.runtimeHangs(made.runtime, true)
  }
}

export const guestUid = ({ profile }: Pick<Recipe, 'profile'>): number => (profile === 'strict' ? GUEST_UID : 0)

export const newId = (): string => randomBytes(10).toString('hex')

/** As Promise.all, but waits for both before it fails: nothing goes on behind the caller's clean-up. */
export async function bothOf(...parts: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(parts)
  await Promise.all(parts)
}
