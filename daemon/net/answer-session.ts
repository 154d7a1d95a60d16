import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { ControlChannel, FRAMING_BYTES } from './channel.ts'
import { Deadlines } from './deadlines.ts'
import { fromFault, toFault } from './fault.ts'
import { type Frame, protocolError } from './frame-decoder.ts'
import type { ChannelHandler, RequestContext, RequestHandler } from './mesh-net.ts'
import type { Scheduler } from './scheduler.ts'
import { Session } from './session.ts'

/** Finds handlers. Each call throws the MeshError that the peer gets instead. */
export interface Services {
  request(peer: string, method: string): RequestHandler
  channel(peer: string, kind: string): ChannelHandler
}

/** A request being answered. The signal is made when first asked for: most handlers never do. */
class Answering implements RequestContext {
  readonly peer: string
  readonly bytes: number
  #controller: AbortController | undefined
  #reason: unknown

  constructor(peer: string, bytes: number) {
    this.peer = peer
    this.bytes = bytes
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#reason !== undefined) this.#controller.abort(this.#reason)
    return this.#controller.signal
  }

  abort(reason: unknown): void {
    this.#reason = reason
    this.#controller?.abort(reason)
  }
}

/** The answering end of a control stream: serves requests and channels within the bounds that hold for one peer. */
export class AnswerSession extends Session {
  readonly #services: Services
  readonly #answering = new Map<number, Answering>()
  readonly #deadlines: Deadlines<number>
  #answeringBytes = 0
  #lastId = 0

  constructor(peer: string, scheduler: Scheduler, services: Services, onBreach: (error: MeshError) => void) {
    super(peer, scheduler, onBreach)
    this.#services = services
    this.#deadlines = new Deadlines(scheduler, (id) => this.#late(id))
  }

  protected override receive(frame: Frame): void {
    switch (frame.body) {
      case 'request':
        return this.#request(this.#newId(frame.id), frame.request ?? {})
      case 'open':
        return this.#open(this.#newId(frame.id), frame.open ?? {})
      case 'cancel':
        return this.#stop(frame.id, new MeshError('E_CANCELED', 'The asker does not want the answer any more'))
      default:
        return this.#onChannel(frame)
    }
  }

  protected override ended(error: MeshError): void {
    this.#deadlines.clear()
    for (const answering of this.#answering.values()) answering.abort(error)
    this.#answering.clear()
    this.#answeringBytes = 0
  }

  /** Numbers only grow: one that was used can not be used for something else. */
  #newId(id: number): number {
    if (id <= this.#lastId) throw protocolError('a request or channel carries a number that was used before')
    this.#lastId = id
    return id
  }

  #onChannel(frame: Frame): void {
    if (frame.id > this.#lastId) throw protocolError('a frame is for a channel that was not opened')
    const channel = this.channels.get(frame.id)
    if (channel === undefined || this.receiveOnChannel(channel, frame)) return
    if (frame.body !== 'fault') throw protocolError('a frame is not one an asker sends on a channel')
    channel.finish(fromFault(frame.fault ?? {}))
  }

  #request(id: number, request: { method?: string | null; body?: Uint8Array | null; timeoutMs?: number | null }): void {
    const body = request.body ?? new Uint8Array()
    if (this.#answering.size >= LIMITS.requestsPerPeer || this.#answeringBytes + body.length > LIMITS.peerQueueBytes) {
      return this.#fault(
        id,
        new MeshError('E_OVERLOADED', 'Too many requests of this peer wait for an answer', { retryAfterMs: 250 }),
      )
    }
    const answering = new Answering(this.peer, body.length)
    let result: Promise<Uint8Array> | Uint8Array
    try {
      result = this.#services.request(this.peer, request.method ?? '')(body, answering)
    } catch (error) {
      return this.#fault(id, error)
    }
    if (result instanceof Uint8Array) return this.#reply(id, result)
    this.#answering.set(id, answering)
    this.#answeringBytes += body.length
    this.#deadlines.add(id, Math.min(request.timeoutMs || LIMITS.requestTimeoutMs, LIMITS.requestTimeoutMs))
    result.then(
      (reply) => this.#take(id) && this.#reply(id, reply),
      (error: unknown) => this.#take(id) && this.#fault(id, error),
    )
  }

  #open(id: number, open: { kind?: string | null; body?: Uint8Array | null }): void {
    try {
      if (this.channels.size >= LIMITS.channelsPerPeer) {
        throw new MeshError('E_OVERLOADED', 'Too many channels of this peer are open', { retryAfterMs: 250 })
      }
      const handler = this.#services.channel(this.peer, open.kind ?? '')
      const channel = new ControlChannel(this.peer, id, this)
      this.channels.set(id, channel)
      handler(channel, open.body ?? new Uint8Array())
    } catch (error) {
      const channel = this.channels.get(id)
      if (channel === undefined) return this.#fault(id, error)
      channel.abort(error instanceof Error ? error : new Error('A channel handler failed', { cause: error }))
    }
  }

  /** Whether the request was still wanted; it is not answered twice. */
  #take(id: number): boolean {
    const answering = this.#answering.get(id)
    if (answering === undefined) return false
    this.#answering.delete(id)
    this.#answeringBytes -= answering.bytes
    this.#deadlines.delete(id)
    return true
  }

  /** Said to the asker too: where the link is slow it cannot tell. */
  #late(id: number): void {
    const error = new MeshError('E_TIMEOUT', 'The answer was not ready in time')
    this.#stop(id, error)
    this.#fault(id, error)
  }

  #stop(id: number, reason: MeshError): void {
    const answering = this.#answering.get(id)
    if (answering !== undefined && this.#take(id)) answering.abort(reason)
  }

  #reply(id: number, reply: Uint8Array): void {
    if (reply.length > LIMITS.frameBytes - FRAMING_BYTES) {
      return this.#fault(id, new MeshError('E_TOO_LARGE', 'The answer is larger than a frame may be'))
    }
    this.writer.post({ id, reply })
    this.#bound()
  }

  #fault(id: number, error: unknown): void {
    this.writer.post({ id, fault: toFault(error) })
    this.#bound()
  }

  /** A peer that asks and does not read the answers must not fill memory. */
  #bound(): void {
    if (this.writer.queuedBytes <= LIMITS.peerQueueBytes) return
    this.breach(new MeshError('E_OVERLOADED', 'The peer asks more than it reads the answers of'))
  }
}
