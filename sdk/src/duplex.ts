/**
 * The duplex connection as sessions and runs with host functions see it. `node/duplex-connection.ts` implements it; browsers have none.
 * Frames are described in protocol/api.ts; the constants here are held equal to it by their type.
 */
import type { BOX as BoxContract, BoxOpen, DUPLEX as Contract, RunOpen, SessionOpen } from '../../protocol/api.ts'
import { ManyhandsError } from './errors.ts'

export const DUPLEX: typeof Contract = {
  protocol: 'manyhands-duplex-1',
  maxFrameBytes: 16777216 as typeof Contract.maxFrameBytes,
  type: {
    run: 1,
    session: 2,
    opened: 3,
    call: 4,
    reply: 5,
    callFailed: 6,
    hostCall: 7,
    hostResult: 8,
    hostFailed: 9,
    log: 10,
    end: 11,
    problem: 12,
    cancel: 13,
    finish: 14,
    ping: 15,
    pong: 16,
    box: 32,
    data: 33,
    credit: 34,
    control: 35,
    done: 36,
  },
}

export const BOX: typeof BoxContract = {
  windowBytes: 1048576 as typeof BoxContract.windowBytes,
  pieceBytes: 65526 as typeof BoxContract.pieceBytes,
}

export const FRAME = DUPLEX.type

export interface ChannelListener {
  /** `id` is 0 for frames that carry none. A throw is a breach of protocol and ends the whole connection. */
  onFrame(type: number, id: number, text: string): void
  /** Bytes of a frame of type `data`, which come in one piece or several and are the listener's to keep. Absent: they break the protocol. */
  onData?(lane: number, bytes: Uint8Array): void
  /** The other side takes as many more bytes. Absent: it breaks the protocol. */
  onCredit?(bytes: number): void
  /** The connection is gone; nothing more comes. */
  onLost(error: ManyhandsError): void
}

export interface Channel {
  /** @throws ManyhandsError E_TOO_LARGE, E_OVERLOADED when the daemon does not read, E_UNREACHABLE once lost */
  send(type: number, text: string): void
  sendWithId(type: number, id: number, text: string): void
  /** A frame of bytes behind one more: the lane. `bytes` may be changed after the call. */
  sendData(lane: number, bytes: Uint8Array): void
  sendCredit(bytes: number): void
  /** No more frames are delivered. */
  release(): void
}

export interface Duplex {
  /** @param json `body` as JSON text, when that exists already */
  open(type: typeof FRAME.run, body: RunOpen, listener: ChannelListener, json?: string): Channel
  open(type: typeof FRAME.session, body: SessionOpen, listener: ChannelListener): Channel
  open(type: typeof FRAME.box, body: BoxOpen, listener: ChannelListener): Channel
}

/** Gives the connection of the mesh, opening it when there is none. */
export type DuplexSource = (signal: AbortSignal | undefined) => Promise<Duplex>

export function noDuplex(): Promise<Duplex> {
  return Promise.reject(
    new ManyhandsError(
      'E_BAD_REQUEST',
      'Cannot open a session, a stream of a sandbox or host functions from here: a browser has no raw connection',
      {
        hint: 'Use run() without host functions, map(), or the SDK under Node',
      },
    ),
  )
}
