/** Nodes with artifacts, all connected to each other, over the memory network or libp2p. */
import { cp, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { createNet } from '../../daemon/net/libp2p-net.ts'
import type { Journal } from '../../daemon/journal/journal.ts'
import { MemoryJournal } from '../../daemon/journal/memory-journal.ts'
import { TABLES } from '../../daemon/artifacts/store/rows.ts'
import { MemoryNetwork } from '../../daemon/net/memory-net.ts'
import type { Gate, MeshNet } from '../../daemon/net/mesh-net.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import {
  ARTIFACT_TEST_RECORDS,
  type ArtifactNode,
  artifactNode,
  type ArtifactNodeOptions,
  temporaryFolder,
} from './artifact-node.ts'
import { testSeed } from './mesh-nets.ts'

export type Wire = 'memory' | 'libp2p'

const TABLES_COPIED = [...Object.values(TABLES), 'artifact-holding', 'artifact-shared', 'artifact-placed']

export class ArtifactMesh {
  readonly network = new MemoryNetwork()
  readonly nodes: ArtifactNode[] = []
  /** Nodes that were put out */
  readonly expelled = new Set<string>()
  readonly #wire: Wire
  readonly #folder: { path: string; remove: () => Promise<void> }
  readonly #options: Partial<ArtifactNodeOptions>
  readonly #seeds = new Map<string, Uint8Array>()

  private constructor(
    wire: Wire,
    folder: { path: string; remove: () => Promise<void> },
    options: Partial<ArtifactNodeOptions>,
  ) {
    this.#wire = wire
    this.#folder = folder
    this.#options = options
  }

  static async start(wire: Wire, count: number, options: Partial<ArtifactNodeOptions> = {}): Promise<ArtifactMesh> {
    const mesh = new ArtifactMesh(wire, await temporaryFolder(), options)
    for (let index = 0; index < count; index++) await mesh.add()
    return mesh
  }

  /** Starts a node and connects it to all others. */
  async add(options: Partial<ArtifactNodeOptions> = {}): Promise<ArtifactNode> {
    return this.#up(testSeed(this.#seeds.size), options)
  }

  /** Starts a node again that was stopped or crashed, on what it left. */
  async again(node: ArtifactNode, options: Partial<ArtifactNodeOptions> = {}): Promise<ArtifactNode> {
    const seed = this.#seeds.get(node.id)
    if (seed === undefined) throw new Error('it never ran')
    return this.#up(seed, { journal: node.journal, ...options })
  }

  async #up(seed: Uint8Array, options: Partial<ArtifactNodeOptions>): Promise<ArtifactNode> {
    const id = nodeIdFromSeed(seed)
    this.#seeds.set(id, seed)
    const net = await this.#net(seed)
    const isMember = (node: string): boolean => !this.expelled.has(node)
    const folder = join(this.#folder.path, id)
    const node = await artifactNode({ seed, folder, net, isMember, ...this.#options, ...options })
    this.nodes.push(node)
    for (const other of this.nodes) {
      // one may be on the other side of a partition
      if (other !== node)
        await node.net.connect(other.id, other.net.addresses(), AbortSignal.timeout(500)).catch(() => undefined)
    }
    return node
  }

  #net(seed: Uint8Array): Promise<MeshNet> {
    const gate: Gate = { admits: () => true, serves: () => true }
    const self = nodeIdFromSeed(seed)
    if (this.#wire === 'memory') return Promise.resolve(this.network.join({ self, gate, heartbeatMs: 200 }))
    const networkKey = new Uint8Array(32).fill(9)
    return createNet({
      ...{ meshId: 'test', seed, networkKey, gate, listen: ['/ip4/127.0.0.1/tcp/0'] },
      ...{ allowLoopback: true, inboundPerSecond: 1000 },
    })
  }

  /** What the node has on disk and in its journal now, to be started later as if nothing had happened since. */
  async copyOf(node: ArtifactNode): Promise<{ folder: string; journal: Journal }> {
    if (!(node.journal instanceof MemoryJournal)) throw new Error('only memory journals are copied')
    const folder = join(this.#folder.path, `${node.id}-copy`)
    // What is being fetched just now comes and goes, and no start would use it
    const filter = (path: string): boolean => basename(path) !== 'staging'
    await cp(join(this.#folder.path, node.id), folder, { recursive: true, filter })
    const journal = new MemoryJournal({ types: ARTIFACT_TEST_RECORDS })
    for (const table of TABLES_COPIED) {
      for (const { key, value } of await node.journal.range(table, { limit: 1000 })) {
        await journal.append({ type: 'artifact.placed', body: new Uint8Array(1), writes: [{ table, key, value }] })
      }
    }
    return { folder, journal }
  }

  /** Stops the node and starts it in the state of the copy: a restored backup. */
  async replace(node: ArtifactNode, { folder, journal }: { folder: string; journal: Journal }): Promise<ArtifactNode> {
    await this.crash(node)
    await rm(join(this.#folder.path, node.id), { recursive: true, force: true })
    await cp(folder, join(this.#folder.path, node.id), { recursive: true })
    return this.again(node, { journal })
  }

  /** Goes away without a word. Memory network only. */
  async crash(node: ArtifactNode): Promise<void> {
    this.network.crash(node.id)
    await this.#remove(node)
  }

  async down(node: ArtifactNode): Promise<void> {
    await this.#remove(node)
    await node.net.close()
  }

  /** Connects all that are not. */
  async connect(): Promise<void> {
    for (const node of this.nodes) {
      for (const other of this.nodes) {
        if (other !== node && !node.net.isConnected(other.id)) {
          await node.net.connect(other.id, other.net.addresses(), AbortSignal.timeout(300)).catch(() => undefined)
        }
      }
    }
  }

  async #remove(node: ArtifactNode): Promise<void> {
    this.nodes.splice(this.nodes.indexOf(node), 1)
    await node.stop()
  }

  async close(): Promise<void> {
    for (const node of [...this.nodes]) await this.down(node)
    await this.#folder.remove()
  }
}
