import { MeshError } from '../../protocol/errors.ts'
import type { ChannelHost, ControlChannel } from './channel.ts'
import { type Frame, FrameDecoder, protocolError } from './frame-decoder.ts'
import { FrameWriter } from './frame-writer.ts'
import type { Scheduler } from './scheduler.ts'
import type { Wire } from './wire.ts'

/**
 * What both ends of a control stream share: frames in and out, the channels on it, and one end. The side that opened the stream is the asker and numbers
 * requests and channels; the other answers. Any breach of the protocol ends the stream, and `onBreach` hears of it.
 */
export abstract class Session implements ChannelHost {
  readonly peer: string
  readonly writer: FrameWriter
  unsentBytes = 0
  /** Counts chunks received; tells a quiet stream from a live one */
  heard = 0
  /** Of all chunks; tells a link that brings something, however slowly */
  heardBytes = 0
  /** Counts frames that were complete; tells a slow one from the next */
  frames = 0
  protected readonly scheduler: Scheduler
  protected readonly channels = new Map<number, ControlChannel>()
  readonly #decoder: FrameDecoder
  readonly #onBreach: (error: MeshError) => void
  #wire: Wire | undefined
  #over = false
  #onOver: (() => void) | undefined

  constructor(peer: string, scheduler: Scheduler, onBreach: (error: MeshError) => void) {
    this.peer = peer
    this.scheduler = scheduler
    this.writer = new FrameWriter(scheduler)
    this.#onBreach = onBreach
    this.#decoder = new FrameDecoder((frame) => {
      this.frames++
      if (!this.#over) this.receive(frame)
    })
  }

  get over(): boolean {
    return this.#over
  }

  /** Bytes of an unfinished frame; a peer that leaves one unfinished for long is not served further. */
  get partialBytes(): number {
    return this.#decoder.partialBytes
  }

  /** Starts on `wire`; `onOver` is called once, when it ended. */
  bind(wire: Wire, onOver: () => void): void {
    if (this.#over) return wire.abort(new Error('The session is over'))
    this.#wire = wire
    this.#onOver = onOver
    wire.attach({
      data: (chunk) => this.#read(chunk),
      drain: () => this.writer.flush(),
      closed: (error) =>
        this.end(new MeshError('E_UNREACHABLE', 'The connection to the peer was lost', { cause: error })),
    })
    this.writer.attach(wire)
  }

  /** Ends everything on the stream with `error`. */
  end(error: MeshError): void {
    if (this.#over) return
    this.#over = true
    for (const channel of [...this.channels.values()]) channel.finish(error)
    this.channels.clear()
    this.ended(error)
    this.#wire?.abort(error)
    this.#onOver?.()
  }

  forget(id: number): void {
    this.channels.delete(id)
  }

  protected abstract receive(frame: Frame): void
  protected abstract ended(error: MeshError): void

  /** Ends the session and the connection with it. */
  protected breach(error: MeshError): void {
    if (this.#over) return
    this.end(error)
    this.#onBreach(error)
  }

  /** Handles the frames that both sides know. False: not one of them. */
  protected receiveOnChannel(channel: ControlChannel, frame: Frame): boolean {
    switch (frame.body) {
      case 'data':
        channel.receive(frame.data ?? new Uint8Array())
        return true
      case 'credit':
        channel.receiveCredit(frame.credit ?? 0)
        return true
      case 'close':
        channel.finish(undefined)
        return true
      default:
        return false
    }
  }

  #read(chunk: Uint8Array): void {
    this.heard++
    this.heardBytes += chunk.byteLength
    try {
      this.#decoder.push(chunk)
    } catch (error) {
      this.breach(error instanceof MeshError ? error : protocolError('a frame could not be handled', error))
    }
  }
}
