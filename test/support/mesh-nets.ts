import { createNet, type NetConfig } from '../../daemon/net/libp2p-net.ts'
import { MemoryNetwork } from '../../daemon/net/memory-net.ts'
import type { Gate, MeshNet } from '../../daemon/net/mesh-net.ts'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'

/** What a test may decide about a node. */
export interface NodeOptions {
  readonly gate?: Gate
  readonly heartbeatMs?: number
  /** Served without a hello. @default true */
  readonly ready?: boolean
}

/** Makes nodes of one mesh and closes them. */
export interface Nets {
  make(options?: NodeOptions): Promise<MeshNet>
  closeAll(): Promise<void>
}

export const everyone: Gate = { admits: () => true, serves: () => true }

/** Seeds, and so ids, in a fixed order. */
export function testSeed(index: number): Uint8Array {
  const seed = new Uint8Array(32)
  new DataView(seed.buffer).setUint32(0, index + 1)
  return seed
}

abstract class NetMaker implements Nets {
  readonly #made: MeshNet[] = []

  async make(options: NodeOptions = {}): Promise<MeshNet> {
    const net = await this.create(this.#made.length, options)
    this.#made.push(net)
    if (options.ready ?? true) net.on((event) => event.type === 'peer-up' && net.setReady(event.peer))
    return net
  }

  async closeAll(): Promise<void> {
    await Promise.all(this.#made.splice(0).map((net) => net.close()))
  }

  protected abstract create(index: number, options: NodeOptions): Promise<MeshNet>
}

export class Libp2pNets extends NetMaker {
  readonly #config: Partial<NetConfig>

  constructor(config: Partial<NetConfig> = {}) {
    super()
    this.#config = config
  }

  protected override create(index: number, { gate = everyone, heartbeatMs }: NodeOptions): Promise<MeshNet> {
    return createNet({
      meshId: 'test',
      seed: testSeed(index),
      networkKey: new Uint8Array(32).fill(9),
      gate,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      allowLoopback: true,
      inboundPerSecond: 1000,
      ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
      ...this.#config,
    })
  }
}

export class MemoryNets extends NetMaker {
  readonly network = new MemoryNetwork()

  protected override async create(index: number, { gate = everyone, heartbeatMs }: NodeOptions): Promise<MeshNet> {
    const beat = heartbeatMs === undefined ? {} : { heartbeatMs }
    return this.network.join({ self: nodeIdFromSeed(testSeed(index)), gate, ...beat })
  }
}
