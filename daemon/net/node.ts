import { publicKeyFromSeed } from '../../protocol/node-id.ts'
import { noise } from '@chainsafe/libp2p-noise'
import { privateKeyFromRaw } from '@libp2p/crypto/keys'
import { tcp } from '@libp2p/tcp'
import { createLibp2p, type Libp2p, type Libp2pOptions } from 'libp2p'
import { connectionGater } from './gater.ts'
import { guardedYamux } from './muxer.ts'
import { meshDigest } from './mesh-digest.ts'
import type { NetConfig } from './net-config.ts'
import { noiseCrypto } from './noise-crypto.ts'
import { privateNetwork } from './private-network.ts'

const DEFAULT_LISTEN = ['/ip4/0.0.0.0/tcp/0']
/** Connections that have not finished their handshake: one address can hold at most `inboundPerSecond` x the handshake's time of them. */
const MAX_PENDING_INBOUND = 128
/** A handshake takes four round trips, which may be 1.5 s each, and what was lost on the way. */
const HANDSHAKE_TIMEOUT_MS = 10_000
const NEGOTIATION_TIMEOUT_MS = 5_000
const DIAL_TIMEOUT_MS = 20_000
/** For TCP alone: an address where nobody is shall not keep the next from being tried. The library hands it all to Node, which knows `timeout`. */
const TCP_DIAL = { noDelay: true, timeout: 3_000 }
const ADDRESS_DIAL_TIMEOUT_MS = TCP_DIAL.timeout + HANDSHAKE_TIMEOUT_MS
const ADDRESSES_PER_PEER = 16

/**
 * The libp2p node of the mesh: tcp, the private network, noise, yamux, every limit set; nothing optional unless asked for, and then loaded on demand,
 * as most of a node's start is loading code.
 */
export async function createNode(config: NetConfig): Promise<Libp2p> {
  // Seed and public key together: given the seed alone, the library derives the other half in slow JavaScript.
  const privateKey = privateKeyFromRaw(Buffer.concat([config.seed, publicKeyFromSeed(config.seed)]))
  const { gate } = config
  const options: Libp2pOptions = {
    privateKey,
    nodeInfo: { name: 'manyhands', userAgent: 'manyhands' },
    addresses: { listen: [...(config.listen ?? DEFAULT_LISTEN)], announce: [...(config.announce ?? [])] },
    transports: [
      tcp({
        maxConnections: (config.maxConnections ?? 300) + MAX_PENDING_INBOUND,
        dialOpts: TCP_DIAL,
      }),
    ],
    connectionEncrypters: [noise({ crypto: noiseCrypto })],
    streamMuxers: [guardedYamux()],
    connectionGater: connectionGater(gate, {
      allowLoopback: config.allowLoopback ?? false,
      allowPrivate: config.allowPrivate ?? true,
    }),
    connectionManager: {
      maxConnections: config.maxConnections ?? 300,
      inboundConnectionThreshold: config.inboundPerSecond ?? 10,
      maxIncomingPendingConnections: MAX_PENDING_INBOUND,
      inboundUpgradeTimeout: HANDSHAKE_TIMEOUT_MS,
      inboundStreamProtocolNegotiationTimeout: NEGOTIATION_TIMEOUT_MS,
      outboundStreamProtocolNegotiationTimeout: NEGOTIATION_TIMEOUT_MS,
      dialTimeout: DIAL_TIMEOUT_MS,
      addressDialTimeout: ADDRESS_DIAL_TIMEOUT_MS,
      maxPeerAddrsToDial: ADDRESSES_PER_PEER,
      maxParallelDials: 32,
      // reconnecting is the keeper's
      reconnectRetries: 0,
    },
    // so are signs of life, on the control stream
    connectionMonitor: { enabled: false },
    ...(config.networkKey === undefined ? {} : { connectionProtector: privateNetwork(config.networkKey) }),
    ...(config.mdns ? { peerDiscovery: [await lanDiscovery(config.meshId)] } : {}),
    start: false,
  }
  if (!config.dht) return createLibp2p(options)
  const { indexServices } = await import('./index-services.ts')
  const services = indexServices(config.meshId, gate, NEGOTIATION_TIMEOUT_MS)
  const node = await createLibp2p({ ...options, services })
  // the library would ask everybody who connects
  node.addEventListener('connection:open', ({ detail }) => {
    if (gate.serves(detail.remotePeer.toString())) node.services.identify.identify(detail).catch(() => undefined)
  })
  return node
}

/** Meshes on one LAN do not see each other: the service they ask for carries a digest of their id. */
async function lanDiscovery(meshId: string) {
  const { mdns } = await import('@libp2p/mdns')
  return mdns({ serviceTag: `_manyhands-${meshDigest(meshId)}._udp.local`, interval: 10_000 })
}
