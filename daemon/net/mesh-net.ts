/**
 * The seam between the daemon and the network: who is connected, requests, channels and bulk streams.
 * Everything above it is free of libp2p. Two implementations under one suite: libp2p, and memory (for tests of what stands on it).
 */

export interface PeerConnection {
  readonly peer: string
  /** Multiaddr it is connected by */
  readonly address: string
  readonly direction: 'inbound' | 'outbound'
  /** Last measured round trip, milliseconds */
  readonly rttMs: number | undefined
  /** True once hellos were exchanged both ways and the peer may be served */
  readonly ready: boolean
}

export interface RequestContext {
  readonly peer: string
  /** Aborts when the asker cancels, its time is up, or the connection ends */
  readonly signal: AbortSignal
}

/** Answers a request. A MeshError's code, message and retryAfterMs reach the asker; anything else reaches it as E_INTERNAL. */
export type RequestHandler = (body: Uint8Array, context: RequestContext) => Promise<Uint8Array> | Uint8Array

/**
 * Messages both ways on the control stream, in order, each at most LIMITS.frameBytes minus framing. Flow is controlled by credit: a slow reader stops this
 * channel and no other.
 */
export interface Channel {
  readonly peer: string
  /**
   * Queues a message. Returns false when the channel's window is used up: wait for `drained()` before sending much more.
   * Beyond four windows of unsent bytes the channel ends with E_OVERLOADED. After the end it does nothing.
   * @param lingers it may wait some milliseconds for something else to leave with. @default false
   */
  send(message: Uint8Array, lingers?: boolean): boolean
  /** As `send`, ahead of what waits here: for what is of no use later. */
  sendAhead(message: Uint8Array): void
  /** @param room wanted: bytes of the window. @default any */
  drained(signal?: AbortSignal, room?: number): Promise<void>
  /** Calls `listener` whenever the peer has consumed another 32nd of a window of what was sent. Set at most one. */
  onTaken(listener: () => void): void
  /** Set exactly one; messages that came before are delivered then. `message` is valid during the call only: copy what you keep. A returned promise holds back credit until it settles. */
  onMessage(handler: (message: Uint8Array) => void | Promise<void>): void
  /** How it ended: undefined after an orderly close by either side. Connection loss is a MeshError E_UNREACHABLE. */
  readonly ended: Promise<Error | undefined>
  /** Orderly end after what is queued. @param lingers as for `send` */
  close(lingers?: boolean): void
  /** Ends now; the other side sees `error`'s code and message. */
  abort(error: Error): void
}

export type ChannelHandler = (channel: Channel, opening: Uint8Array) => void

/** A byte stream with real backpressure, for bulk: each `chunk` is pulled, each `write` waits for room. */
export interface ByteStream {
  readonly peer: string
  write(chunk: Uint8Array, signal?: AbortSignal): Promise<void>
  /** Ends the writing half. */
  end(signal?: AbortSignal): Promise<void>
  chunks(): AsyncIterable<Uint8Array>
  abort(error: Error): void
}

export interface RequestOptions {
  readonly signal?: AbortSignal
  /** @default LIMITS.requestTimeoutMs, and longer while a slow link brings something */
  readonly timeoutMs?: number
}

export interface HandleOptions {
  /** Whether the method is answered before `setReady`: "hello" and what membership needs. @default false */
  readonly beforeReady?: boolean
}

/** A peer that connections are kept to. */
export interface WantedPeer {
  readonly peer: string
  readonly addresses: readonly string[]
}

export type NetEvent =
  | { readonly type: 'peer-up'; readonly peer: string }
  | { readonly type: 'peer-down'; readonly peer: string; readonly reason: string }
  | { readonly type: 'peer-found'; readonly peer: string; readonly addresses: readonly string[] }
  /** Of this node itself */
  | { readonly type: 'addresses-changed' }

/** Who may connect; asked before any byte of a protocol is read. */
export interface Gate {
  /** Whether a connection to or from this node id may stay */
  admits(peer: string): boolean
  /** Of those, whether it may use protocols other than joining */
  serves(peer: string): boolean
}

export interface MeshNet {
  readonly self: string
  /** Listening addresses with peer id, most useful first */
  addresses(): string[]
  connections(): PeerConnection[]
  isConnected(peer: string): boolean
  rttMs(peer: string): number | undefined
  /** Connects, unless connected. @throws MeshError E_UNREACHABLE, E_TIMEOUT, E_NOT_MEMBER */
  connect(peer: string, addresses?: readonly string[], signal?: AbortSignal): Promise<void>
  disconnect(peer: string, reason: string): Promise<void>
  /** @throws MeshError of the answerer, E_UNREACHABLE, E_TIMEOUT */
  request(peer: string, method: string, body: Uint8Array, options?: RequestOptions): Promise<Uint8Array>
  handle(method: string, handler: RequestHandler, options?: HandleOptions): void
  /** Opens a channel on a connected peer; sending may start at once. @throws MeshError E_UNREACHABLE, E_OVERLOADED */
  openChannel(peer: string, kind: string, opening: Uint8Array): Channel
  handleChannel(kind: string, handler: ChannelHandler): void
  /** Opens a libp2p stream of its own. @param protocol e.g. "/manyhands/bulk/1" */
  openStream(peer: string, protocol: string, signal?: AbortSignal): Promise<ByteStream>
  handleStream(protocol: string, handler: (stream: ByteStream) => void): void
  /**
   * Says that hellos were exchanged: from now until the connection ends the peer's requests, channels and streams are served. Before, it gets E_SYNCING,
   * except for methods handled with `beforeReady`. Does nothing for a peer that is not connected.
   * @param ready false: new ones are refused again, as before hellos. What is open already is for its owner to end. @default true
   */
  setReady(peer: string, ready?: boolean): void
  /** Replaces the set of peers to stay connected to: dialed now and, with jittered backoff, whenever the connection is lost. */
  keep(peers: readonly WantedPeer[]): void
  /** Asks the gate again about every connection and closes at once those it no longer admits. */
  recheck(): void
  /** Says in the label index that this node offers `label`. Does nothing without an index. @throws MeshError E_TIMEOUT */
  provide(label: string, signal?: AbortSignal): Promise<void>
  /** Node ids the label index names for `label`: a hint to ask them, never proof. Nothing without an index. Ends by itself. */
  findProviders(label: string, signal?: AbortSignal): AsyncIterable<string>
  on(listener: (event: NetEvent) => void): () => void
  close(): Promise<void>
}
