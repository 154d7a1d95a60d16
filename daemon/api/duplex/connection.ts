/** One duplex connection: opens channels, hands frames to them, and tells each when the client is gone. */
import type { Duplex } from 'node:stream'
import { DUPLEX } from '../../../protocol/api.ts'
import { MeshError, toMeshError } from '../../../protocol/errors.ts'
import { parseJsonText } from '../../../protocol/json-text.ts'
import { boxOpen } from '../../../protocol/sandbox/op.ts'
import { check } from '../check.ts'
import { runOpen, sessionOpen } from '../request-schemas.ts'
import type { ApiServices } from '../services.ts'
import { openBox } from './box-channel.ts'
import { CallBudget } from './call-budget.ts'
import { type Channel, ChannelOutput } from './channel.ts'
import { DUPLEX_LIMITS } from './limits.ts'
import { openRun } from './run-channel.ts'
import { openSession } from './session-channel.ts'
import { DuplexWire } from './wire.ts'

export interface DuplexConnectionParts {
  readonly services: ApiServices
  /** Who holds the token it was opened with */
  readonly subject: string
  readonly heartbeatMs: number
  /** No channels are opened any more */
  stopping(): boolean
  /** Called once, when the connection is over */
  onClosed(error: MeshError): void
}

const { type } = DUPLEX
/** Frames that open a channel */
const OPENS: ReadonlySet<number> = new Set([type.run, type.session, type.box])

export class DuplexConnection {
  readonly #parts: DuplexConnectionParts
  readonly #wire: DuplexWire
  readonly #channels = new Map<number, Channel>()
  readonly #budget = new CallBudget(DUPLEX_LIMITS.openCalls, DUPLEX_LIMITS.openCallBytes)
  /** Highest channel opened: frames for older ones that are closed may still be under way, frames for higher ones must open them */
  #highest = 0

  constructor(socket: Duplex, head: Buffer, parts: DuplexConnectionParts) {
    this.#parts = parts
    this.#wire = new DuplexWire(socket, head, parts.heartbeatMs, {
      onFrame: (channel, frame, bytes, start, end) => this.#onFrame(channel, frame, bytes, start, end),
      onData: (channel, lane, bytes) => this.#onData(channel, lane, bytes),
      onEnd: (error) => this.#onEnd(error),
    })
  }

  get channels(): number {
    return this.#channels.size
  }

  /** Ends it, telling the client why. */
  close(error: MeshError): void {
    this.#wire.fail(error)
  }

  #onFrame(channel: number, frame: number, bytes: Buffer, start: number, end: number): void {
    try {
      const open = this.#channels.get(channel)
      if (open) open.onFrame(frame, bytes, start, end)
      else if (channel === 0) this.#onControl(frame)
      else if (channel > this.#highest) this.#open(channel, frame, bytes.subarray(start, end))
      else if (OPENS.has(frame)) throw new MeshError('E_PROTOCOL', `Cannot open channel ${channel}: numbers only grow`)
    } catch (error) {
      this.close(toMeshError(error))
    }
  }

  #onData(channel: number, lane: number, bytes: Uint8Array): void {
    const open = this.#channels.get(channel)
    if (!open && channel <= this.#highest && channel > 0) return
    try {
      if (!open?.onData) throw new MeshError('E_PROTOCOL', `Cannot use data on channel ${channel}: it takes none`)
      open.onData(lane, bytes)
    } catch (error) {
      this.close(toMeshError(error))
    }
  }

  #onControl(frame: number): void {
    if (frame === type.ping) this.#wire.text(0, type.pong, '')
    else if (frame !== type.pong) throw new MeshError('E_PROTOCOL', `Cannot use a frame of type ${frame} on channel 0`)
  }

  #open(id: number, frame: number, payload: Buffer): void {
    if (!OPENS.has(frame))
      throw new MeshError('E_PROTOCOL', `Cannot use a frame of type ${frame} on channel ${id}: it is not open`)
    this.#highest = id
    const out = new ChannelOutput(this.#wire, id, () => this.#channels.delete(id))
    try {
      this.#admit()
      const channel = this.#channelFor(frame, parseJsonText(payload, 'what opens a channel'), out)
      if (!out.closed) this.#channels.set(id, channel)
    } catch (error) {
      out.problem(error)
    }
  }

  #channelFor(frame: number, json: unknown, out: ChannelOutput): Channel {
    const { services, subject } = this.#parts
    if (frame === type.box) return openBox(check(boxOpen, json, 'the operation'), services, out)
    if (frame === type.run) return openRun(check(runOpen, json, 'the run'), subject, services.tasks, out)
    return openSession(check(sessionOpen, json, 'the session'), subject, services, out, this.#budget)
  }

  #admit(): void {
    if (this.#parts.stopping()) throw new MeshError('E_STOPPING', 'Cannot open a channel: the daemon is shutting down')
    if (this.#channels.size >= DUPLEX_LIMITS.channels)
      throw new MeshError(
        'E_OVERLOADED',
        `Cannot open a channel: ${DUPLEX_LIMITS.channels} are open on this connection`,
        { hint: 'Close some of them, or open another connection', retryAfterMs: 1_000 },
      )
  }

  #onEnd(error: MeshError): void {
    const channels = [...this.#channels.values()]
    this.#channels.clear()
    for (const channel of channels) channel.abandon(error)
    this.#parts.onClosed(error)
  }
}
