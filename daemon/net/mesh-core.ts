import { AddressWatch } from './address-watch.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { Services } from './answer-session.ts'
import { Keeper } from './keeper.ts'
import type {
  ByteStream,
  Channel,
  ChannelHandler,
  HandleOptions,
  MeshNet,
  NetEvent,
  PeerConnection,
  RequestHandler,
  RequestOptions,
  WantedPeer,
} from './mesh-net.ts'
import { HEARTBEAT_METHOD, PeerLink } from './peer-link.ts'
import { realScheduler, type Scheduler } from './scheduler.ts'
import type { Transport } from './transport.ts'
import type { Wire } from './wire.ts'

/** The one protocol a peer may use that is admitted and not served: an invite's one-time key. */
export const JOIN_PROTOCOL = '/manyhands/join/1'

/** Two addresses at which somebody is, however far, or more where nobody is. */
const CONNECT_TIMEOUT_MS = 20_000
const STREAM_TIMEOUT_MS = 10_000
const INDEX_TIMEOUT_MS = 10_000
const NOT_READY_RETRY_MS = 200

export interface MeshCoreInit {
  readonly transport: Transport
  readonly scheduler?: Scheduler
  /** How often a peer is asked for a sign of life. Dead after four of these. @default 10_000 */
  readonly heartbeatMs?: number
}

/** `MeshNet` over any transport: links to connected peers, the handlers they reach, and the peers to stay connected to. */
export class MeshCore implements MeshNet {
  readonly self: string
  readonly #transport: Transport
  readonly #scheduler: Scheduler
  readonly #heartbeatMs: number
  readonly #links = new Map<string, PeerLink>()
  readonly #methods = new Map<string, { handler: RequestHandler; beforeReady: boolean }>()
  readonly #kinds = new Map<string, ChannelHandler>()
  readonly #listeners = new Set<(event: NetEvent) => void>()
  readonly #keeper: Keeper
  #cancelBeat: (() => void) | undefined
  #watch: AddressWatch | undefined
  #closed = false

