import { MeshError } from '../../protocol/errors.ts'
import { MemoryPipe, memoryStreamPair, memoryWirePair } from './memory-pipe.ts'
import { JOIN_PROTOCOL, MeshCore } from './mesh-core.ts'
import type { ByteStream, Gate, MeshNet } from './mesh-net.ts'
import { realScheduler, type Scheduler } from './scheduler.ts'
import type { Transport, TransportEvents } from './transport.ts'
import type { Wire } from './wire.ts'

/** How bytes travel between two nodes. Lost packets of an ordered stream show as delay, so that is what loss is here. */
export interface LinkQuality {
  /** One way, milliseconds. @default 0: after the work at hand */
  readonly delayMs?: number
  /** Added at random, up to this much, order kept. @default 0 */
  readonly jitterMs?: number
  /** Share of writes that arrive one retransmission (200 ms) later. @default 0 */
  readonly loss?: number
}

export interface MemoryNetworkInit {
  /** @default real time */
  readonly scheduler?: Scheduler
  /** Between 0 and 1; a seeded one makes runs repeatable. @default Math.random */
  readonly random?: () => number
}

export interface MemoryNodeInit {
  readonly self: string
  readonly gate: Gate
  readonly heartbeatMs?: number
}

const RETRANSMIT_MS = 200

/** A network of many nodes in one process, with delay, loss, partition and crash on demand. Runs the same links, requests and channels as the real one. */
export class MemoryNetwork {
  readonly scheduler: Scheduler
  readonly #random: () => number
  readonly #nodes = new Map<string, MemoryTransport>()
  readonly #quality = new Map<string, LinkQuality>()
  readonly #labels = new Map<string, Set<string>>()
  #default: LinkQuality = {}
  #side: ReadonlyMap<string, number> = new Map()
  readonly #silent = new Set<string>()
  readonly #stalled = new Set<MemoryPipe>()

  constructor(init: MemoryNetworkInit = {}) {
    this.scheduler = init.scheduler ?? realScheduler
    this.#random = init.random ?? Math.random
  }

  /** Adds a node. Its address is `memory://<id>`. */
  join(init: MemoryNodeInit): MeshNet {
    const transport = new MemoryTransport(this, init.self, init.gate)
    this.#nodes.set(init.self, transport)
    const beat = init.heartbeatMs === undefined ? {} : { heartbeatMs: init.heartbeatMs }
    return new MeshCore({ transport, scheduler: this.scheduler, ...beat })
  }

  /** Quality of one link, or of all without their own. */
  setQuality(quality: LinkQuality, a?: string, b?: string): void {
    if (a === undefined || b === undefined) this.#default = quality
    else this.#quality.set(pairKey(a, b), quality)
  }

  /** Cuts the network: nodes of different groups cannot reach each other; nodes not named are group 0. Bytes on the way wait; nobody is told. */
  partition(groups: readonly (readonly string[])[]): void {
    this.#side = new Map(groups.flatMap((group, index) => group.map((id) => [id, index] as const)))
  }

  /** Bytes from `a` to `b` do not get through; the other direction works. */
  silence(a: string, b: string): void {
    this.#silent.add(`${a}>${b}`)
  }

