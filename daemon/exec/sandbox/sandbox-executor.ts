/**
 * Sandboxes on a Docker engine: finds the engine, makes, keeps, wakes and removes sandboxes, and survives its own and the engine's restarts.
 * Nothing of the engine's client is loaded before an engine's socket was found.
 */
import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../protocol/errors.ts'
import type { Grade } from '../../../protocol/job.ts'
import type { SandboxRow } from '../../../protocol/sandbox/row.ts'
import type { Journal } from '../../journal/journal.ts'
import { type Adoption, adoption, removeOrphans, removeStrayDisks } from './adopt.ts'
import { ContainerHost, newId } from './container-host.ts'
import { exportSandbox } from './content/export-content.ts'
import { fillFromStream, openContent } from './content/import-content.ts'
import type { EngineClient, EngineEvent } from './engine/engine-client.ts'
import type { EngineInfo } from './engine/engine-info.ts'
import { EngineLink } from './engine/engine-link.ts'
import { type GuestAgent, helperAgent } from './guest-agent.ts'
import { EngineImages } from './images/engine-images.ts'
import { DEFAULT_CEILINGS, DEFAULT_LIMITS, SANDBOX_BOUNDS } from './limits.ts'
import { type ForkOptions, type LiveContext, LiveSandbox } from './live-sandbox.ts'
import { type Ownership, ownershipOf, type Recipe, type RecipePolicy, recipeOf } from './recipe.ts'
import type { CreateOptions, ImageStore, Sandbox, SandboxExecutor, SandboxLimits, SandboxSpec } from './sandbox.ts'
import { SandboxStore } from './sandbox-store.ts'
import { SnapshotKeeper } from './snapshot-keeper.ts'
import { type Prepared, WarmPool } from './warm-pool.ts'
import { copyDisk } from './workspace/disk-copy.ts'
import { canMakeDisks, mountDisk } from './workspace/loop-disk.ts'

const MINUTE = 60_000

export interface SandboxExecutorOptions {
  readonly nodeId: string
  /** For disks and the agent's file; this executor's alone */
  readonly folder: string
  readonly journal: Journal
  /** `unix:///path`, `tcp://host:port`, `none`, or empty: found by itself */
  readonly engine: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly home: string
  /** The weakest grade offered. @default 'jailed' */
  readonly leastGrade?: Grade
  readonly defaults?: SandboxLimits
  readonly ceilings?: SandboxLimits
  /** @default 5 minutes */
  readonly sleepAfterMs?: number
  /** Sandboxes kept started of each of the kinds used last. @default 1 and 2 */
  readonly warm?: { readonly each: number; readonly kinds: number }
  /** Whether profile `build` is also made under runtimes that share the host's kernel. @default false */
  readonly buildInContainers?: boolean
  /** Between looks for sandboxes to put to sleep, milliseconds. @default 1000 */
  readonly tickMs?: number
  /** Folder with the socket of a sandbox's egress door, shown to it read-only at `/run/mesh` */
  door?(sandbox: string): string | undefined
  readonly agent?: GuestAgent
  trouble?(what: string, error: unknown): void
}

/** Looks at the roots of `build` sandboxes that no driver bounds once in so many ticks. */
const ROOT_TICKS = 5
/** What could not be removed is looked for again after so many ticks. */
const SWEEP_TICKS = 30

/** @throws MeshError E_CONFIG, E_JOURNAL_GAP */
export async function createSandboxExecutor(options: SandboxExecutorOptions): Promise<DockerSandboxExecutor> {
  await mkdir(options.folder, { recursive: true, mode: 0o700 })
  // The kernel's table of mounts, by which disks are known as mounted, has no links in its paths.
  const folder = await realpath(options.folder)
  const executor = new DockerSandboxExecutor({ ...options, folder }, await canMakeDisks())
  await executor.start()
  return executor
}

