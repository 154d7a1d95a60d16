/** What the label index needs of libp2p: a Kademlia of the mesh, and the services it stands on. Loaded with the index, in one piece. */
import { identify } from '@libp2p/identify'
import type { StreamHandler, StreamHandlerOptions } from '@libp2p/interface'
import type { Registrar } from '@libp2p/interface-internal'
import { kadDHT } from '@libp2p/kad-dht'
import { ping } from '@libp2p/ping'
import { meshDigest } from './mesh-digest.ts'
import type { Gate } from './mesh-net.ts'

/** @param timeoutMs for a peer to say which protocols it speaks */
export function indexServices(meshId: string, gate: Gate, timeoutMs: number) {
  const makeIdentify = identify({
    protocolPrefix: 'manyhands',
    maxInboundStreams: 2,
    maxOutboundStreams: 2,
    timeout: timeoutMs,
    runOnConnectionOpen: false,
  })
  const makePing = ping({ protocolPrefix: 'manyhands', maxInboundStreams: 2 })
  const makeDht = kadDHT({
    protocol: `/manyhands/${meshDigest(meshId)}/kad/1`,
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
