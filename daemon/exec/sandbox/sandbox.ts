/**
 * The seam between the daemon and Linux sandboxes. A sandbox is a container without a network, made from an image by a closed profile, with a
 * workspace of its own; it lives until it is removed, sleeps when nobody uses it, and wakes when somebody does.
 *
 * States: `running` (awake) <-> `paused` (frozen, wakes in milliseconds) -> `stopped` (no process, no memory) -> `running`; `lost` when the engine
 * does not know it any more. What survives a stop: the workspace, and in profile `build` everything on the root.
 */
import type { Grade } from '../../../protocol/job.ts'
import type { EngineInfo } from './engine/engine-info.ts'
import type { GuestConnection } from './guest/guest-connection.ts'

export type { EngineInfo } from './engine/engine-info.ts'

/**
 * `strict`: a user without rights, read-only root, writable workspace, home and /tmp. `build`: root inside the guest with the five capabilities that
 * package managers need and a writable root; offered only from grade `gvisor` up, unless the node's operator allows it for containers.
 */
export const SANDBOX_PROFILES = ['strict', 'build'] as const
export type SandboxProfile = (typeof SANDBOX_PROFILES)[number]

/** Bytes unless the name says otherwise. The executor fills in its defaults and refuses what is above the node's ceilings. */
export interface SandboxLimits {
  /** Memory, with swap: there is no more */
  readonly memoryBytes: number
  /** Thousandths of a CPU */
  readonly milliCpus: number
  /** Processes and threads at once */
  readonly pids: number
  /** The workspace */
  readonly diskBytes: number
  /** Files and folders in the workspace */
  readonly inodes: number
  /** /tmp; counts as memory too */
  readonly tmpBytes: number
  /** What profile `build` may write outside the workspace */
  readonly rootBytes: number
}

export interface SandboxSpec {
  /** A name or digest of an image this node has */
  readonly image: string
  /** Trust domain: the node (or agent) it belongs to; a sandbox of the pool is given to one owner only */
  readonly owner: string
  /** Unique per owner */
  readonly name?: string
  /** @default 'strict' */
  readonly profile?: SandboxProfile
  /** The least grade accepted: met or refused, never downgraded. @default what the engine offers, strongest first as configured */
  readonly grade?: Grade
  readonly limits?: Partial<SandboxLimits>
  /** For every command. Not secret: it is kept in the journal */
  readonly env?: Readonly<Record<string, string>>
  /** Unused for this long: paused; ten times as long: stopped. Milliseconds; 0: never sleeps. @default as configured */
  readonly sleepAfterMs?: number
}

export type SandboxState = 'running' | 'paused' | 'stopped' | 'lost'

export interface SandboxView {
  readonly id: string
  readonly name: string | undefined
  readonly owner: string
  readonly state: SandboxState
  readonly profile: SandboxProfile
  readonly grade: Grade
  readonly runtime: string
  /** As asked for, and its digest, `sha256:...` */
  readonly image: { readonly name: string; readonly digest: string }
  readonly limits: SandboxLimits
  /** What really bounds the workspace and whether it survives a stop */
  readonly workspace: WorkspaceView
  readonly env: Readonly<Record<string, string>>
  readonly sleepAfterMs: number
  /** Wall clock, milliseconds; display only */
  readonly createdAt: number
  readonly snapshots: readonly SnapshotView[]
  /** Why it last stopped by itself */
  readonly lastEnd?: 'memory' | 'pids' | 'disk' | 'exit' | 'engine'
}

export interface WorkspaceView {
  /** `loop`: a file system of its own; `tmpfs`: in memory, gone when stopped, so such a sandbox only pauses */
  readonly kind: 'loop' | 'tmpfs'
  /** Path in the guest */
  readonly path: string
  readonly quota: 'hard'
  /** How the root of profile `build` is bounded: by the storage driver, or looked at every few seconds and ended when over */
  readonly rootQuota: 'read-only' | 'hard' | 'watched'
  readonly survivesStop: boolean
}

export interface SnapshotView {
  readonly name: string
  /** Wall clock, milliseconds; display only */
  readonly createdAt: number
  /** On this node's disk */
  readonly bytes: number
}

/** Facts read from outside the guest, which it cannot forge; counters only grow while the sandbox is awake. */
export interface GuestEvidence {
  /** Processes the kernel killed for memory */
  readonly oomKills: number
  /** Forks refused */
  readonly pidsRefused: number
  /** The workspace has no bytes or no inodes left */
  readonly diskFull: boolean
}