export class DockerSandboxExecutor implements SandboxExecutor {
  readonly #options: SandboxExecutorOptions
  readonly #policy: RecipePolicy
  readonly #link: EngineLink
  readonly #host: ContainerHost
  readonly #store: SandboxStore
  readonly #images: EngineImages
  readonly #snapshots: SnapshotKeeper
  readonly #agent: GuestAgent
  readonly #pool: WarmPool
  readonly #context: LiveContext
  readonly #sandboxes = new Map<string, LiveSandbox>()
  readonly #listeners = new Set<(info: EngineInfo | undefined) => void>()
  /** Names given to sandboxes that are being made */
  readonly #reserved = new Set<string>()
  readonly #background = new Set<Promise<void>>()
  #timer: NodeJS.Timeout | undefined
  #ticks = 0
  /** Ticks until what nobody owns is looked for; undefined while nothing is known to be left */
  #untilSweep: number | undefined
  #closed = false

  constructor(options: SandboxExecutorOptions, loopWorkspaces: boolean) {
    this.#options = options
    this.#policy = {
      defaults: options.defaults ?? DEFAULT_LIMITS,
      ceilings: options.ceilings ?? DEFAULT_CEILINGS,
      sleepAfterMs: options.sleepAfterMs ?? 5 * MINUTE,
      buildInContainers: options.buildInContainers ?? false,
    }
    this.#agent = options.agent ?? helperAgent(join(options.folder, '.agents'))
    this.#store = new SandboxStore(options.journal)
    this.#link = this.#makeLink(loopWorkspaces)
    const lease = newId()
    this.#host = new ContainerHost({
      ...{ nodeId: options.nodeId, lease, folder: options.folder, link: this.#link, agent: this.#agent },
      door: (id) => options.door?.(id),
      onLeft: () => (this.#untilSweep ??= SWEEP_TICKS),
    })
    this.#images = new EngineImages(this.#link, join(options.folder, '.build'))
    this.#snapshots = new SnapshotKeeper(this.#link, this.#host)
    this.#pool = new WarmPool({
      ...(options.warm ?? { each: 1, kinds: 2 }),
      settleMs: 100,
      make: (recipe) => this.#host.prepare(recipe),
      discard: (made) => this.#host.discard(made),
      trouble: (error) => this.#trouble('A sandbox could not be made ready ahead', error),
    })
    this.#context = {
      ...{ link: this.#link, host: this.#host, store: this.#store, snapshots: this.#snapshots },
      fork: (source, fork) => this.#fork(source, fork),
      exportContent: (source, signal) => exportSandbox(source, this.#host, this.#link, signal),
      removed: (sandbox) => void this.#sandboxes.delete(sandbox.id),
      trouble: (what, error) => this.#trouble(what, error),
    }
  }

  #makeLink(loopWorkspaces: boolean): EngineLink {
    const { engine, env, home, leastGrade = 'jailed' } = this.#options
    return new EngineLink({
      ...{ configured: engine, env, home, leastGrade, loopWorkspaces },
      uid: process.geteuid?.() ?? 0,
      label: `mesh.node=${this.#options.nodeId}`,
      onUp: (client, info) => this.#engineUp(client, info),
      onLost: () => this.#engineLost(),
      onEvent: (event) => this.#engineEvent(event),
      onTrouble: (error) => this.#trouble('The container engine', error),
    })
  }

  async start(): Promise<void> {
    await this.#host.emptyDisks
      .sweep()
      .catch((error: unknown) => this.#trouble('Something of before could not be removed', error))
    for (const row of await this.#store.all()) {
      await this.#host.thawDisk(row)
      this.#sandboxes.set(row.id, new LiveSandbox(this.#context, row, 'stopped'))
    }
    await this.#link.start()
    this.#timer = setInterval(() => this.#tick(), this.#options.tickMs ?? 1_000)
    this.#timer.unref()
  }

  get images(): ImageStore {
    return this.#images
  }

  info(): EngineInfo | undefined {
    return this.#link.info()
  }

  grades(): readonly Grade[] {
    return [...new Set(this.#link.info()?.runtimes.map(({ grade }) => grade) ?? [])]
  }

  onEngine(listener: (info: EngineInfo | undefined) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  get(id: string): Sandbox | undefined {
    return this.#sandboxes.get(id)
  }

  list(): readonly Sandbox[] {
    return [...this.#sandboxes.values()]
  }

  /** Makes sandboxes of this kind ready, as many as are kept. @throws as create */
  async warm(spec: SandboxSpec): Promise<void> {
    await this.#pool.warm(await this.#recipe(spec))
  }

  async create(spec: SandboxSpec, options: CreateOptions = {}): Promise<Sandbox> {
    const ownership = ownershipOf(spec, this.#policy)
    return this.#reserve(ownership, async () => {
      const recipe = await this.#recipe(spec)
      options.signal?.throwIfAborted()
      const ready = this.#pool.take(recipe)
      if (!ready) options.progress?.('starting')
      return this.#own(ready ?? (await this.#prepare(spec, recipe)), ownership)
    })
  }

  async import(
    stream: AsyncIterable<Uint8Array>,
    overrides: { readonly owner: string; readonly name?: string; readonly grade?: Grade },
    options: CreateOptions = {},
  ): Promise<Sandbox> {
    const content = await openContent(stream, options.signal)
    try {
      const { spec } = content
      const { owner, name, grade } = overrides
      const wanted: SandboxSpec = {
        ...{ ...spec, owner },
        ...(name === undefined ? {} : { name }),
        ...(grade === undefined ? {} : { grade }),
      }
      const ownership = ownershipOf(wanted, this.#policy)
      return await this.#reserve(ownership, async () => {
        // Asked for by digest, called as before
        const recipe = { ...(await this.#recipe(wanted)), image: content.header.image }
        const prepared = await fillFromStream(content, recipe, this.#host)
        return this.#own(prepared, ownership)
      })
    } finally {
      await content.close()
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#timer)
    await this.#pool.close().catch((error: unknown) => this.#trouble('Ready sandboxes could not be removed', error))
    const asleep = [...this.#sandboxes.values()].map((sandbox) =>
      sandbox.letGo().catch((error: unknown) => {
        if (this.#link.info()) this.#trouble('A sandbox could not be put to sleep', error)
      }),
    )
    await Promise.all(asleep)
    await Promise.all(this.#background)
    await this.#link.close()
  }

  // ---- making

  async #recipe(spec: SandboxSpec): Promise<Recipe> {
    // Says whether there is no engine or it was lost.
    this.#link.client()
    const info = this.#link.info()
    if (!info)
      throw new MeshError('E_NO_ENGINE', 'Cannot use sandboxes: no container engine was found on this node', {
        hint: 'Install and start Docker there, or name an engine in sandbox.engine; `manyhands doctor` says what was found',
      })
    const image = await this.#images.resolve(spec.image)
    return recipeOf(spec, image, info, this.#policy)
  }

  /** A runtime that does not start is dropped, or noted to hang, by who met it; a caller that demanded no grade gets the next. */
  async #prepare(spec: SandboxSpec, recipe: Recipe): Promise<Prepared> {
    try {
      return await this.#host.prepare(recipe)
    } catch (error) {
      const { runtimes = [], hanging = [] } = this.#link.info() ?? {}
      const blamed = hanging.includes(recipe.runtime) || !runtimes.some(({ name }) => name === recipe.runtime)
      if (!blamed || spec.grade !== undefined) throw error
      const next = await this.#recipe(spec)
      if (next.runtime === recipe.runtime) throw error
      return this.#host.prepare(next)
    }
  }

  async #own({ made, awake }: Prepared, ownership: Ownership): Promise<LiveSandbox> {
    const row: SandboxRow = { version: 1, ...made, ...ownership, createdAt: Date.now(), snapshots: [] }
    const sandbox = new LiveSandbox(this.#context, row, 'running', awake)
    this.#sandboxes.set(row.id, sandbox)
    try {
      await this.#store.keep(row)
      return sandbox
    } catch (error) {
      this.#sandboxes.delete(row.id)
      awake.guest.close()
      await this.#host
        .discard(made)
        .catch((failure: unknown) => this.#trouble('A sandbox could not be removed', failure))
      throw error
    }
  }

  /** @throws MeshError E_CONFLICT, E_OVERLOADED, E_STOPPING */
  async #reserve<T>({ owner, name }: Ownership, make: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new MeshError('E_STOPPING', 'Cannot make the sandbox: the daemon is shutting down')
    if (this.#sandboxes.size + this.#reserved.size >= SANDBOX_BOUNDS.sandboxes)
      throw new MeshError(
        'E_OVERLOADED',
        `Cannot make the sandbox: this node has ${SANDBOX_BOUNDS.sandboxes} already`,
        { hint: 'Remove some: manyhands sandbox ls, manyhands sandbox rm <sandbox>' },
      )
    const key = JSON.stringify([owner, name ?? newId()])
    const taken = [...this.#sandboxes.values()].some(({ row }) => row.owner === owner && row.name === name)
    if (name !== undefined && (taken || this.#reserved.has(key)))
      throw new MeshError('E_CONFLICT', `Cannot make the sandbox: there is one of the name ${name}`, {
        hint: `Take another name, or remove that one first: manyhands sandbox rm ${name}`,
      })
    this.#reserved.add(key)
    try {
      return await make()
    } finally {
      this.#reserved.delete(key)
    }
  }

  #fork(source: LiveSandbox, { name, owner, from }: ForkOptions): Promise<Sandbox> {
    const ownership = {
      ...{ owner: owner ?? source.row.owner, env: source.row.env, sleepAfterMs: source.row.sleepAfterMs },
      ...(name === undefined ? {} : { name }),
    }
    const { image } = source.row
    ownershipOf({ ...ownership, image: image.name }, this.#policy)
    return this.#reserve(ownership, async () => {
      const id = newId()
      const forked = this.#host.making.begin(id)
      try {
        const copied = await this.#copyOf(source, id, from)
        const recipe: Recipe = { ...pickRecipe(source.row), root: copied.root ?? image.digest }
        const fill = async (disk: string): Promise<void> => {
          if (disk !== copied.folder) await copyDisk(copied.folder, disk)
          await mountDisk(disk)
        }
        return await this.#own(await this.#host.prepare(recipe, { id, fill }), ownership)
      } catch (error) {
        await this.#host.removeFolder(id).catch(() => undefined)
        await this.#snapshots.removeImages({ id }).catch(() => undefined)
        throw error
      } finally {
        forked()
      }
    })
  }

  /** Its disk as it is now, or as a snapshot has it, as the first disk of sandbox `id`. */
  async #copyOf(source: LiveSandbox, id: string, from: string | undefined): Promise<{ folder: string; root?: string }> {
    const folder = this.#host.diskOf({ id, disk: 'd1' })
    if (from === undefined) {
      const { root } = await source.still(() => this.#snapshots.copy(source.row, id, 'd1'))
      return { folder, ...(root === undefined ? {} : { root }) }
    }
    const { disk, root } = source.snapshotNamed(from)
    return { folder: this.#host.diskOf({ id: source.id, disk }), ...(root === undefined ? {} : { root }) }
  }

  // ---- the engine's comings and goings

  async #engineUp(client: EngineClient, info: EngineInfo): Promise<void> {
    this.#images.forget()
    await this.#agent.prepare(info.platform)
    const { states, orphans } = await this.#lookAround(client)
    for (const [id, state] of states) this.#sandboxes.get(id)?.found(state)
    this.#inBackground(this.#findStanding(client))
    this.#inBackground(this.#removeUnowned(client, orphans))
    for (const listener of this.#listeners) listener(info)
  }

  async #lookAround(client: EngineClient): Promise<Adoption> {
    const containers = await client.list(`mesh.node=${this.#options.nodeId}`)
    const rows = [...this.#sandboxes.values()].map(({ row }) => row)
    const busy = new Set([...this.#host.making.ids(), ...this.#pool.ids()])
    return adoption(containers, rows, busy)
  }

  /** What cannot be removed now is tried again later. */
  async #removeUnowned(client: EngineClient, orphans: Adoption['orphans']): Promise<void> {
    const trouble = (error: unknown): void => {
      this.#untilSweep ??= SWEEP_TICKS
      this.#trouble('What nobody owns could not be removed', error)
    }
    await removeOrphans(client, orphans, trouble)
    await this.#removeStrays().catch(trouble)
  }

  async #sweep(): Promise<void> {
    const client = this.#link.client()
    try {
      const { orphans } = await this.#lookAround(client)
      await this.#removeUnowned(client, orphans)
    } catch (error) {
      this.#untilSweep ??= SWEEP_TICKS
      throw error
    }
  }

  /** What a daemon before this one brought to stand is running to the engine. */
  async #findStanding(client: EngineClient): Promise<void> {
    for (const sandbox of this.#sandboxes.values()) {
      if (sandbox.view().state !== 'running') continue
      const found = await client.inspect(sandbox.row.container).catch(() => undefined)
      const freezer = found && (await this.#host.freezerFor(sandbox.row, found.pid))
      if (freezer && (await freezer.frozen())) sandbox.foundStanding(freezer)
    }
  }

  async #removeStrays(): Promise<void> {
    const known = (id: string): boolean =>
      this.#host.making.has(id) || this.#pool.ids().has(id) || this.#sandboxes.has(id)
    await removeStrayDisks(this.#host, this.#options.folder, { get: (id) => this.#sandboxes.get(id), known })
    await this.#agent.uninstall({ known })
    await this.#snapshots.removeImages({ node: this.#options.nodeId, known })
  }

  #engineLost(): void {
    this.#pool.forget()
    for (const sandbox of this.#sandboxes.values()) sandbox.engineLost()
    for (const listener of this.#listeners) listener(undefined)
  }

  #engineEvent({ action, container }: EngineEvent): void {
    if (action === 'die') this.#pool.died(container)
    const sandbox = [...this.#sandboxes.values()].find(({ row }) => row.container === container)
    if (action === 'oom') sandbox?.memoryRanOut()
    if (!sandbox || action !== 'die') return
    const died = sandbox.dying()
    this.#inBackground(
      this.#link
        .client()
        .inspect(container)
        .then(
          ({ running, oomKilled, exitCode }) => {
            if (!running) died(oomKilled, exitCode)
          },
          () => died(false, 0),
        ),
    )
  }

  // ---- keeping watch

  #tick(): void {
    const now = performance.now()
    if (!this.#link.info()) return
    for (const sandbox of this.#sandboxes.values()) sandbox.tick(now)
    this.#ticks = (this.#ticks + 1) % ROOT_TICKS
    if (this.#ticks === 0) for (const sandbox of this.#sandboxes.values()) this.#watchRoot(sandbox)
    if (this.#untilSweep === undefined || --this.#untilSweep > 0) return
    this.#untilSweep = undefined
    this.#inBackground(this.#sweep())
  }

  #watchRoot(sandbox: LiveSandbox): void {
    const { row } = sandbox
    if (row.rootQuota !== 'watched' || sandbox.view().state !== 'running') return
    const client = this.#link.client()
    this.#inBackground(
      client.inspect(row.container, { size: true }).then(
        ({ rootBytes = 0 }) => (rootBytes > row.limits.rootBytes ? sandbox.endFor('disk') : undefined),
        () => undefined,
      ),
    )
  }

  #inBackground(work: Promise<unknown>): void {
    const settled: Promise<void> = work
      .then(
        () => {},
        (error: unknown) => this.#trouble('Work on sandboxes', error),
      )
      .finally(() => this.#background.delete(settled))
    this.#background.add(settled)
  }

  #trouble(what: string, error: unknown): void {
    this.#options.trouble?.(what, error)
  }
}

function pickRecipe(row: SandboxRow): Recipe {
  const { profile, grade, runtime, image, limits, workspace, rootQuota, root } = row
  return { profile, grade, runtime, image, limits, workspace, rootQuota, root }
}
