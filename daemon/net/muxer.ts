import { type MessageStream, type StreamMuxer, type StreamMuxerFactory, serviceCapabilities } from '@libp2p/interface'
import { yamux } from '@libp2p/yamux'
import { FrameGuard } from './frame-guard.ts'
import { muxedConnection } from './muxed-connection.ts'

/** Streams one peer may have open on a connection, each way. */
const MAX_STREAMS = 64
/**
 * Unread bytes a stream may have on the way. Below the read buffer, so that a paused stream is never reset; together with the stream count it bounds
 * what one peer can make this node hold: 64 streams x 2 MiB.
 */
export const STREAM_WINDOW_BYTES = 2 << 20
const READ_BUFFER_BYTES = 4 << 20
/** Unsent bytes of one stream: more than any writer here leaves, as all wait for drain. */
const WRITE_BUFFER_BYTES = 32 << 20
/** A window begins so large, by the protocol, and grows by doubling. */
export const INITIAL_WINDOW_BYTES = 256 << 10

/** yamux with every limit set, and a guard before it. */
export function guardedYamux(): () => StreamMuxerFactory {
  const makeYamux = yamux({
    maxInboundStreams: MAX_STREAMS,
    maxOutboundStreams: MAX_STREAMS,
    maxEarlyStreams: 8,
    enableKeepAlive: true,
    keepAliveInterval: 30_000,
    streamOptions: {
      initialStreamWindowSize: INITIAL_WINDOW_BYTES,
      maxStreamWindowSize: STREAM_WINDOW_BYTES,
      maxReadBufferLength: READ_BUFFER_BYTES,
      maxWriteBufferLength: WRITE_BUFFER_BYTES,
    },
  })
  return () => new GuardedMuxerFactory(makeYamux())
}

class GuardedMuxerFactory implements StreamMuxerFactory {
  readonly protocol: string
  readonly [Symbol.toStringTag] = 'guarded-yamux'
  readonly [serviceCapabilities]: string[] = ['@libp2p/stream-multiplexing']
  readonly #inner: StreamMuxerFactory

  constructor(inner: StreamMuxerFactory) {
    this.#inner = inner
    this.protocol = inner.protocol
  }

  createStreamMuxer(connection: MessageStream): StreamMuxer {
    const guard = new FrameGuard({ maxDataBytes: STREAM_WINDOW_BYTES, now: () => performance.now() })
    return this.#inner.createStreamMuxer(muxedConnection(connection, guard))
  }
}
