import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { toFault } from './fault.ts'
import { protocolError } from './frame-decoder.ts'
import type { FrameSource, FrameToSend, FrameWriter } from './frame-writer.ts'
import { Fifo } from './fifo.ts'
import type { Channel } from './mesh-net.ts'

/** Room for the frame around a message: two tags, id and length. Every message also costs this much credit, so that empty ones are not free. */
export const FRAMING_BYTES = 32
/** Larger messages never go ahead of urgent frames: a link of 10 KB/s takes most of a second for this. */
const URGENT_BYTES = 8 << 10
const WINDOW = LIMITS.channelWindowBytes
/**
 * Credit is returned in steps, to save frames; below the window, so that a sender never waits for a step that does not come, and so small that one comes every
 * few seconds over a narrow link that several channels share: who sends takes it for a sign of progress.
 */
const CREDIT_STEP = WINDOW / 32
/** Unsent bytes at which a channel that ignores `send() === false` ends. */
const MAX_UNSENT = 4 * WINDOW

/** What a message takes from the window; both sides count alike. */
const cost = (message: Uint8Array): number => message.length + FRAMING_BYTES

type Handler = (message: Uint8Array) => void | Promise<void>

/** What a channel needs of the stream it is on. */
export interface ChannelHost {
  readonly writer: FrameWriter
  /** Unsent bytes of all channels of the stream; each channel keeps its share current */
  unsentBytes: number
  /** The channel is over: its number means nothing any more. */
  forget(id: number): void
}

/**
 * One end of a channel.
 * Sending: a message may leave while credit is above zero and lowers it by its cost, so at most a window and one message are on the way.
 * What may not leave waits here. Receiving: the cost of a message goes back as credit when its handler has settled.
 * Invariant: once anything waits in `#unsent`, everything later waits behind it, but for what is sent ahead.
 */
export class ControlChannel implements Channel, FrameSource {
  readonly peer: string
  readonly ended: Promise<Error | undefined>
  readonly #id: number
  readonly #host: ChannelHost
  readonly #end: (error: Error | undefined) => void
  #over = false
  #closing = false
  // sending
  #credit: number = WINDOW
  readonly #unsent = new Fifo<Uint8Array>()
  #unsentBytes = 0
  #waiting: (() => void)[] = []
  #onTaken: (() => void) | undefined
  /** Bytes the peer consumed since `#onTaken` was called */
  #taken = 0
  // receiving
  #handler: Handler | undefined
  #inbox: Uint8Array[] = []
  #unconsumed = 0
  #owed = 0

  constructor(peer: string, id: number, host: ChannelHost) {
    this.peer = peer
    this.#id = id
    this.#host = host
    const { promise, resolve } = Promise.withResolvers<Error | undefined>()
    this.ended = promise
    this.#end = resolve
  }