  constructor(init: MeshCoreInit) {
    this.#transport = init.transport
    this.#scheduler = init.scheduler ?? realScheduler
    this.#heartbeatMs = init.heartbeatMs ?? 10_000
    this.self = init.transport.self
    this.#keeper = new Keeper({
      scheduler: this.#scheduler,
      isConnected: (peer) => this.isConnected(peer),
      dial: (wanted) => this.connect(wanted.peer, wanted.addresses).catch(() => undefined),
    })
    this.handle(HEARTBEAT_METHOD, () => new Uint8Array(), { beforeReady: true })
    this.#transport.attach({
      peerUp: (peer) => this.#peerUp(peer),
      peerAgain: (peer) => this.#links.get(peer)?.probe(),
      peerDown: (peer, reason) => this.#peerDown(peer, reason),
      wire: (peer, wire) => this.#wire(peer, wire),
      peerFound: (peer, addresses) => this.#emit({ type: 'peer-found', peer, addresses }),
    })
  }

  addresses(): string[] {
    return this.#transport.addresses()
  }

  connections(): PeerConnection[] {
    return this.#transport.connections().map((connection) => {
      const link = this.#links.get(connection.peer)
      return { ...connection, ready: link?.ready ?? false, rttMs: link?.rttMs }
    })
  }

  isConnected(peer: string): boolean {
    return this.#links.has(peer)
  }

  rttMs(peer: string): number | undefined {
    return this.#links.get(peer)?.rttMs
  }

  async connect(peer: string, addresses?: readonly string[], signal?: AbortSignal): Promise<void> {
    if (this.#closed) throw new MeshError('E_STOPPING', 'Connecting to a peer: the network is closed')
    const limited = withTimeout(signal, CONNECT_TIMEOUT_MS)
    if (!this.#links.has(peer)) await this.#transport.dial(peer, addresses, limited)
    await this.#links.get(peer)?.opened(limited)
  }

  disconnect(peer: string, reason: string): Promise<void> {
    return this.#transport.hangUp(peer, reason)
  }

  request(peer: string, method: string, body: Uint8Array, options?: RequestOptions): Promise<Uint8Array> {
    const link = this.#links.get(peer)
    return link === undefined ? Promise.reject(notConnected()) : link.request(method, body, options)
  }

  handle(method: string, handler: RequestHandler, options: HandleOptions = {}): void {
    this.#methods.set(method, { handler, beforeReady: options.beforeReady ?? false })
  }

  openChannel(peer: string, kind: string, opening: Uint8Array): Channel {
    const link = this.#links.get(peer)
    if (link === undefined) throw notConnected()
    return link.openChannel(kind, opening)
  }

  handleChannel(kind: string, handler: ChannelHandler): void {
    this.#kinds.set(kind, handler)
  }

  openStream(peer: string, protocol: string, signal?: AbortSignal): Promise<ByteStream> {
    return this.#transport.openStream(peer, protocol, withTimeout(signal, STREAM_TIMEOUT_MS))
  }

  handleStream(protocol: string, handler: (stream: ByteStream) => void): void {
    this.#transport.handleStream(protocol, (stream) => {
      if (protocol === JOIN_PROTOCOL || this.#links.get(stream.peer)?.ready) handler(stream)
      else stream.abort(notReady())
    })
  }

  setReady(peer: string, ready = true): void {
    const link = this.#links.get(peer)
    if (link !== undefined) link.ready = ready
  }

  keep(peers: readonly WantedPeer[]): void {
    this.#keeper.keep(peers.filter((wanted) => wanted.peer !== this.self))
  }

  recheck(): void {
    this.#transport.recheck()
  }

  provide(label: string, signal?: AbortSignal): Promise<void> {
    return this.#transport.provide(label, withTimeout(signal, INDEX_TIMEOUT_MS))
  }

  findProviders(label: string, signal?: AbortSignal): AsyncIterable<string> {
    return this.#transport.findProviders(label, withTimeout(signal, INDEX_TIMEOUT_MS))
  }

  on(listener: (event: NetEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#keeper.stop()
    this.#cancelBeat?.()
    this.#watch?.stop()
    const error = new MeshError('E_UNREACHABLE', 'The network of this node is closed')
    for (const link of this.#links.values()) link.end(error)
    await this.#transport.close()
  }

  #peerUp(peer: string): void {
    if (this.#closed || this.#links.has(peer)) return
    const services: Services = {
      request: (from, method) => this.#findMethod(from, method),
      channel: (from, kind) => this.#findKind(from, kind),
    }
    const link = new PeerLink({ peer, transport: this.#transport, scheduler: this.#scheduler, services })
    this.#links.set(peer, link)
    this.#keeper.peerUp(peer)
    if (this.#cancelBeat === undefined) this.#scheduleBeat()
    this.#watch ??= this.#watchAddresses()
    link.start()
    this.#emit({ type: 'peer-up', peer })
  }

  #peerDown(peer: string, reason: string): void {
    const link = this.#links.get(peer)
    if (link === undefined) return
    this.#links.delete(peer)
    link.end(new MeshError('E_UNREACHABLE', 'The connection to the peer was lost'))
    this.#keeper.peerDown(peer)
    this.#emit({ type: 'peer-down', peer, reason })
  }

  #wire(peer: string, wire: Wire): void {
    const link = this.#links.get(peer)
    if (link === undefined) wire.abort(new Error('The peer is not served'))
    else link.accept(wire)
  }

  #findMethod(peer: string, method: string): RequestHandler {
    const found = this.#methods.get(method)
    if (!found?.beforeReady && !this.#links.get(peer)?.ready) throw notReady()
    if (found === undefined)
      throw new MeshError('E_NOT_FOUND', 'Answering a request: this node knows no method of that name')
    return found.handler
  }

  #findKind(peer: string, kind: string): ChannelHandler {
    if (!this.#links.get(peer)?.ready) throw notReady()
    const handler = this.#kinds.get(kind)
    if (handler === undefined)
      throw new MeshError('E_NOT_FOUND', 'Opening a channel: this node knows no channels of that kind')
    return handler
  }

  #scheduleBeat(): void {
    this.#cancelBeat = this.#scheduler.after(this.#heartbeatMs, () => {
      this.#cancelBeat = undefined
      if (this.#closed || this.#links.size === 0) return
      this.#scheduleBeat()
      for (const link of [...this.#links.values()]) link.beat()
    })
  }

  #watchAddresses(): AddressWatch {
    return new AddressWatch({
      scheduler: this.#scheduler,
      read: () => this.addresses(),
      onChange: () => {
        for (const link of [...this.#links.values()]) link.probe()
        this.#emit({ type: 'addresses-changed' })
      },
    })
  }

  /** A listener that throws must not keep the others from hearing. */
  #emit(event: NetEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event)
      } catch (error) {
        // surfaces as an uncaught error of this process: a listener's bug is ours
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}

function withTimeout(signal: AbortSignal | undefined, timeoutMs: number): AbortSignal {
  const timeout = AbortSignal.timeout(timeoutMs)
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout])
}

function notConnected(): MeshError {
  return new MeshError('E_UNREACHABLE', 'Talking to a peer: there is no connection to it', {
    hint: '`manyhands peers` shows who is connected; `manyhands doctor` checks this node',
  })
}

function notReady(): MeshError {
  return new MeshError('E_SYNCING', 'Serving a peer: hellos were not exchanged yet', {
    retryAfterMs: NOT_READY_RETRY_MS,
  })
}
