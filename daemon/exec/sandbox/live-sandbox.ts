/**
 * One sandbox while the daemon runs: its row, its state and the agent inside. All changes of state go one after the other through `#serial`; each
 * begins by looking at what is really there, so that an engine that restarted, or a hand that meddled, is met like any other state.
 */
import { MeshError } from '../../../protocol/errors.ts'
import type { SandboxRow, SnapshotRow } from '../../../protocol/sandbox/row.ts'
import { disksOfRow } from './adopt.ts'
import type { Awake, ContainerHost } from './container-host.ts'
import type { EngineLink } from './engine/engine-link.ts'
import type { GuestConnection } from './guest/guest-connection.ts'
import { LastEnd } from './last-end.ts'
import { SANDBOX_BOUNDS } from './limits.ts'
import { WORKSPACE_PATH } from './profile.ts'
import type { GuestEvidence, Sandbox, SandboxState, SandboxView, SnapshotView } from './sandbox.ts'
import type { SandboxStore } from './sandbox-store.ts'
import { Serial } from './serial.ts'
import { SnapshotKeeper } from './snapshot-keeper.ts'
import { type Freezer, letGo, Standstill } from './standstill.ts'
import { unmountDisk } from './workspace/loop-disk.ts'

/** A sandbox that is not used is paused after its time, and stopped after so many times that. */
const STOP_FACTOR = 10

export interface LiveContext {
  readonly link: EngineLink
  readonly host: ContainerHost
  readonly store: SandboxStore
  readonly snapshots: SnapshotKeeper
  /** Makes a sandbox of a copy; the executor's, as it has an id and a name to give */
  fork(source: LiveSandbox, options: ForkOptions): Promise<Sandbox>
  exportContent(source: LiveSandbox, signal: AbortSignal | undefined): AsyncIterable<Uint8Array>
  removed(sandbox: LiveSandbox): void
  trouble(what: string, error: unknown): void
}

export interface ForkOptions {
  readonly name?: string
  readonly owner?: string
  readonly from?: string
}

export class LiveSandbox implements Sandbox {
  readonly #context: LiveContext
  readonly #serial = new Serial()
  readonly #standstill: Standstill
  readonly #listeners = new Set<(state: SandboxState | 'removed') => void>()
  #row: SandboxRow
  #state: SandboxState
  #awake: Awake | undefined
  readonly #lastEnd = new LastEnd()
  #removed = false
  /** An end that we bring about ourselves is no news */
  #ending = false
  #uses = 0
  /** How often it came up */
  #lives = 0
  /** Since when nobody uses it, monotonic milliseconds */
  #idleSince = performance.now()

  constructor(context: LiveContext, row: SandboxRow, state: SandboxState, awake?: Awake) {
    this.#context = context
    this.#row = row
    this.#state = state
    this.#standstill = new Standstill(() => context.link.client())
    if (awake) this.#isAwake(awake)
  }

  get id(): string {
    return this.#row.id
  }

  get row(): SandboxRow {
    return this.#row
  }

