import { publicKeyFromSeed } from '../../protocol/node-id.ts'
import { createHash } from 'node:crypto'
import { noise } from '@chainsafe/libp2p-noise'
import { privateKeyFromRaw } from '@libp2p/crypto/keys'
import type { StreamHandler, StreamHandlerOptions } from '@libp2p/interface'
import type { Registrar } from '@libp2p/interface-internal'
import { tcp } from '@libp2p/tcp'
import { createLibp2p, type Libp2p, type Libp2pOptions } from 'libp2p'
import { connectionGater } from './gater.ts'
import { guardedYamux } from './muxer.ts'
import type { Gate } from './mesh-net.ts'
import type { NetConfig } from './net-config.ts'
import { noiseCrypto } from './noise-crypto.ts'
import { privateNetwork } from './private-network.ts'

const DEFAULT_LISTEN = ['/ip4/0.0.0.0/tcp/0']
/** Connections that have not finished their handshake: one address can hold at most `inboundPerSecond` x the handshake's time of them. */
const MAX_PENDING_INBOUND = 64
const HANDSHAKE_TIMEOUT_MS = 5_000
const NEGOTIATION_TIMEOUT_MS = 5_000
const DIAL_TIMEOUT_MS = 10_000
const ADDRESS_DIAL_TIMEOUT_MS = 3_000
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
    transports: [tcp({ maxConnections: (config.maxConnections ?? 300) + MAX_PENDING_INBOUND })],
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
  const node = await createLibp2p({ ...options, services: await indexServices(config.meshId, gate) })
  // the library would ask everybody who connects
  node.addEventListener('connection:open', ({ detail }) => {
    if (gate.serves(detail.remotePeer.toString())) node.services.identify.identify(detail).catch(() => undefined)
  })
  return node
}

/** Meshes on one LAN do not see each other: the service they ask for carries a digest of their id. */
async function lanDiscovery(meshId: string) {
  const { mdns } = await import('@libp2p/mdns')
  return mdns({ serviceTag: `_manyhands-${digest(meshId)}._udp.local`, interval: 10_000 })
}

async function indexServices(meshId: string, gate: Gate) {
  const [{ kadDHT }, { identify }, { ping }] = await Promise.all([
    import('@libp2p/kad-dht'),
    import('@libp2p/identify'),
    import('@libp2p/ping'),
  ])
  const makeIdentify = identify({
    protocolPrefix: 'manyhands',
    maxInboundStreams: 2,
    maxOutboundStreams: 2,
    timeout: NEGOTIATION_TIMEOUT_MS,
    runOnConnectionOpen: false,
  })
  const makePing = ping({ protocolPrefix: 'manyhands', maxInboundStreams: 2 })
  const makeDht = kadDHT({
    protocol: `/manyhands/${digest(meshId)}/kad/1`,
    clientMode: false,
    // keeps private addresses, which a LAN is made of
    peerInfoMapper: (peer) => peer,
    allowQueryWithZeroPeers: true,
    maxInboundStreams: 16,
    maxOutboundStreams: 16,
  })
  return {
    identify: (components: Parameters<typeof makeIdentify>[0]) => makeIdentify(forServed(components, gate)),
    ping: (components: Parameters<typeof makePing>[0]) => makePing(forServed(components, gate)),
    dht: (components: Parameters<typeof makeDht>[0]) => makeDht(forServed(components, gate)),
  }
}

/**
 * The same components with a registrar whose handlers answer served peers only. Middleware of the library would be the place for it, but the library adds
 * each protocol's handler to the middleware itself, so that from the second stream on it runs twice, and on streams that were opened here.
 */
function forServed<T extends { registrar: Registrar }>(components: T, gate: Gate): T {
  const registrar = replaced(
    components.registrar,
    'handle',
    async (protocol: string, handler: StreamHandler, options?: StreamHandlerOptions) => {
      const answer: StreamHandler = (stream, connection) => {
        if (gate.serves(connection.remotePeer.toString())) return handler(stream, connection)
        return stream.abort(new Error('The peer is not served'))
      }
      await components.registrar.handle(protocol, answer, options)
    },
  )
  return replaced(components, 'registrar', registrar)
}

/** `target` with one property replaced. */
function replaced<T extends object, K extends keyof T>(target: T, name: K, replacement: T[K]): T {
  return new Proxy(target, {
    get: (_target, key): unknown => {
      if (key === name) return replacement
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

const digest = (meshId: string): string => createHash('sha256').update(meshId).digest('hex').slice(0, 16)
