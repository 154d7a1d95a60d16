/** Nodes with artifacts, all connected to each other, over the memory network or libp2p. */
import { join } from 'node:path'
import { createNet } from '../../daemon/net/libp2p-net.ts'
import { MemoryNetwork } from '../../daemon/net/memory-net.ts'
import type { Gate, MeshNet } from '../../daemon/net/mesh-net.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { type ArtifactNode, artifactNode, type ArtifactNodeOptions, temporaryFolder } from './artifact-node.ts'
import { testSeed } from './mesh-nets.ts'

export type Wire = 'memory' | 'libp2p'

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
    for (const other of this.nodes) if (other !== node) await node.net.connect(other.id, other.net.addresses())
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
          await node.net.connect(other.id, other.net.addresses()).catch(() => undefined)
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
