/** What the CLI asks of the composition root: starting a node, and joining a mesh before the first start. Loaded only by `up` and `join`. */
import { keepHeapSmall } from './small-heap.ts'

export interface DaemonOptions {
  /** Path of the configuration file. @default that of the node's folders */
  readonly configFile?: string
  /** Configuration by dotted key, as typed by the user */
  readonly flags: Readonly<Record<string, string>>
}

export interface RunningDaemon {
  /** Resolves once it has stopped, for whatever reason; rejects when it failed. */
  readonly stopped: Promise<void>
  /** Drains and stops. Safe to call again. */
  stop(): Promise<void>
}

export interface Joined {
  readonly meshId: string
  readonly meshName: string
  readonly nodeId: string
  readonly name: string
  /** Of the invite: `manyhands invite` showed the same */
  readonly inviteFingerprint: string
  /** Of both nodes: `manyhands events` on the inviting node shows the same */
  readonly fingerprint: string
}

export interface DaemonEntry {
  /** Closes what this process was started with besides its three descriptors: a daemon outlives whoever started it. */
  closeInherited(): void
  /** Resolves once the local API answers. @param signal ends a start that is under way, with its reason @throws MeshError */
  runDaemon(options: DaemonOptions, signal: AbortSignal): Promise<RunningDaemon>
  /** Resolves once the node is a member and that is durable. @throws MeshError E_INVITE, E_UNREACHABLE */
  joinMesh(
    invite: string,
    options: DaemonOptions & { readonly name?: string; readonly signal?: AbortSignal },
  ): Promise<Joined>
}

export async function daemonEntry(): Promise<DaemonEntry> {
  keepHeapSmall()
  return import('../main.ts')
}
