import { MeshError } from '../../protocol/errors.ts'
import { AnswerSession, type Services } from './answer-session.ts'
import { AskSession } from './ask-session.ts'
import { backoffMs } from './backoff.ts'
import type { Channel, RequestOptions } from './mesh-net.ts'
import { RoundTrip } from './round-trip.ts'
import type { Scheduler } from './scheduler.ts'
import type { Transport } from './transport.ts'
import type { Wire } from './wire.ts'

/** Answered by the link itself; measures the round trip and shows that the other side lives. */
export const HEARTBEAT_METHOD = 'ping'

const OPEN_TIMEOUT_MS = 10_000
const REOPEN_BASE_MS = 100
const REOPEN_MAX_MS = 10_000
/** Heartbeats in a row without a sign of life after which the connection counts as dead. */
const MAX_MISSED = 3
/** For a sign of life when there is reason to doubt it, milliseconds, and beside it the way in round trips: it may be behind bulk. */
const PROBE_MS = 3_000
const PROBE_TRIPS = 3
/** Heartbeats that an unfinished frame may take, however slow the link: one of a MiB at 16 KiB/s takes 64 s. */
const MAX_PARTIAL = 12
/** How long after it let us in a peer may be busy starting, milliseconds: the round trip is measured again then. */
const SETTLED_MS = 1_500
/** Control streams a peer may have open here: its own and one that replaces it. */
const MAX_ANSWERING = 2

export interface PeerLinkInit {
  readonly peer: string
  readonly transport: Pick<Transport, 'openWire' | 'hangUp'>
  readonly scheduler: Scheduler
  readonly services: Services
}

/**
 * Everything between this node and one connected peer: our control stream to it, which is opened again when it dies, and its streams to us.
 * Lives from `peerUp` to `peerDown`; what is asked while our stream is being opened waits for it.
 */
export class PeerLink {
  readonly peer: string
  ready = false
  readonly #trip = new RoundTrip()
  readonly #init: PeerLinkInit
  readonly #abort = new AbortController()
  readonly #answers = new Map<AnswerSession, { partial: number; frames: number }>()
  readonly #opened = Promise.withResolvers<void>()
  #ask: AskSession
  #attempt = 0
  #heardBefore = 0
  #missed = 0
  #pinging = false
  #cancelReopen: (() => void) | undefined
  #cancelPing: (() => void) | undefined
  #cancelProbe: (() => void) | undefined

  constructor(init: PeerLinkInit) {
    this.peer = init.peer
    this.#init = init
    this.#ask = this.#newAsk()
    // nobody may be waiting
    this.#opened.promise.catch(() => undefined)
  }

  start(): void {
    void this.#open(this.#ask)
  }

  /** Resolves when the peer has answered once: only then is it sure that it let us in. @throws MeshError E_UNREACHABLE, E_TIMEOUT */
  async opened(signal: AbortSignal): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>()
    const onAbort = () =>
      reject(new MeshError('E_TIMEOUT', 'Connecting to a peer: it does not answer', { cause: signal.reason }))
    signal.addEventListener('abort', onAbort, { once: true })
    await Promise.race([this.#opened.promise, promise]).finally(() => signal.removeEventListener('abort', onAbort))
  }

  get rttMs(): number | undefined {
    return this.#trip.ms
  }

  request(method: string, body: Uint8Array, options?: RequestOptions): Promise<Uint8Array> {
    return this.#ask.request(method, body, options)
  }

  openChannel(kind: string, opening: Uint8Array): Channel {
    return this.#ask.openChannel(kind, opening)
  }

  /** The peer opened a control stream to us. */
  accept(wire: Wire): void {
    const oldest = this.#answers.size >= MAX_ANSWERING ? this.#answers.keys().next().value : undefined
    oldest?.end(new MeshError('E_UNREACHABLE', 'The peer opened a newer control stream'))
    const { peer, scheduler, services } = this.#init
    const session = new AnswerSession(peer, scheduler, services, this.#breach)
    this.#answers.set(session, { partial: 0, frames: 0 })
    session.bind(wire, () => this.#answers.delete(session))
  }

  /** Called at every heartbeat. Counts beats, not time: a process that was stopped for a while sees its peers alive again first. */
  beat(): void {
    for (const [session, state] of this.#answers) {
      // Under load some frame is unfinished at every beat: only the same one counts
      const stuck = session.partialBytes > 0 && session.frames === state.frames
      state.partial = stuck ? state.partial + 1 : 0
      state.frames = session.frames
      if (state.partial > MAX_PARTIAL) this.#breach(new MeshError('E_TIMEOUT', 'The peer does not finish a message'))
    }
    this.#missed = this.#ask.heard === this.#heardBefore ? this.#missed + 1 : 0
    this.#heardBefore = this.#ask.heard
    if (this.#missed > MAX_MISSED) this.#hangUp('no sign of life')
    else void this.#ping()
  }

  /** There is reason to think that the connection is dead: it gets less time to show that it is not. */
  probe(): void {
    const { heard } = this.#ask
    // It has only just begun
    if (heard === 0) return
    void this.#ping()
    this.#cancelProbe?.()
    this.#cancelProbe = this.#init.scheduler.after(PROBE_MS + PROBE_TRIPS * (this.rttMs ?? 0), () => {
      if (this.#ask.heard === heard) this.#hangUp('no sign of life')
    })
  }

  end(error: MeshError): void {
    this.ready = false
    this.#opened.reject(
      new MeshError('E_UNREACHABLE', 'Connecting to a peer: it closed the connection', { cause: error }),
    )
    this.#cancelReopen?.()
    this.#cancelPing?.()
    this.#cancelProbe?.()
    this.#abort.abort(error)
    this.#ask.end(error)
    for (const session of [...this.#answers.keys()]) session.end(error)
  }

  readonly #breach = (error: MeshError): void => this.#hangUp(error.message)

  #hangUp(reason: string): void {
    this.#init.transport.hangUp(this.peer, reason).catch(() => undefined)
  }

  #newAsk(): AskSession {
    return new AskSession(this.peer, this.#init.scheduler, this.#breach)
  }

  async #open(ask: AskSession): Promise<void> {
    try {
      const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(OPEN_TIMEOUT_MS)])
      const wire = await this.#init.transport.openWire(this.peer, signal)
      ask.bind(wire, () => this.#reopen())
      this.#attempt = 0
      this.#opened.resolve()
      void this.#ping()
      this.#cancelPing = this.#init.scheduler.after(SETTLED_MS, () => void this.#ping())
    } catch (cause) {
      ask.end(new MeshError('E_UNREACHABLE', 'Opening a control stream failed', { cause }))
      this.#reopen()
    }
  }

  /** The connection may live although the stream died. Asking fails at once until the next attempt. */
  #reopen(): void {
    if (this.#abort.signal.aborted) return
    this.#cancelPing?.()
    const wait = backoffMs(this.#attempt++, REOPEN_BASE_MS, REOPEN_MAX_MS)
    this.#cancelReopen = this.#init.scheduler.after(wait, () => {
      this.#ask = this.#newAsk()
      this.#heardBefore = 0
      void this.#open(this.#ask)
    })
  }

  async #ping(): Promise<void> {
    if (this.#pinging || this.#ask.over) return
    this.#pinging = true
    const start = this.#init.scheduler.now()
    try {
      await this.#ask.request(HEARTBEAT_METHOD, new Uint8Array())
      this.#trip.add(this.#init.scheduler.now() - start)
    } catch {
      // the beat counts silence; a refusal is a sign of life
    } finally {
      this.#pinging = false
    }
  }
}
