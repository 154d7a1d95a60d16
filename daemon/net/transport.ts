import type { ByteStream, PeerConnection } from './mesh-net.ts'
import type { Wire } from './wire.ts'

/**
 * What carries the mesh: connections to peers whose identity is proven, wires and byte streams on them. Knows the gate, nothing of requests or channels.
 * A peer that the gate admits but does not serve has no `peerUp` and no wires: it can only use streams of the joining protocol.
 */
export interface Transport {
  readonly self: string
  addresses(): string[]
  connections(): Omit<PeerConnection, 'ready' | 'rttMs'>[]
  /** @throws MeshError E_UNREACHABLE, E_TIMEOUT, E_NOT_MEMBER */
  dial(peer: string, addresses: readonly string[] | undefined, signal: AbortSignal): Promise<void>
  /** Closes every connection to the peer. */
  hangUp(peer: string, reason: string): Promise<void>
  openWire(peer: string, signal: AbortSignal): Promise<Wire>
  openStream(peer: string, protocol: string, signal: AbortSignal): Promise<ByteStream>
  handleStream(protocol: string, handler: (stream: ByteStream) => void): void
  recheck(): void
  provide(label: string, signal: AbortSignal): Promise<void>
  findProviders(label: string, signal: AbortSignal): AsyncIterable<string>
  /** Called once, before anything happens. */
  attach(events: TransportEvents): void
  close(): Promise<void>
}

export interface TransportEvents {
  /** The first connection to a served peer is open. */
  peerUp(peer: string): void
  /** One more: both sides dialed at once, or it has lost the one before, which nobody told us. */
  peerAgain(peer: string): void
  /** Its last connection is gone. */
  peerDown(peer: string, reason: string): void
  /** The peer opened a control stream. */
  wire(peer: string, wire: Wire): void
  peerFound(peer: string, addresses: readonly string[]): void
}
