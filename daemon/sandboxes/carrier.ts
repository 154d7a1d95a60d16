/** What carries the frames of one op between two nodes: a channel of the control stream, or a stream of its own for bulk. In order, with backpressure. */
import { MeshError, toMeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import {
  dataFrame,
  dataWithLength,
  type OpFrame,
  OpFrameReader,
  readFrame,
  withLength,
} from '../../protocol/sandbox/op-frame.ts'
import type { ByteStream, Channel } from '../net/mesh-net.ts'

export interface Carrier {
  readonly peer: string
  /** Resolves when there is room for more. @throws MeshError once it has ended */
  send(frame: Uint8Array): Promise<void>
  /** As `send` of a frame of data; `bytes` are copied at once. */
  sendData(lane: number, bytes: Uint8Array): Promise<void>
  /** As `send`, and does not wait for data that the other side has not taken, where it is a channel. */
  sendAhead(frame: Uint8Array): Promise<void>
  /** Set exactly one; `frame` is valid until the returned promise settles, which holds the other side back. A frame of data may come as several. */
  onFrame(handler: (frame: OpFrame) => void | Promise<void>): void
  /** Orderly end after what was sent. */
  close(): void
  /** The other side learns that it is over. */
  abort(error: MeshError): void
  /** Undefined after an orderly end by the other side. Never rejects. */
  readonly ended: Promise<Error | undefined>
}

/** Frames larger than a message of the control stream do not fit a channel: such ops go by streams. */
const MESSAGE_BYTES = LIMITS.frameBytes - 1024
/** Window of a channel without which no data is sent: more than one piece takes, so that what goes ahead of data always finds some. */
const AHEAD_BYTES = 128 << 10

export function channelCarrier(channel: Channel): Carrier {
  let over = false
  void channel.ended.then(() => {
    over = true
  })
  // In their order, though data waits
  let last: Promise<void> = Promise.resolve()
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    last = last.then(work, work)
    last.catch(() => undefined)
    return last
  }
  const send = async (frame: Uint8Array): Promise<void> => {
    if (over) throw lost()
    if (frame.length > MESSAGE_BYTES)
      throw new MeshError(
        'E_TOO_LARGE',
        `Cannot send ${frame.length} bytes in one answer: at most ${MESSAGE_BYTES} are possible`,
      )
    if (!channel.send(frame)) await channel.drained()
  }
  return {
    peer: channel.peer,
    send: (frame) => inTurn(() => send(frame)),
    sendData(lane, bytes) {
      const frame = dataFrame(lane, bytes)
      return inTurn(async () => {
        await channel.drained(undefined, AHEAD_BYTES)
        await send(frame)
      })
    },
    sendAhead: send,
    onFrame: (handler) => channel.onMessage((message) => handler(readFrame(message))),
    close: () => channel.close(),
    abort: (error) => channel.abort(error),
    ended: channel.ended,
  }
}

export function streamCarrier(stream: ByteStream): Carrier {
  const ended = Promise.withResolvers<Error | undefined>()
  // One write at a time: frames must not mix
  let last: Promise<void> = Promise.resolve()
  let over = false
  const read = async (handler: (frame: OpFrame) => void | Promise<void>): Promise<void> => {
    const reader = new OpFrameReader()
    try {
      for await (const chunk of stream.chunks()) for (const frame of reader.push(chunk)) await handler(frame)
      ended.resolve(undefined)
    } catch (error) {
      ended.resolve(toMeshError(error))
      stream.abort(toMeshError(error))
    } finally {
      over = true
    }
  }
  const write = (bytes: Uint8Array): Promise<void> => {
    if (over) return Promise.reject(lost())
    last = last.then(() => stream.write(bytes))
    last.catch(() => undefined)
    return last
  }
  return {
    peer: stream.peer,
    send: (frame) => write(withLength(frame)),
    sendData: (lane, bytes) => write(dataWithLength(lane, bytes)),
    sendAhead: (frame) => write(withLength(frame)),
    onFrame: (handler) => void read(handler),
    close: () => void last.then(() => stream.end()).catch(() => undefined),
    abort: (error) => {
      over = true
      stream.abort(error)
      ended.resolve(error)
    },
    ended: ended.promise,
  }
}

function lost(): MeshError {
  return new MeshError('E_UNREACHABLE', 'The connection to the node of the sandbox was lost', {
    hint: 'Try again once the node is back; `manyhands peers` shows whether it is',
  })
}
