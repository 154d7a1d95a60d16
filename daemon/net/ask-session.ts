import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { ControlChannel, FRAMING_BYTES } from './channel.ts'
import { Deadlines } from './deadlines.ts'
import { fromFault } from './fault.ts'
import { type Frame, protocolError } from './frame-decoder.ts'
import type { Channel, RequestOptions } from './mesh-net.ts'
import type { Scheduler } from './scheduler.ts'
import { Session } from './session.ts'

/** A link is given this much time for what a request and its answer weigh, where the asker has no time of its own in mind: bytes in a millisecond. */
const SLOWEST_BYTES_PER_MS = 16
/** What must have come from the peer meanwhile for an answer to be waited for once more, and how often that is: a frame of a MiB at 8 KiB/s takes 128 s. */
const PROGRESS_BYTES = 32 << 10
const MOST_WAITS = 12

interface Pending {
  /** How often it may be waited for once more */
  waits: number
  /** Bytes heard when it was last begun to be waited for */
  heardBytes: number
  readonly resolve: (body: Uint8Array) => void
  readonly reject: (error: unknown) => void
  readonly unlisten: (() => void) | undefined
}

/** The asking end of a control stream: sends requests and opens channels. Both may be used before the stream is bound; they wait in the writer. */
export class AskSession extends Session {
  readonly #pending = new Map<number, Pending>()
  readonly #deadlines: Deadlines<number>
  #nextId = 1

  constructor(peer: string, scheduler: Scheduler, onBreach: (error: MeshError) => void) {
    super(peer, scheduler, onBreach)
    this.#deadlines = new Deadlines(scheduler, (id) => this.#due(id))
  }

  request(method: string, body: Uint8Array, options: RequestOptions = {}): Promise<Uint8Array> {
    const refusal = this.#refusal(method.length + body.length, options.signal)
    if (refusal !== undefined) return Promise.reject(refusal.reason)
    const timeoutMs = Math.min(options.timeoutMs ?? LIMITS.requestTimeoutMs, LIMITS.requestTimeoutMs)
    const isPatient = options.timeoutMs === undefined
    const sendingMs = isPatient ? body.length / SLOWEST_BYTES_PER_MS : 0
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      const unlisten = this.#onAbort(id, options.signal)
      const { heardBytes } = this
      this.#pending.set(id, { resolve, reject, unlisten, heardBytes, waits: isPatient ? MOST_WAITS : 0 })
      this.#deadlines.add(id, timeoutMs + sendingMs)
      this.writer.post({ id, request: { method, body, timeoutMs: Math.ceil(timeoutMs) } })
    })
  }

  openChannel(kind: string, opening: Uint8Array): Channel {
    const refusal = this.#refusal(kind.length + opening.length, undefined)
    if (refusal !== undefined) throw refusal.reason
    if (this.channels.size >= LIMITS.channelsPerPeer) throw overloaded('too many channels are open to this peer')
    const id = this.#nextId++
    const channel = new ControlChannel(this.peer, id, this)
    this.channels.set(id, channel)
    this.writer.post({ id, open: { kind, body: opening } })
    return channel
  }

  protected override receive(frame: Frame): void {
    const { id } = frame
    if (id === 0 || id >= this.#nextId) throw protocolError('an answer carries a number that was not given out')
    const pending = this.#pending.get(id)
    if (pending !== undefined) return this.#settle(id, pending, frame)
    const channel = this.channels.get(id)
    // what is unknown now was given up or ended here before the peer knew
    if (channel === undefined || this.receiveOnChannel(channel, frame)) return
    if (frame.body !== 'fault') throw protocolError('a frame is not one an answerer sends on a channel')
    channel.finish(fromFault(frame.fault ?? {}))
  }

  protected override ended(error: MeshError): void {
    this.#deadlines.clear()
    for (const pending of this.#pending.values()) {
      pending.unlisten?.()
      pending.reject(error)
    }
    this.#pending.clear()
  }

  #settle(id: number, pending: Pending, frame: Frame): void {
    this.#forgetRequest(id, pending)
    if (frame.body === 'fault') return pending.reject(fromFault(frame.fault ?? {}))
    pending.resolve(frame.body === 'reply' ? (frame.reply ?? new Uint8Array()) : new Uint8Array())
    if (frame.body !== 'reply') throw protocolError('a request was answered with neither a reply nor a fault')
  }

  /** Why nothing can be sent now. A signal's reason may be anything, even undefined. */
  #refusal(bytes: number, signal: AbortSignal | undefined): { readonly reason: unknown } | undefined {
    if (signal?.aborted) return { reason: signal.reason }
    if (this.over) return { reason: new MeshError('E_UNREACHABLE', 'Asking a peer: the connection was lost') }
    if (bytes > LIMITS.frameBytes - FRAMING_BYTES) {
      const allowed = `${LIMITS.frameBytes - FRAMING_BYTES} are allowed`
      return { reason: new MeshError('E_TOO_LARGE', `Asking a peer: the request has ${bytes} bytes, ${allowed}`) }
    }
    if (this.#pending.size >= LIMITS.requestsPerPeer)
      return { reason: overloaded('too many requests wait for this peer') }
    if (this.writer.queuedBytes > LIMITS.peerQueueBytes)
      return { reason: overloaded('the peer does not keep up with what is sent to it') }
    return undefined
  }

  #onAbort(id: number, signal: AbortSignal | undefined): (() => void) | undefined {
    if (signal === undefined) return undefined
    const onAbort = () => this.#giveUp(id, signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    return () => signal.removeEventListener('abort', onAbort)
  }

  /** Who cannot answer in time says so: while the link brings something, the answer may be on its way. */
  #due(id: number): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    if (pending.waits === 0 || this.heardBytes - pending.heardBytes < PROGRESS_BYTES)
      return this.#giveUp(id, new MeshError('E_TIMEOUT', 'Asking a peer: no answer came in time'))
    pending.waits--
    pending.heardBytes = this.heardBytes
    this.#deadlines.add(id, LIMITS.requestTimeoutMs)
  }

  #giveUp(id: number, reason: unknown): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    this.#forgetRequest(id, pending)
    this.writer.post({ id, cancel: true })
    pending.reject(reason)
  }

  #forgetRequest(id: number, pending: Pending): void {
    this.#pending.delete(id)
    this.#deadlines.delete(id)
    pending.unlisten?.()
  }
}

function overloaded(what: string): MeshError {
  return new MeshError('E_OVERLOADED', `Asking a peer: ${what}`, { retryAfterMs: 250 })
}
