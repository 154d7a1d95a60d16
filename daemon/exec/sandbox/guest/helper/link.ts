import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import type { GuestTransport } from '../guest-connection.ts'
import { decodeHello, decodeNumber } from './bodies.ts'
import { FrameReader } from './frame-reader.ts'
import { frameParts, type Frame, FROM_GUEST, GuestProtocolError, HELPER_VERSION, TO_GUEST, u32 } from './wire.ts'

/** Bytes of input handed to the transport in one frame. */
const PIECE_BYTES = 64 << 10

export interface ChannelEnd {
  /** `END_HOW`; "lost" when the connection is over */
  readonly how: number | 'lost'
  readonly number: number
  /** Why, for "lost"; absent when the channel was closed here */
  readonly error?: Error
}

/** What a channel does with what the guest says. Exceptions of these end the connection. */
export interface ChannelHandler {
  /** The body of an OUT frame may come in several calls. @default whole */
  readonly inPieces?: boolean
  onOpened?(body: Buffer): void
  onOut?(flag: number, body: Buffer): void
  /** Once, last */
  onEnd(end: ChannelEnd): void
}

/** One opened channel, with the credit of both directions. */
export class Channel {
  readonly id: number
  readonly #link: Link
  readonly handler: ChannelHandler
  /** Whether it keeps the sandbox awake */
  active = true
  /** Bytes the guest may still send */
  #granted: number
  /** Bytes we may still send */
  #room: number
  /** Bytes sent that were not given back yet: no more than these can come back */
  #sent = 0
  #taken = 0
  #opened = false
  #over = false
  #closing = false
  #waiting: (() => void)[] = []
  /** Calls of `write` that have not sent all of theirs */
  #writing = 0
  #finished = false

  constructor(link: Link, id: number, handler: ChannelHandler, granted: number, room: number) {
    this.#link = link
    this.id = id
    this.handler = handler
    this.#granted = granted
    this.#room = room
  }

  get over(): boolean {
    return this.#over || this.#closing
  }

  send(type: number, flag = 0, body?: Uint8Array): void {
    if (!this.over) this.#link.send(type, this.id, flag, body)
  }

