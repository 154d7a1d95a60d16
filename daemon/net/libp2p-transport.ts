import type { Connection, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { Libp2p } from 'libp2p'
import { MeshError } from '../../protocol/errors.ts'
import { byUsefulness, resolveAddresses } from './addresses.ts'
import { BulkPace } from './bulk-pace.ts'
import { Libp2pByteStream } from './byte-stream.ts'
import { LabelIndex } from './label-index.ts'
import { Libp2pWire } from './libp2p-wire.ts'
import { JOIN_PROTOCOL } from './mesh-core.ts'
import type { ByteStream, Gate } from './mesh-net.ts'
import { STREAM_WINDOW_BYTES } from './muxer.ts'
import { createNode } from './node.ts'
import type { NetConfig } from './net-config.ts'
import type { Transport, TransportEvents } from './transport.ts'
import type { Wire } from './wire.ts'

const CONTROL_PROTOCOL = '/manyhands/control/1'
/** Streams of one protocol that a peer may have open on a connection. */
const STREAMS_PER_PROTOCOL = 24
/** Control streams: one, one that replaces it, and one to refuse. */
const CONTROL_STREAMS = 3
/** Both sides dial at once, and the same again after a change of address. The oldest goes: it is the one that may be dead. */
const MAX_CONNECTIONS_PER_PEER = 4
/** A peer that may only join has this long to do it, milliseconds. */
const JOIN_TIMEOUT_MS = 90_000
const CLOSE_TIMEOUT_MS = 500

/** The mesh over libp2p. Nothing outside this folder sees the library. */
export class Libp2pTransport implements Transport {
  readonly self: string
  readonly #node: Libp2p
  readonly #gate: Gate
  readonly #index: LabelIndex | undefined
  /** Open connections of served peers */
  readonly #served = new Map<string, Set<Connection>>()
  /** Open connections of peers that may only join */
  readonly #joining = new Map<string, Set<Connection>>()
  /** How fast each connection takes bulk */
  readonly #paces = new WeakMap<Connection, BulkPace>()
  #events: TransportEvents | undefined

  /** A node that does not listen yet; `start` makes it. */
  static async create(config: NetConfig): Promise<Libp2pTransport> {
    return new Libp2pTransport(await createNode(config), config)
  }

  private constructor(node: Libp2p, config: NetConfig) {
    this.#node = node
    this.#gate = config.gate
    this.#index = config.dht ? new LabelIndex(node.contentRouting) : undefined
    this.self = node.peerId.toString()
  }

  attach(events: TransportEvents): void {
    this.#events = events
    this.#node.addEventListener('connection:open', ({ detail }) => this.#opened(detail))
    this.#node.addEventListener('connection:close', ({ detail }) => this.#closed(detail))
    this.#node.addEventListener('peer:discovery', ({ detail }) => {
      const peer = detail.id.toString()
      // the library also "discovers" who is connected
      const news = peer !== this.self && !this.#served.has(peer) && detail.multiaddrs.length > 0
      if (news && this.#gate.admits(peer)) events.peerFound(peer, detail.multiaddrs.map(String))
    })
    this.#handle(CONTROL_PROTOCOL, CONTROL_STREAMS, (stream, connection) => {
      events.wire(connection.remotePeer.toString(), new Libp2pWire(stream, this.#pace(connection)))
    })
  }

  async start(): Promise<void> {
    try {
      await this.#node.start()
    } catch (cause) {
      await this.#node.stop()
      throw new MeshError('E_CONFIG', 'Starting the network: none of the listening addresses can be used', {
        cause,
        hint: 'Another process may use the port, or the address is not one of this host',
      })
    }
  }

  addresses(): string[] {
    return this.#node.getMultiaddrs().map(String).sort(byUsefulness)
  }

  connections(): { peer: string; address: string; direction: 'inbound' | 'outbound' }[] {
    return this.#node.getConnections().map((connection) => ({
      peer: connection.remotePeer.toString(),
      address: connection.remoteAddr.toString(),
      direction: connection.direction,
    }))
  }

  async dial(peer: string, addresses: readonly string[] | undefined, signal: AbortSignal): Promise<void> {
    const id = parsePeer(peer)
    if (!this.#gate.admits(peer))
      throw new MeshError('E_NOT_MEMBER', 'Connecting to a peer: it does not belong to the mesh')
    const known = addresses === undefined ? [] : await resolveAddresses(peer, addresses, signal)
    try {
      await this.#node.dial(known.length > 0 ? known : id, { signal })
    } catch (cause) {
      if (signal.aborted) throw new MeshError('E_TIMEOUT', 'Connecting to a peer: it did not answer in time', { cause })
      throw new MeshError('E_UNREACHABLE', 'Connecting to a peer: none of its addresses can be reached', { cause })
    }
  }

  async hangUp(peer: string, reason: string): Promise<void> {
    const connections = this.#node.getConnections(parsePeer(peer))
    await Promise.all(connections.map((connection) => closeConnection(connection, reason)))
  }

  async openWire(peer: string, signal: AbortSignal): Promise<Wire> {
    const { stream, connection } = await this.#newStream(peer, CONTROL_PROTOCOL, signal)
    return new Libp2pWire(stream, this.#pace(connection))
  }

  async openStream(peer: string, protocol: string, signal: AbortSignal): Promise<ByteStream> {
    const { stream, connection } = await this.#newStream(peer, protocol, signal)
    return new Libp2pByteStream(peer, stream, this.#pace(connection))
  }

  handleStream(protocol: string, handler: (stream: ByteStream) => void): void {
    this.#handle(protocol, STREAMS_PER_PROTOCOL, (stream, connection) => {
      handler(new Libp2pByteStream(connection.remotePeer.toString(), stream, this.#pace(connection)))
    })
  }

  recheck(): void {
    for (const connection of this.#node.getConnections()) {
      const peer = connection.remotePeer.toString()
      const wasServed = this.#served.get(peer)?.has(connection) ?? false
      if (this.#gate.admits(peer) && this.#gate.serves(peer) === wasServed) continue
      connection.abort(new MeshError('E_NOT_MEMBER', 'The peer is no longer admitted'))
    }
  }

  async provide(label: string, signal: AbortSignal): Promise<void> {
    await this.#index?.provide(label, signal)
  }

  async *findProviders(label: string, signal: AbortSignal): AsyncGenerator<string> {
    if (this.#index === undefined) return
    for await (const peer of this.#index.find(label, signal)) if (peer !== this.self) yield peer
  }

  async close(): Promise<void> {
    await this.#node.stop()
  }

  #opened(connection: Connection): void {
    const peer = connection.remotePeer.toString()
    if (!this.#gate.serves(peer)) return this.#limitJoining(connection)
    const open = this.#served.get(peer)
    if (open !== undefined) {
      addBounded(open, connection)
      this.#events?.peerAgain(peer)
      return
    }
    this.#served.set(peer, new Set([connection]))
    this.#events?.peerUp(peer)
  }

  #limitJoining(connection: Connection): void {
    const timer = setTimeout(() => connection.abort(new Error('Joining took too long')), JOIN_TIMEOUT_MS)
    timer.unref()
    connection.addEventListener('close', () => clearTimeout(timer))
    const peer = connection.remotePeer.toString()
    const open = this.#joining.get(peer) ?? new Set()
    this.#joining.set(peer, open)
    addBounded(open, connection)
  }

  #closed(connection: Connection): void {
    const peer = connection.remotePeer.toString()
    const joining = this.#joining.get(peer)
    if (joining?.delete(connection) && joining.size === 0) this.#joining.delete(peer)
    const open = this.#served.get(peer)
    if (!open?.delete(connection) || open.size > 0) return
    this.#served.delete(peer)
    this.#events?.peerDown(peer, 'the connection was closed')
  }

  #handle(
    protocol: string,
    maxInboundStreams: number,
    handler: (stream: Stream, connection: Connection) => void,
  ): void {
    const options = { maxInboundStreams, maxOutboundStreams: STREAMS_PER_PROTOCOL }
    const handle = (stream: Stream, connection: Connection): void => {
      const allowed = protocol === JOIN_PROTOCOL || this.#gate.serves(connection.remotePeer.toString())
      if (!allowed) return stream.abort(new MeshError('E_FORBIDDEN', 'The peer may only join'))
      handler(stream, connection)
    }
    // the handler is in place when this returns; what is awaited only tells the address book
    this.#node.handle(protocol, handle, options).catch(() => undefined)
  }

  #pace(connection: Connection): BulkPace {
    const pace = this.#paces.get(connection) ?? new BulkPace(STREAM_WINDOW_BYTES)
    this.#paces.set(connection, pace)
    return pace
  }

  async #newStream(
    peer: string,
    protocol: string,
    signal: AbortSignal,
  ): Promise<{ stream: Stream; connection: Connection }> {
    const connection = this.#node.getConnections(parsePeer(peer)).find(({ status }) => status === 'open')
    if (connection === undefined)
      throw new MeshError('E_UNREACHABLE', 'Opening a stream: there is no connection to the peer')
    try {
      const stream = await connection.newStream(protocol, { signal, maxOutboundStreams: STREAMS_PER_PROTOCOL })
      return { stream, connection }
    } catch (cause) {
      throw streamError(cause, protocol, signal)
    }
  }
}