  view(): SandboxView {
    const { id, name, owner, profile, grade, runtime, image, limits, workspace, rootQuota, env } = this.#row
    const { reason: lastEnd } = this.#lastEnd
    return {
      ...{ id, name, owner, state: this.#state, profile, grade, runtime, image, limits, env },
      workspace: {
        kind: workspace,
        path: WORKSPACE_PATH,
        quota: 'hard',
        rootQuota,
        survivesStop: workspace === 'loop',
      },
      sleepAfterMs: this.#row.sleepAfterMs,
      createdAt: this.#row.createdAt,
      snapshots: this.#row.snapshots.map(({ name, createdAt, bytes }) => ({ name, createdAt, bytes })),
      ...(lastEnd === undefined ? {} : { lastEnd }),
    }
  }

  async guest(signal?: AbortSignal): Promise<GuestConnection> {
    this.#idleSince = performance.now()
    if (this.#state === 'running' && this.#awake && !this.#removed) return this.#awake.guest
    signal?.throwIfAborted()
    return (await this.#inTurn(() => this.#wakeUp())).guest
  }

  async use(): Promise<() => void> {
    this.#uses++
    let used = true
    const release = (): void => {
      if (used) this.#uses--
      used = false
      this.#idleSince = performance.now()
    }
    try {
      await this.guest()
      return release
    } catch (error) {
      release()
      throw error
    }
  }

  async evidence(): Promise<GuestEvidence | undefined> {
    return this.#awake?.evidence()
  }

  hostPid(): number | undefined {
    return this.#awake !== undefined && this.#context.link.info()?.local === true ? this.#awake.pid : undefined
  }

  onChange(listener: (state: SandboxState | 'removed') => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async wake(): Promise<void> {
    await this.guest()
  }

  sleep(depth: 'pause' | 'stop' = 'stop'): Promise<void> {
    return this.#inTurn(() => (depth === 'pause' ? this.#pause() : this.#stop()))
  }

  snapshot(name: string): Promise<SnapshotView> {
    return this.#inTurn(async () => {
      const taken = await this.frozen(() => this.#context.snapshots.take(this.#row, name))
      try {
        await this.#keep({ snapshots: [...this.#row.snapshots, taken] })
      } catch (error) {
        await this.#context.snapshots.remove(this.#row, taken).catch(() => undefined)
        throw error
      }
      return { name: taken.name, createdAt: taken.createdAt, bytes: taken.bytes }
    })
  }

  restore(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.#row
      const awake = await this.#takeOn(before, this.snapshotNamed(name))
      this.#awake?.guest.lost('sandbox-lost')
      const stood = this.#standstill.unknownToEngine
      this.#standstill.forget()
      this.#isAwake(awake)
      this.#changed('running')
      // Nothing of the old can reach the new; whoever comes next waits until it is gone.
      void this.#serial
        .run(async () => {
          if (stood) await letGo(this.#context.link.client(), before.container).catch(() => undefined)
          await this.#context.snapshots.forget(before)
        })
        .catch((error: unknown) => {
          this.#context.trouble('Something of before a restore could not be removed', error)
        })
    })
  }

  /** Makes what a snapshot has its own. */
  async #takeOn(before: SandboxRow, from: SnapshotRow): Promise<Awake> {
    const { host, snapshots } = this.#context
    const taken = host.making.begin(this.id)
    try {
      const { made, awake } = await snapshots.restore(before, from)
      try {
        await this.#keep({ container: made.container, disk: made.disk, root: made.root })
      } catch (error) {
        awake.guest.close()
        await snapshots.forget({ ...before, container: made.container, disk: made.disk })
        throw error
      }
      return awake
    } finally {
      taken()
    }
  }

  removeSnapshot(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const gone = this.snapshotNamed(name)
      await this.#keep({ snapshots: this.#row.snapshots.filter((one) => one !== gone) })
      await this.#context.snapshots.remove(this.#row, gone)
    })
  }

  fork(options: ForkOptions = {}): Promise<Sandbox> {
    return this.#context.fork(this, options)
  }

  exportContent(signal?: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#context.exportContent(this, signal)
  }

  remove(): Promise<void> {
    return this.#inTurn(async () => {
      // The row goes first: what a crash leaves of the rest is then an orphan and is removed at the next start.
      await this.#context.store.drop(this.id)
      this.#removed = true
      this.#ending = true
      this.#context.removed(this)
      this.#changed('removed')
      this.#awake?.guest.close()
      this.#awake = undefined
      if (this.#standstill.unknownToEngine) await this.#standstill.end(this.#row.container).catch(() => undefined)
      await this.#removeRest().catch((error: unknown) =>
        this.#context.trouble('What is left of a sandbox could not be removed yet', error),
      )
    })
  }

  async #removeRest(): Promise<void> {
    const { host, snapshots } = this.#context
    await host.discard(this.#row)
    await snapshots.removeImages(this.#row)
  }

  /** Runs `job` while nothing in the sandbox moves; one that was awake goes on after. For whoever is in turn already. */
  async frozen<T>(job: () => Promise<T>): Promise<T> {
    if (this.#state !== 'running') return job()
    await this.#orPaused(this.#standstill.begin(this.#row.container, this.#awake?.freezer))
    try {
      return await job()
    } finally {
      await this.#orPaused(this.#standstill.end(this.#row.container))
    }
  }

  /** As `frozen`, in turn. */
  still<T>(job: () => Promise<T>): Promise<T> {
    return this.#inTurn(() => this.frozen(job))
  }

  /** Has disks removed that neither its row nor a snapshot names: in turn, as the next copy may be given the name of one. */
  removeStrays(remove: (named: ReadonlySet<string>) => Promise<void>): Promise<void> {
    return this.#serial.run(async () => {
      if (!this.#removed) await remove(disksOfRow(this.#row))
    })
  }

  /** @throws MeshError E_NOT_FOUND */
  snapshotNamed(name: string): SnapshotRow {
    const found = this.#row.snapshots.find((one) => one.name === name)
    if (!found)
      throw new MeshError('E_NOT_FOUND', `Cannot find the snapshot: there is none of the name ${name}`, {
        hint: 'See those there are with: manyhands sandbox show <sandbox>',
      })
    return found
  }

  /** To be called now and then: puts it to sleep when its time has come. */
  tick(now: number): void {
    const after = this.#row.sleepAfterMs
    const activity = this.#awake?.guest.activity
    // A caller that kept the connection may use it while it sleeps.
    if (this.#state === 'paused' && activity !== undefined && activity.active > 0) {
      this.wake().catch((error: unknown) => this.#context.trouble('A sandbox could not be woken', error))
      return
    }
    if (after === 0 || this.#uses > 0 || this.#state === 'stopped' || this.#state === 'lost') return
    const idle = this.#idleFor(now)
    const deep = idle >= after * STOP_FACTOR && this.#row.workspace === 'loop'
    if (idle < after || (this.#state === 'paused' && !deep)) return
    this.#inTurn(async () => {
      if (this.#idleFor(performance.now()) >= after && this.#uses === 0) await (deep ? this.#stop() : this.#pause())
    }).catch((error: unknown) => this.#context.trouble('A sandbox could not be put to sleep', error))
  }

  #idleFor(now: number): number {
    const activity = this.#awake?.guest.activity
    if (activity !== undefined && activity.active > 0) return 0
    return now - Math.max(this.#idleSince, activity?.lastAt ?? 0)
  }

  /** Ends it because it broke a bound that only shows from outside. */
  endFor(reason: 'disk'): Promise<void> {
    return this.#inTurn(async () => {
      await this.#end(this.#row.container)
      this.#lastEnd.endedFor(reason)
      this.#changed('stopped')
    })
  }

  /**
   * The engine says that its container ended.
   * @returns tells how, once the engine was asked; that may be so late that it is up again, and then it is no news
   */
  dying(): (outOfMemory: boolean, code: number) => void {
    const life = this.#lives
    return (outOfMemory, code) => {
      if (life === this.#lives) this.#died(outOfMemory, code)
    }
  }

  #died(outOfMemory: boolean, code: number): void {
    // what was stopped by us may be told only now
    if (this.#ending || this.#removed || this.#state === 'stopped') return
    this.#awake = undefined
    this.#standstill.forget()
    this.#lastEnd.died({ gvisor: this.#row.grade === 'gvisor', outOfMemory, code })
    this.#changed('stopped')
  }

  /** The engine says that the kernel ended a process of it for memory; that may come after the end it explains. */
  memoryRanOut(): void {
    this.#lastEnd.memoryRanOut()
  }

  engineLost(): void {
    this.#awake?.guest.lost('engine-lost')
    this.#awake = undefined
  }

  /** What the engine says it is, after the engine was found (again). */
  found(state: SandboxState): void {
    if (state === 'running' && this.#state === 'paused' && this.#standstill.unknownToEngine) return
    this.#standstill.forget()
    if (this.#state === 'running' && state === 'stopped') this.#lastEnd.endedFor('engine')
    this.#changed(state)
  }

  /** It was brought to stand by the daemon of before, which the engine does not know. */
  foundStanding(freezer: Freezer): void {
    if (this.#state !== 'running' || this.#awake !== undefined || this.#removed) return
    this.#standstill.found(freezer)
    this.#changed('paused')
  }

  /** The daemon goes; the sandbox stays. */
  letGo(): Promise<void> {
    return this.#inTurn(async () => {
      this.#ending = true
      this.#awake?.guest.close()
      this.#awake = undefined
      if (this.#row.workspace === 'loop' && this.#state !== 'lost') await this.#stop()
    })
  }

  async #wakeUp(): Promise<Awake> {
    this.#idleSince = performance.now()
    if (this.#state === 'running' && this.#awake) return this.#awake
    if (this.#state === 'paused' && this.#awake) {
      await this.#standstill.end(this.#row.container)
      this.#changed('running')
      return this.#awake
    }
    const awake = await this.#bringUp()
    this.#isAwake(awake)
    this.#changed('running')
    return awake
  }

  async #bringUp(): Promise<Awake> {
    const { host, link } = this.#context
    if (this.#state === 'stopped' && this.#row.container !== '') {
      // As a rule it is what it was left as, and nothing need be asked.
      const awake = await host.start(this.#row).catch(onlyMissing)
      if (awake) return awake
    }
    const client = link.client()
    const found = this.#row.container === '' ? undefined : await client.inspect(this.#row.container).catch(onlyMissing)
    if (!found) {
      await this.#remake()
      return host.start(this.#row)
    }
    if (!found.running) return host.start(this.#row)
    this.#standstill.forget()
    await letGo(client, this.#row.container)
    try {
      return await host.resume(this.#row)
    } catch (error) {
      if (!(error instanceof MeshError) || error.code !== 'E_SANDBOX_LOST') throw error
      await this.#end(this.#row.container)
      return host.start(this.#row)
    }
  }

  /** Its container is gone from the engine. With a read-only root nothing was in it. */
  async #remake(): Promise<void> {
    if (this.#row.rootQuota !== 'read-only' || this.#row.workspace !== 'loop') {
      this.#changed('lost')
      throw new MeshError('E_SANDBOX_LOST', 'Cannot use the sandbox: the engine does not have its container any more', {
        hint: 'Restore a snapshot of it, or remove it',
      })
    }
    const madeAgain = this.#context.host.making.begin(this.id)
    try {
      await this.#keep({ container: await this.#context.host.createContainer(this.#row) })
    } finally {
      madeAgain()
    }
  }

  async #pause(): Promise<void> {
    if (this.#state !== 'running') return
    await this.#orPaused(this.#standstill.begin(this.#row.container, this.#awake?.freezer))
    this.#changed('paused')
    // Somebody may have begun something in the meantime.
    if ((this.#awake?.guest.activity.active ?? 0) > 0) await this.#wakeUp()
  }

  /** An engine that does not answer may still do what it was asked: the next use looks, and lets the sandbox go on. */
  async #orPaused(asked: Promise<void>): Promise<void> {
    try {
      await asked
    } catch (error) {
      if (error instanceof MeshError && error.code === 'E_ENGINE_LOST') this.#changed('paused')
      throw error
    }
  }

  async #stop(): Promise<void> {
    if (this.#state === 'stopped') return
    if (this.#row.workspace !== 'loop')
      throw new MeshError('E_CONFLICT', 'Cannot stop the sandbox: its workspace is in memory and would be lost', {
        hint: 'It can be paused; for workspaces on disk the daemon runs as root beside its engine',
      })
    await this.#end(this.#row.container)
    this.#changed('stopped')
  }

  /** Ends its processes; disk and root stay. */
  async #end(container: string): Promise<void> {
    const { link, host } = this.#context
    const before = this.#ending
    this.#ending = true
    try {
      const client = link.client()
      if (this.#state === 'paused') await this.#standstill.end(container).catch(onlyMissing)
      await client.stop(container, SANDBOX_BOUNDS.stopSeconds).catch(onlyMissing)
      this.#awake?.guest.close()
      this.#awake = undefined
      if (this.#row.workspace === 'loop') await unmountDisk(host.diskOf(this.#row))
    } finally {
      this.#ending = before
    }
  }

  #isAwake(awake: Awake): void {
    this.#awake = awake
    this.#lives++
    this.#lastEnd.begin()
    void awake.guest.closed.then(() => {
      if (this.#awake !== awake) return
      // The container may go on without its agent being heard: the next use looks.
      this.#awake = undefined
    })
  }

  async #keep(change: Partial<SandboxRow>): Promise<void> {
    const row = { ...this.#row, ...change }
    await this.#context.store.keep(row)
    this.#row = row
  }

  #changed(state: SandboxState | 'removed'): void {
    const before = this.#state
    if (state !== 'removed') this.#state = state
    if (state !== before) for (const listener of this.#listeners) listener(state)
  }

  #inTurn<T>(job: () => Promise<T>): Promise<T> {
    return this.#serial.run(async () => {
      if (this.#removed)
        throw new MeshError('E_NOT_FOUND', 'Cannot use the sandbox: it was removed', {
          hint: 'Make a new one: manyhands sandbox create',
        })
      try {
        return await job()
      } catch (error) {
        if (error instanceof MeshError && error.code === 'E_ENGINE_LOST') this.#context.link.suspect()
        throw error
      }
    })
  }
}

function onlyMissing(error: unknown): undefined {
  if (error instanceof MeshError && (error.code === 'E_NOT_FOUND' || error.code === 'E_CONFLICT')) return undefined
  throw error
}