  /** Sends all of it as credit and transport allow. Gives false when the channel ended before. */
  async write(bytes: Uint8Array): Promise<boolean> {
    this.#writing += 1
    try {
      return await this.#sendAll(bytes)
    } finally {
      this.#writing -= 1
      if (this.#finished) this.finish()
    }
  }

  /** No more is written: the guest is told once what waits was sent. */
  finish(): void {
    this.#finished = true
    if (this.#writing === 0) this.send(TO_GUEST.data, 1)
  }

  async #sendAll(bytes: Uint8Array): Promise<boolean> {
    for (let at = 0; at < bytes.length; ) {
      while (!this.over && (this.#room === 0 || this.#link.congested)) await this.#wait()
      if (this.over) return false
      const length = Math.min(bytes.length - at, this.#room, PIECE_BYTES)
      this.#room -= length
      this.#sent += length
      this.send(TO_GUEST.data, 0, bytes.subarray(at, at + length))
      at += length
    }
    return !this.over
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      if (this.#link.congested) this.#link.onceDrained(() => this.#wake())
    })
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  /** Bytes of OUT were used up: gives the guest as much again, in large steps. */
  took(bytes: number): void {
    this.#taken += bytes
    if (this.#taken < LIMITS.guestWindowBytes / 4 || this.over) return
    this.grant(this.#taken)
    this.#taken = 0
  }

  /** More credit for the guest. */
  grant(bytes: number): void {
    if (this.over) return
    this.#granted += bytes
    this.send(TO_GUEST.credit, 0, u32(bytes))
  }

  /** Tells the guest to end it; what still comes is not looked at. The handler is told at once. */
  close(): void {
    if (this.over) return
    this.send(TO_GUEST.close)
    this.#closing = true
    this.#wake()
    this.handler.onEnd({ how: 'lost', number: 0 })
  }

  /** @throws GuestProtocolError */
  receive(frame: Frame): void {
    switch (frame.type) {
      case FROM_GUEST.opened:
        if (this.#opened) throw new GuestProtocolError('a channel was opened twice')
        this.#opened = true
        if (!this.#closing) this.handler.onOpened?.(frame.body)
        return
      case FROM_GUEST.out:
        if (frame.body.length > this.#granted) throw new GuestProtocolError('more was sent than there was credit for')
        this.#granted -= frame.body.length
        if (!this.#closing) this.handler.onOut?.(frame.flag, frame.body)
        return
      case FROM_GUEST.give: {
        const bytes = decodeNumber(frame.body)
        if (bytes === 0 || bytes > this.#sent) throw new GuestProtocolError('credit was given back that was not used')
        this.#sent -= bytes
        this.#room += bytes
        return this.#wake()
      }
      case FROM_GUEST.end:
        return this.#end({ how: frame.flag, number: decodeNumber(frame.body) })
      default:
        throw new GuestProtocolError(`a frame of type ${frame.type} is unknown`)
    }
  }

  #end(end: ChannelEnd): void {
    const told = this.#closing
    this.#over = true
    this.#wake()
    if (!told) this.handler.onEnd(end)
  }

  lose(error: Error): void {
    if (!this.#over) this.#end({ how: 'lost', number: 0, error })
  }
}

/** The conversation with one helper: numbers, opens and forgets channels. See `wire.ts` for the rules it holds the guest to. */
export class Link {
  readonly #transport: GuestTransport
  readonly #onOver: (error: Error) => void
  readonly #channels = new Map<number, Channel>()
  /** Pings that were not answered, oldest first */
  #pings: ((error?: Error) => void)[] = []
  #hello: ((error?: Error) => void) | undefined
  #ready = false
  #last = 0
  #room = 0
  #congested = false
  #drained: (() => void)[] = []
  #over: Error | undefined
  #lastAt = performance.now()
  #holds = 0

  private constructor(transport: GuestTransport, token: string, onOver: (error: Error) => void) {
    this.#transport = transport
    this.#onOver = onOver
    const inPieces = (channel: number): boolean => this.#channels.get(channel)?.handler.inPieces === true
    const reader = new FrameReader(token, (frame) => this.#receive(frame), inPieces)
    transport.onData((bytes, fd) => {
      if (fd !== 1 || this.#over !== undefined) return
      try {
        reader.push(bytes)
      } catch (error) {
        this.lose(error instanceof Error ? error : new Error(String(error)))
      }
    })
    transport.onDrain(() => this.#drain())
    transport.onEnd((error) => this.lose(error ?? new Error('The stream to the sandbox ended')))
  }

  /** Begins a conversation. @throws MeshError E_SANDBOX_LOST when the helper does not answer in time, or is another version */
  static async start(
    transport: GuestTransport,
    token: string,
    onOver: (error: Error) => void,
    signal: AbortSignal,
  ): Promise<Link> {
    signal.throwIfAborted()
    const link = new Link(transport, token, onOver)
    const aborted = (): void =>
      link.lose(new MeshError('E_SANDBOX_LOST', 'Cannot reach the agent in the sandbox: it did not answer in time'))
    signal.addEventListener('abort', aborted, { once: true })
    try {
      await new Promise<void>((resolve, reject) => {
        link.#hello = (error) => (error === undefined ? resolve() : reject(error))
        transport.write(Buffer.from(token, 'latin1'))
      })
    } finally {
      signal.removeEventListener('abort', aborted)
    }
    return link
  }

  get activity(): { active: number; lastAt: number } {
    let active = this.#holds
    for (const channel of this.#channels.values()) if (channel.active) active += 1
    return { active, lastAt: this.#lastAt }
  }

  hold(): () => void {
    this.#holds += 1
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#holds -= 1
      this.#lastAt = performance.now()
    }
  }

  get congested(): boolean {
    return this.#congested
  }

  onceDrained(listener: () => void): void {
    this.#drained.push(listener)
  }

  /** @throws MeshError E_SANDBOX_LOST, E_OVERLOADED */
  open(type: number, flag: number, body: Uint8Array, handler: ChannelHandler, granted = 0): Channel {
    if (this.#over !== undefined) throw lostError(this.#over)
    if (this.#channels.size >= LIMITS.guestChannels) {
      throw new MeshError('E_OVERLOADED', `The sandbox has ${LIMITS.guestChannels} commands and streams open already`, {
        retryAfterMs: 100,
      })
    }
    this.#last += 1
    const channel = new Channel(this, this.#last, handler, granted, this.#room)
    this.#channels.set(channel.id, channel)
    this.send(type, channel.id, flag, body)
    return channel
  }

  send(type: number, channel: number, flag: number, body?: Uint8Array): void {
    if (this.#over !== undefined) return
    if (!this.#transport.write(...frameParts(type, channel, flag, body))) this.#congested = true
  }

  ping(): Promise<void> {
    if (this.#over !== undefined) return Promise.reject(lostError(this.#over))
    return new Promise((resolve, reject) => {
      this.#pings.push((error) => (error === undefined ? resolve() : reject(error)))
      this.send(TO_GUEST.ping, 0, 0)
    })
  }

  /** Says nothing more and believes nothing more; the transport stays open for another. */
  leave(): void {
    this.#over ??= new Error('The conversation moved')
  }

  /** Ends the conversation: every channel, then `onOver`. */
  lose(error: Error): void {
    if (this.#over !== undefined) return
    this.#over = error
    this.#transport.close()
    this.#drain()
    for (const channel of [...this.#channels.values()]) channel.lose(error)
    this.#channels.clear()
    for (const answer of this.#pings) answer(lostError(error))
    this.#pings = []
    this.#hello?.(lostError(error))
    this.#onOver(error)
  }

  #drain(): void {
    this.#congested = false
    const drained = this.#drained
    this.#drained = []
    for (const listener of drained) listener()
  }

  #receive(frame: Frame): void {
    if (this.#over !== undefined) return
    if (!this.#ready) return this.#greet(frame)
    if (frame.type === FROM_GUEST.pong) {
      const answer = this.#pings.shift()
      if (answer === undefined) throw new GuestProtocolError('a ping was answered that was not sent')
      return answer()
    }
    const channel = this.#channels.get(frame.channel)
    if (channel === undefined) throw new GuestProtocolError(`channel ${frame.channel} is not open`)
    // forgotten only after it was told: what throws here ends every channel that is still known
    channel.receive(frame)
    if (frame.type !== FROM_GUEST.end) return
    this.#channels.delete(frame.channel)
    this.#lastAt = performance.now()
  }

  #greet(frame: Frame): void {
    if (frame.type !== FROM_GUEST.hello) throw new GuestProtocolError('the first frame is no greeting')
    const hello = decodeHello(frame.body)
    if (hello.version !== HELPER_VERSION) throw new GuestProtocolError(`the agent speaks version ${hello.version}`)
    this.#ready = true
    this.#last = hello.lastChannel
    this.#room = Math.min(hello.credit, LIMITS.guestWindowBytes)
    this.#hello?.()
    this.#hello = undefined
  }
}

export function lostError(cause: Error | undefined): MeshError {
  if (cause instanceof MeshError) return cause
  return new MeshError('E_SANDBOX_LOST', 'The sandbox, or the agent in it, is gone', { cause })
}
