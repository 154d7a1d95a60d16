import { Libp2pTransport } from './libp2p-transport.ts'
import { MeshCore } from './mesh-core.ts'
import type { MeshNet } from './mesh-net.ts'
import type { NetConfig } from './net-config.ts'

export type { NetConfig } from './net-config.ts'

/** A network that is set up and not started: handlers go in between, so that no peer comes too early. */
export interface PreparedNet {
  readonly net: MeshNet
  /** Listens. @throws MeshError E_CONFIG */
  start(): Promise<void>
}

/** Sets up the mesh over libp2p. @throws MeshError E_CONFIG */
export async function prepareNet(config: NetConfig): Promise<PreparedNet> {
  const transport = await Libp2pTransport.create(config)
  const heartbeat = config.heartbeatMs === undefined ? {} : { heartbeatMs: config.heartbeatMs }
  const net = new MeshCore({ transport, ...heartbeat })
  return { net, start: () => transport.start() }
}

/** As `prepareNet`, started. */
export async function createNet(config: NetConfig): Promise<MeshNet> {
  const { net, start } = await prepareNet(config)
  await start()
  return net
}