  /** Ends every partition and silence. What waited goes on, unless the connection was given up meanwhile. */
  heal(): void {
    this.#side = new Map()
    this.#silent.clear()
    const stalled = [...this.#stalled]
    this.#stalled.clear()
    for (const pipe of stalled) pipe.release()
  }

  /** Resets the connection between two nodes, if there is one; both sides see it at once. */
  cut(a: string, b: string): void {
    this.#nodes.get(a)?.drop(b, 'connection reset')
    this.#nodes.get(b)?.drop(a, 'connection reset')
  }

  /** Tells `to`, in nobody's name, that `peer` is at these addresses. */
  announce(to: string, peer: string, addresses: readonly string[]): void {
    this.#nodes.get(to)?.found(peer, addresses)
  }

  /** A node stops without a word to anyone. */
  crash(id: string): void {
    const node = this.#nodes.get(id)
    this.#nodes.delete(id)
    if (node === undefined) return
    for (const peer of node.peers()) this.#nodes.get(peer)?.drop(id, 'connection reset')
    node.dropAll()
  }

  // for the transports of this file

  node(id: string): MemoryTransport | undefined {
    return this.#nodes.get(id)
  }

  leave(id: string, transport: MemoryTransport): void {
    if (this.#nodes.get(id) === transport) this.#nodes.delete(id)
  }

  reaches(from: string, to: string): boolean {
    return (this.#side.get(from) ?? 0) === (this.#side.get(to) ?? 0) && !this.#silent.has(`${from}>${to}`)
  }

  /** One-way delay of the next write, milliseconds. */
  delay(from: string, to: string): number {
    const { delayMs = 0, jitterMs = 0, loss = 0 } = this.#quality.get(pairKey(from, to)) ?? this.#default
    const late = loss > 0 && this.#random() < loss ? RETRANSMIT_MS : 0
    return delayMs + (jitterMs > 0 ? this.#random() * jitterMs : 0) + late
  }

  pipe(from: string, to: string): MemoryPipe {
    return new MemoryPipe({
      scheduler: this.scheduler,
      delay: () => this.delay(from, to),
      reaches: () => this.reaches(from, to),
      stalled: (pipe) => this.#stalled.add(pipe),
    })
  }

  label(label: string): Set<string> {
    const holders = this.#labels.get(label) ?? new Set()
    this.#labels.set(label, holders)
    return holders
  }
}

const pairKey = (a: string, b: string): string => (a < b ? `${a}|${b}` : `${b}|${a}`)

interface MemoryConnection {
  readonly direction: 'inbound' | 'outbound'
  readonly served: boolean
  /** Ends what runs on the connection */
  readonly ends: Set<(error: Error) => void>
}

class MemoryTransport implements Transport {
  readonly self: string
  readonly #network: MemoryNetwork
  readonly #gate: Gate
  readonly #connections = new Map<string, MemoryConnection>()
  readonly #handlers = new Map<string, (stream: ByteStream) => void>()
  #events: TransportEvents | undefined

  constructor(network: MemoryNetwork, self: string, gate: Gate) {
    this.#network = network
    this.self = self
    this.#gate = gate
  }

  attach(events: TransportEvents): void {
    this.#events = events
  }

  addresses(): string[] {
    return [`memory://${this.self}`]
  }

  peers(): string[] {
    return [...this.#connections.keys()]
  }

  connections(): { peer: string; address: string; direction: 'inbound' | 'outbound' }[] {
    return [...this.#connections].map(([peer, { direction }]) => ({ peer, address: `memory://${peer}`, direction }))
  }

  found(peer: string, addresses: readonly string[]): void {
    if (!this.#connections.has(peer) && this.#gate.admits(peer)) this.#events?.peerFound(peer, addresses)
  }

  async dial(peer: string, addresses: readonly string[] = [], signal: AbortSignal): Promise<void> {
    if (this.#connections.has(peer)) return
    if (!this.#gate.admits(peer))
      throw new MeshError('E_NOT_MEMBER', 'Connecting to a peer: it does not belong to the mesh')
    if (addresses.length > 0 && !addresses.includes(`memory://${peer}`)) throw unreachable()
    await this.#roundTrip(peer, signal)
    const other = this.#network.node(peer)
    if (other === undefined || this.#network.node(this.self) !== this) throw unreachable()
    if (this.#connections.has(peer)) return
    if (!other.admitsInbound(this.self)) throw unreachable()
    other.#connected(this.self, 'inbound')
    this.#connected(peer, 'outbound')
  }

  /** Waits as long as a handshake takes, or in vain when bytes do not get through. */
  #roundTrip(peer: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(unreachable(signal.reason))
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const network = this.#network
    const onAbort = () => reject(unreachable(signal.reason))
    signal.addEventListener('abort', onAbort, { once: true })
    const both = () => network.reaches(this.self, peer) && network.reaches(peer, this.self)
    const wait = network.delay(this.self, peer) + network.delay(peer, this.self)
    const arrive = () => {
      if (network.node(peer) === undefined) reject(unreachable())
      else if (both()) resolve()
    }
    if (wait > 0) network.scheduler.after(wait, arrive)
    else network.scheduler.soon(arrive)
    return promise.finally(() => signal.removeEventListener('abort', onAbort))
  }

  admitsInbound(peer: string): boolean {
    return this.#gate.admits(peer)
  }

  onWire(peer: string, wire: Wire): void {
    this.#events?.wire(peer, wire)
  }

  #connected(peer: string, direction: 'inbound' | 'outbound'): void {
    const served = this.#gate.serves(peer)
    this.#connections.set(peer, { direction, served, ends: new Set() })
    if (served) this.#events?.peerUp(peer)
  }

  async hangUp(peer: string, reason: string): Promise<void> {
    this.drop(peer, reason)
    // the other side hears of it only if bytes get through
    if (this.#network.reaches(this.self, peer)) this.#network.node(peer)?.drop(this.self, 'closed by the peer')
  }

  drop(peer: string, reason: string): void {
    const connection = this.#connections.get(peer)
    if (connection === undefined) return
    this.#connections.delete(peer)
    for (const end of [...connection.ends]) end(unreachable())
    if (connection.served) this.#events?.peerDown(peer, reason)
  }

  dropAll(): void {
    for (const peer of [...this.#connections.keys()]) this.drop(peer, 'stopped')
  }

  recheck(): void {
    for (const [peer, { served }] of [...this.#connections]) {
      const stays = this.#gate.admits(peer) && this.#gate.serves(peer) === served
      if (!stays) void this.hangUp(peer, 'no longer admitted')
    }
  }

  async openWire(peer: string, signal: AbortSignal): Promise<Wire> {
    const { other, here, there } = await this.#opening(peer, signal)
    const [near, far] = memoryWirePair(this.#network.pipe(this.self, peer), this.#network.pipe(peer, this.self))
    here.ends.add((error) => near.abort(error))
    there.ends.add((error) => far.abort(error))
    other.onWire(this.self, far)
    return near
  }

  async openStream(peer: string, protocol: string, signal: AbortSignal): Promise<ByteStream> {
    const { other, here, there } = await this.#opening(peer, signal)
    const handler = other.handlerOf(protocol)
    if (handler === undefined) throw new MeshError('E_VERSION', `Opening a stream: the peer does not speak ${protocol}`)
    const [near, far] = memoryStreamPair(
      { id: this.self, pipe: this.#network.pipe(this.self, peer) },
      { id: peer, pipe: this.#network.pipe(peer, this.self) },
    )
    here.ends.add((error) => near.abort(error))
    there.ends.add((error) => far.abort(error))
    if (protocol !== JOIN_PROTOCOL && !there.served) far.abort(new Error('The peer is not served'))
    else handler(far)
    return near
  }

  connectionTo(peer: string): MemoryConnection | undefined {
    return this.#connections.get(peer)
  }

  async #opening(peer: string, signal: AbortSignal) {
    if (!this.#connections.has(peer)) throw unreachable()
    await this.#roundTrip(peer, signal)
    const other = this.#network.node(peer)
    const here = this.#connections.get(peer)
    const there = other?.connectionTo(this.self)
    if (other === undefined || here === undefined || there === undefined) throw unreachable()
    return { other, here, there }
  }

  handlerOf(protocol: string): ((stream: ByteStream) => void) | undefined {
    return this.#handlers.get(protocol)
  }

  handleStream(protocol: string, handler: (stream: ByteStream) => void): void {
    this.#handlers.set(protocol, handler)
  }

  async provide(label: string): Promise<void> {
    this.#network.label(label).add(this.self)
  }

  async *findProviders(label: string): AsyncIterable<string> {
    yield* [...this.#network.label(label)].filter((peer) => peer !== this.self)
  }

  async close(): Promise<void> {
    for (const peer of this.peers()) await this.hangUp(peer, 'stopping')
    this.#network.leave(this.self, this)
  }
}

function unreachable(cause?: unknown): MeshError {
  return new MeshError('E_UNREACHABLE', 'Connecting to a peer: it cannot be reached', { cause })
}