  send(message: Uint8Array, lingers = false): boolean {
    if (this.#over || this.#closing) return false
    if (message.length > LIMITS.frameBytes - FRAMING_BYTES) {
      throw new MeshError(
        'E_TOO_LARGE',
        `Sending on a channel: the message has ${message.length} bytes, ${LIMITS.frameBytes - FRAMING_BYTES} are allowed`,
      )
    }
    const { writer } = this.#host
    if (this.#unsent.length === 0 && this.#credit > 0 && message.length <= URGENT_BYTES && !writer.congested) {
      this.#credit -= cost(message)
      writer.post({ id: this.#id, data: message }, lingers)
      return this.#credit > 0
    }
    return this.#queue(message)
  }

  /** Costs credit like all else: a peer that takes nothing gets nothing. */
  sendAhead(message: Uint8Array): void {
    if (this.#over || this.#closing || this.#credit <= 0) return void this.send(message)
    this.#credit -= cost(message)
    this.#host.writer.post({ id: this.#id, data: message })
  }

  #queue(message: Uint8Array): boolean {
    const crowded = this.#unsentBytes > 0 && this.#host.unsentBytes > LIMITS.peerQueueBytes
    if (crowded || this.#unsentBytes + cost(message) > MAX_UNSENT) {
      this.abort(
        new MeshError('E_OVERLOADED', 'Sending on a channel: the peer does not keep up and too much waits for it'),
      )
      return false
    }
    this.#unsent.push(message)
    this.#count(cost(message))
    if (this.#credit > 0) this.#host.writer.ready(this)
    return this.#credit > this.#unsentBytes
  }

  nextFrame(): FrameToSend | undefined {
    if (this.#over) return undefined
    const message = this.#credit > 0 ? this.#unsent.shift() : undefined
    if (message !== undefined) {
      this.#credit -= cost(message)
      this.#count(-cost(message))
      if (this.#hasRoom(1)) this.#wakeSenders()
      return { id: this.#id, data: message }
    }
    if (!this.#closing || this.#unsent.length > 0) return undefined
    this.finish(undefined)
    return { id: this.#id, close: true }
  }

  #hasRoom(bytes: number): boolean {
    return this.#credit >= bytes && this.#unsent.length === 0
  }

  async drained(signal?: AbortSignal, room = 1): Promise<void> {
    signal?.throwIfAborted()
    while (!this.#hasRoom(room) && !this.#over) {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const onAbort = () => reject(signal?.reason)
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#waiting.push(resolve)
      try {
        await promise
      } finally {
        signal?.removeEventListener('abort', onAbort)
        this.#waiting = this.#waiting.filter((waiter) => waiter !== resolve)
      }
    }
  }

  onTaken(listener: () => void): void {
    this.#onTaken = listener
  }

  onMessage(handler: Handler): void {
    if (this.#handler !== undefined) throw new TypeError('A channel has one message handler, and it is set')
    this.#handler = handler
    for (const message of this.#inbox.splice(0)) this.#deliver(handler, message)
  }

  close(lingers = false): void {
    if (this.#over || this.#closing) return
    this.#closing = true
    this.#host.writer.ready(this, lingers)
  }

  abort(error: Error): void {
    if (this.#over) return
    this.#host.writer.post({ id: this.#id, fault: toFault(error) })
    this.finish(error)
  }

  /** A message came. @throws MeshError E_PROTOCOL when the peer sends without credit */
  receive(message: Uint8Array): void {
    if (this.#over) return
    this.#unconsumed += cost(message)
    if (this.#unconsumed > WINDOW + LIMITS.frameBytes + FRAMING_BYTES)
      throw protocolError('a channel got more than its window')
    if (this.#handler === undefined) this.#inbox.push(message)
    else this.#deliver(this.#handler, message)
  }

  /** The peer consumed. @throws MeshError E_PROTOCOL when it consumed more than was sent */
  receiveCredit(bytes: number): void {
    this.#credit += bytes
    if (this.#credit > WINDOW) throw protocolError('a channel got credit for bytes that were not sent')
    this.#countTaken(bytes)
    if (this.#credit <= 0) return
    if (this.#unsent.length > 0) this.#host.writer.ready(this)
    else this.#wakeSenders()
  }

  /** Smaller steps than those of `#consumed` are no progress: a peer could make them last for ever. */
  #countTaken(bytes: number): void {
    this.#taken += bytes
    if (this.#taken < CREDIT_STEP) return
    this.#taken = 0
    this.#onTaken?.()
  }

  /** Over, without telling the peer. */
  finish(error: Error | undefined): void {
    if (this.#over) return
    this.#over = true
    this.#unsent.clear()
    this.#count(-this.#unsentBytes)
    this.#host.writer.remove(this)
    this.#host.forget(this.#id)
    this.#wakeSenders()
    this.#end(error)
  }

  #deliver(handler: Handler, message: Uint8Array): void {
    let done: void | Promise<void>
    try {
      done = handler(message)
    } catch (error) {
      return this.abort(error instanceof Error ? error : new Error('A message handler failed', { cause: error }))
    }
    if (done === undefined) return this.#consumed(cost(message))
    done.then(
      () => this.#consumed(cost(message)),
      (error: unknown) =>
        this.abort(error instanceof Error ? error : new Error('A message handler failed', { cause: error })),
    )
  }

  #consumed(bytes: number): void {
    this.#unconsumed -= bytes
    this.#owed += bytes
    if (this.#over || this.#owed < CREDIT_STEP) return
    this.#host.writer.post({ id: this.#id, credit: this.#owed })
    this.#owed = 0
  }

  #count(bytes: number): void {
    this.#unsentBytes += bytes
    this.#host.unsentBytes += bytes
  }

  #wakeSenders(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }
}
