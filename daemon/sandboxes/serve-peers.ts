/** Runs the ops of peers on this node's sandboxes. Who asks is known by the connection; whether it may is decided by the place made for that peer alone. */
import { MeshError, toMeshError } from '../../protocol/errors.ts'
import { parseJsonText } from '../../protocol/json-text.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { plainIssue, whatDoesNotFit } from '../../protocol/plain-issue.ts'
import { failFrame, jsonFrame, OP_FRAME, type OpFrame } from '../../protocol/sandbox/op-frame.ts'
import { boxControl, BULK_OPS, type SandboxOp, sandboxOp } from '../../protocol/sandbox/op.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import { type Carrier, channelCarrier, streamCarrier } from './carrier.ts'
import type { OpLink, OpPlace, OpSink } from './op-link.ts'
import { SANDBOX_CHANNEL, SANDBOX_STREAM } from './remote-place.ts'

export interface PeerOpsOptions {
  readonly net: MeshNet
  /** @throws MeshError E_FORBIDDEN when this node serves no peers */
  readonly placeFor: (peer: string) => OpPlace
}

/** A stream whose opening does not come in this time is closed, milliseconds. */
const OPENING_MS = 10_000

export class PeerOps {
  readonly #options: PeerOpsOptions
  readonly #running = new Map<string, Set<ServedOp>>()

  constructor(options: PeerOpsOptions) {
    this.#options = options
    const { net } = options
    net.handleChannel(SANDBOX_CHANNEL, (channel, opening) => {
      const carrier = channelCarrier(channel)
      this.#start(carrier, 'channel', (served) => served.open(opening, false))
    })
    net.handleStream(SANDBOX_STREAM, (stream) => {
      const carrier = streamCarrier(stream)
      this.#start(carrier, 'stream', (served) => served.awaitOpening(OPENING_MS))
    })
  }

