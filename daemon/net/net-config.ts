import type { Gate } from './mesh-net.ts'

/** Everything a node's network needs to know. */
export interface NetConfig {
  readonly meshId: string
  /** Ed25519 seed, 32 bytes */
  readonly seed: Uint8Array
  /** The mesh's pre-shared key, 32 bytes. Without one anybody reaches the handshake: only for measuring. */
  readonly networkKey: Uint8Array | undefined
  readonly gate: Gate
  /** Multiaddrs to listen on; port 0 picks one. @default ['/ip4/0.0.0.0/tcp/0'] */
  readonly listen?: readonly string[]
  /** Multiaddrs to tell others instead of the listening ones, e.g. behind a port forward. @default [] */
  readonly announce?: readonly string[]
  /** Dial and accept addresses of this host. @default false */
  readonly allowLoopback?: boolean
  /** Dial private addresses that peers name. @default true */
  readonly allowPrivate?: boolean
  /** Find peers of this mesh on the LAN. @default false */
  readonly mdns?: boolean
  /** Keep the label index (Kademlia). @default false */
  readonly dht?: boolean
  /** Connections in all. @default 300 */
  readonly maxConnections?: number
  /** New connections per second from one IP address; raise it where many nodes share one. @default 10 */
  readonly inboundPerSecond?: number
  /** How often a peer is asked for a sign of life, milliseconds; it counts as dead after four. @default 10_000 */
  readonly heartbeatMs?: number
}