/** Bounds hold for one connection, so that one peer must not have many. */
function addBounded(open: Set<Connection>, connection: Connection): void {
  open.add(connection)
  const [oldest] = open
  if (open.size <= MAX_CONNECTIONS_PER_PEER || oldest === undefined) return
  open.delete(oldest)
  oldest.abort(new MeshError('E_OVERLOADED', 'The peer has too many connections'))
}

function streamError(cause: unknown, protocol: string, signal: AbortSignal): MeshError {
  if (signal.aborted) return new MeshError('E_TIMEOUT', 'Opening a stream: the peer did not answer in time', { cause })
  const name = cause instanceof Error ? cause.name : ''
  if (name === 'UnsupportedProtocolError')
    return new MeshError('E_VERSION', `Opening a stream: the peer does not speak ${protocol}`, { cause })
  if (name.startsWith('TooMany')) {
    return new MeshError('E_OVERLOADED', 'Opening a stream: too many are open to this peer', {
      cause,
      retryAfterMs: 250,
    })
  }
  return new MeshError('E_UNREACHABLE', 'Opening a stream: the connection was lost', { cause })
}

async function closeConnection(connection: Connection, reason: string): Promise<void> {
  try {
    await connection.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) })
  } catch {
    connection.abort(new Error(reason))
  }
}

function parsePeer(peer: string) {
  try {
    return peerIdFromString(peer)
  } catch (cause) {
    throw new MeshError('E_BAD_REQUEST', 'Talking to a peer: that is not a node id', { cause })
  }
}