export interface Sandbox {
  readonly id: string
  view(): SandboxView
  /**
   * The agent inside; wakes the sandbox first. One connection is shared by all callers and stays until the sandbox sleeps; do not close it.
   * @throws MeshError E_ENGINE_LOST, E_SANDBOX_LOST
   */
  guest(signal?: AbortSignal): Promise<GuestConnection>
  /** Keeps it awake until the returned function is called: for streams longer than one command. */
  use(): Promise<() => void>
  /** What the kernel says about its limits; undefined where that cannot be seen (a remote engine, other runtimes than runc) */
  evidence(): Promise<GuestEvidence | undefined>
  /** Id of its first process on this host, for joining its network namespace; undefined when not awake or not on this host */
  hostPid(): number | undefined
  /** Told each change of state, and once `removed` */
  onChange(listener: (state: SandboxState | 'removed') => void): () => void
  sleep(depth?: 'pause' | 'stop'): Promise<void>
  wake(): Promise<void>
  /** Freezes it for a moment and keeps workspace and root under a name. @throws MeshError E_CONFLICT when the name is taken */
  snapshot(name: string): Promise<SnapshotView>
  /** Back to a snapshot: every process ends, workspace and root are those of then. Keeps the id. */
  restore(name: string): Promise<void>
  removeSnapshot(name: string): Promise<void>
  /** A new sandbox with a copy of this one's present workspace and root. */
  fork(options?: { readonly name?: string; readonly owner?: string; readonly from?: string }): Promise<Sandbox>
  /** Everything needed to make it again elsewhere (`SandboxExecutor.import`), as it is now; it stays asleep until the stream ends. */
  exportContent(signal?: AbortSignal): AsyncIterable<Uint8Array>
  remove(): Promise<void>
}

export interface ImageView {
  /** `sha256:...` of its configuration: what names it everywhere */
  readonly digest: string
  readonly names: readonly string[]
  readonly bytes: number
  /** Wall clock, milliseconds */
  readonly createdAt: number
}

export interface ImageProgress {
  /** What is being done, e.g. "downloading" */
  readonly step: string
  /** A layer or file */
  readonly item?: string
  readonly doneBytes?: number
  readonly totalBytes?: number
}

export interface ImageOptions {
  readonly signal?: AbortSignal
  /**
   * For whoever must not change what is here: a name that is taken is E_CONFLICT, and an archive of `docker save`, which brings names of its own, E_IMAGE.
   * @default false
   */
  readonly onlyNew?: boolean
  progress?(step: ImageProgress): void
}

export interface ImageStore {
  list(): Promise<readonly ImageView[]>
  /** @throws MeshError E_NOT_FOUND */
  resolve(name: string): Promise<ImageView>
  /** From a registry. @throws MeshError E_IMAGE */
  pull(name: string, options?: ImageOptions): Promise<ImageView>
  /** A tar of a root file system, or one made by `docker save`. @throws MeshError E_IMAGE, E_TOO_LARGE */
  import(tar: AsyncIterable<Uint8Array>, name: string, options?: ImageOptions): Promise<ImageView>
  /** A small image with git, curl, python3, nodejs and npm, from Debian packages; needs root, debootstrap and Debian's keys. @throws MeshError E_IMAGE */
  buildDefault(name: string, options?: ImageOptions): Promise<ImageView>
  remove(name: string): Promise<void>
}

export interface CreateOptions {
  readonly signal?: AbortSignal
  progress?(step: string): void
}

export interface SandboxExecutor {
  /** Undefined while there is no engine; then nothing is offered */
  info(): EngineInfo | undefined
  /** The engine came, went, or changed */
  onEngine(listener: (info: EngineInfo | undefined) => void): () => void
  /** Grades that can be met now, strongest first */
  grades(): readonly Grade[]
  readonly images: ImageStore
  /** @throws MeshError E_NO_ENGINE, E_ENGINE_LOST, E_GRADE, E_NOT_FOUND (image), E_IMAGE (refused), E_BAD_REQUEST, E_OVERLOADED, E_CONFLICT (name) */
  create(spec: SandboxSpec, options?: CreateOptions): Promise<Sandbox>
  /** Makes a sandbox of what `exportContent` gave. @throws as create; E_PROTOCOL for a stream that is none */
  import(
    stream: AsyncIterable<Uint8Array>,
    overrides: { readonly owner: string; readonly name?: string; readonly grade?: Grade },
    options?: CreateOptions,
  ): Promise<Sandbox>
  /** By id */
  get(id: string): Sandbox | undefined
  list(): readonly Sandbox[]
  /** Gives up connections; sandboxes go to sleep (paused ones stop) and stay. */
  close(): Promise<void>
}