  /** Ends what runs for a node that was put out of the mesh. */
  fence(peer: string): void {
    for (const served of this.#running.get(peer) ?? [])
      served.stop(new MeshError('E_REVOKED', 'The node was put out of the mesh'))
  }

  close(): void {
    for (const all of this.#running.values())
      for (const served of all)
        served.stop(new MeshError('E_STOPPING', 'The daemon is shutting down', { retryAfterMs: 1_000 }))
  }

  #start(carrier: Carrier, by: ServedOp['by'], begin: (served: ServedOp) => void): void {
    const { peer } = carrier
    const all = this.#running.get(peer) ?? new Set()
    this.#running.set(peer, all)
    const served = new ServedOp(carrier, by, () => this.#options.placeFor(peer))
    all.add(served)
    void served.over.then(() => {
      all.delete(served)
      if (all.size === 0 && this.#running.get(peer) === all) this.#running.delete(peer)
    })
    const refusal = tooMany(all, by)
    if (refusal) return served.stop(refusal)
    begin(served)
  }
}

/** Why the last of these may not run: streams count among all ops, and by themselves. */
function tooMany(all: ReadonlySet<ServedOp>, by: ServedOp['by']): MeshError | undefined {
  const refusal = (what: string): MeshError =>
    new MeshError('E_OVERLOADED', `Cannot run more than ${what} of one node at once`, { retryAfterMs: 1_000 })
  if (all.size > LIMITS.sandboxOpsPerPeer) return refusal(`${LIMITS.sandboxOpsPerPeer} operations`)
  if (by === 'channel') return undefined
  const streams = [...all].filter((served) => served.by === 'stream').length
  return streams > LIMITS.sandboxStreamsPerPeer ? refusal(`${LIMITS.sandboxStreamsPerPeer} streams`) : undefined
}

/** One op of a peer, from its opening to its answer. */
class ServedOp implements OpLink {
  /** Resolves when nothing of it is left */
  readonly over: Promise<void>
  readonly #over = Promise.withResolvers<void>()
  readonly by: 'channel' | 'stream'
  readonly #carrier: Carrier
  readonly #place: () => OpPlace
  readonly #gone = new AbortController()
  readonly #sink = Promise.withResolvers<OpSink | undefined>()
  #ready: OpSink | undefined
  #opened = false
  #answered = false

  constructor(carrier: Carrier, by: ServedOp['by'], place: () => OpPlace) {
    this.#carrier = carrier
    this.by = by
    this.#place = place
    this.over = this.#over.promise
    void this.over.then(() => this.#sink.resolve(undefined))
    // The listeners of a few helpers hang on it for as long as the op runs
    void carrier.ended.then((error) => {
      this.#gone.abort(error ?? new MeshError('E_CANCELED', 'The operation was canceled'))
      if (!this.#opened) this.#over.resolve()
    })
  }

  get signal(): AbortSignal {
    return this.#gone.signal
  }

  /** The opening comes as a frame. */
  awaitOpening(withinMs: number): void {
    const timer = setTimeout(
      () => this.stop(new MeshError('E_SLOW', 'The opening of the stream did not come in time')),
      withinMs,
    )
    this.#carrier.onFrame((frame) => {
      if (this.#opened) return this.#onFrame(frame)
      clearTimeout(timer)
      if (frame.type !== OP_FRAME.open)
        return this.stop(new MeshError('E_PROTOCOL', 'Cannot serve a stream: it does not begin with an opening'))
      this.open(frame.bytes, true)
    })
    void this.#over.promise.then(() => clearTimeout(timer))
  }

  open(opening: Uint8Array, bulk: boolean): void {
    this.#opened = true
    void this.#run(opening, bulk)
    if (!bulk) this.#carrier.onFrame((frame) => this.#onFrame(frame))
  }

  async #run(opening: Uint8Array, bulk: boolean): Promise<void> {
    let frame: Uint8Array
    try {
      frame = jsonFrame(OP_FRAME.done, await this.#place().run(readOp(opening, bulk), this))
    } catch (error) {
      frame = failFrame(this.signal.aborted ? this.signal.reason : error)
    }
    this.#answered = true
    await this.#carrier
      .send(frame)
      .catch((error: unknown) => this.#carrier.send(failFrame(error)).catch(() => undefined))
    this.#carrier.close()
    this.#over.resolve()
  }

  /** Ends it, telling the peer why. */
  stop(error: MeshError): void {
    this.#gone.abort(error)
    if (this.#opened) return
    void this.#carrier
      .send(failFrame(error))
      .catch(() => undefined)
      .finally(() => this.#carrier.close())
    this.#over.resolve()
  }

  send(lane: 1 | 2, bytes: Uint8Array): Promise<void> {
    if (this.signal.aborted) return Promise.reject(toMeshError(this.signal.reason))
    return this.#carrier.sendData(lane, bytes)
  }

  finish(): void {
    this.#carrier.send(new Uint8Array([OP_FRAME.finish])).catch(() => undefined)
  }

  receive(sink: OpSink): void {
    this.#ready = sink
    this.#sink.resolve(sink)
  }

  async #onFrame(frame: OpFrame): Promise<void> {
    // Frames that crossed the answer
    if (this.#answered) return
    const sink = this.#ready ?? (await this.#sink.promise)
    if (!sink || this.#answered) return
    try {
      await deliver(frame, sink)
    } catch (error) {
      this.#gone.abort(toMeshError(error))
    }
  }
}

/** @throws MeshError E_PROTOCOL */
function deliver({ type, lane, bytes }: OpFrame, sink: OpSink): void | Promise<void> {
  switch (type) {
    case OP_FRAME.data:
      if (lane !== 0) throw new MeshError('E_PROTOCOL', 'Cannot read an operation: data on an unknown lane')
      return sink.data(bytes)
    case OP_FRAME.finish:
      return sink.finish()
    case OP_FRAME.control: {
      const control = boxControl.safeParse(parseJsonText(bytes, 'a control of a peer'))
      if (!control.success) throw new MeshError('E_PROTOCOL', 'Cannot read an operation: its control is not one')
      return sink.control(control.data)
    }
    default:
      throw new MeshError('E_PROTOCOL', `Cannot read an operation: a frame of type ${type} came`)
  }
}

/** @throws MeshError E_BAD_REQUEST naming what does not fit */
function readOp(opening: Uint8Array, bulk: boolean): SandboxOp {
  const parsed = sandboxOp.safeParse(parseJsonText(opening, 'the operation'), { error: plainIssue })
  if (!parsed.success)
    throw new MeshError('E_BAD_REQUEST', `Cannot read the operation: ${whatDoesNotFit(parsed.error)}`)
  if (BULK_OPS.has(parsed.data.op) !== bulk)
    throw new MeshError(
      'E_PROTOCOL',
      `Cannot run "${parsed.data.op}" here: it goes by ${bulk ? 'a channel' : 'a stream'}`,
    )
  return parsed.data
}
