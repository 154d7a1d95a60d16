/**
 * A streaming operation on a sandbox, on one channel. Data both ways is held to a window (`BOX.windowBytes`): what the client has not consumed waits where it
 * comes from, and what the operation has not taken holds the client back. When the client goes away, the operation ends with it.
 */
import { BOX, type BoxControl, type BoxOpen } from '../../../protocol/api-sandboxes.ts'
import { DUPLEX } from '../../../protocol/api.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { parseJsonText } from '../../../protocol/json-text.ts'
import { boxControl } from '../../../protocol/sandbox/op.ts'
import type { OpLink, OpSink } from '../../sandboxes/op-link.ts'
import { check } from '../check.ts'
import type { ApiServices } from '../services.ts'
import type { Channel, ChannelOutput } from './channel.ts'
import { DUPLEX_LIMITS } from './limits.ts'

const { type } = DUPLEX
const CREDIT_STEP = BOX.windowBytes / 4

export function openBox(open: BoxOpen, services: Pick<ApiServices, 'sandboxes'>, out: ChannelOutput): Channel {
  return new BoxChannel(open, services, out)
}

type Early =
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'finish' }
  | { readonly kind: 'control'; readonly control: BoxControl }

class BoxChannel implements Channel, OpLink {
  readonly #out: ChannelOutput
  readonly #gone = new AbortController()
  #sink: OpSink | undefined
  /** What came before the operation was ready for it; the window bounds it */
  #early: Early[] = []
  /** Bytes the client may have on the way */
  #granted: number = BOX.windowBytes
  #owed = 0
  /** Bytes that may go to the client */
  #room: number = BOX.windowBytes
  #waiting: (() => void)[] = []

  constructor(open: BoxOpen, services: Pick<ApiServices, 'sandboxes'>, out: ChannelOutput) {
    this.#out = out
    this.signal.addEventListener('abort', () => this.#wake(), { once: true })
    void this.#run(open, services)
  }

  get signal(): AbortSignal {
    return this.#gone.signal
  }

  async #run(open: BoxOpen, { sandboxes }: Pick<ApiServices, 'sandboxes'>): Promise<void> {
    try {
      this.#out.done(await (await sandboxes()).stream(open, this))
    } catch (error) {
      this.#out.problem(this.signal.aborted ? this.signal.reason : error)
    }
    this.#gone.abort(new MeshError('E_CANCELED', 'The operation is over'))
  }

  onFrame(frame: number, bytes: Buffer, start: number, end: number): void {
    switch (frame) {
      case type.credit:
        return this.#onCredit(bytes, start, end)
      case type.finish:
        return this.#take({ kind: 'finish' })
      case type.control:
        return this.#take({
          kind: 'control',
          control: check(boxControl, parseJsonText(bytes.subarray(start, end), 'a control'), 'a control'),
        })
      case type.cancel:
        return this.#gone.abort(new MeshError('E_CANCELED', 'The operation was canceled'))
      default:
        throw new MeshError('E_PROTOCOL', `Cannot use a frame of type ${frame} on an operation`)
    }
  }

  onData(lane: number, bytes: Uint8Array): void {
    if (lane !== 0) throw new MeshError('E_PROTOCOL', 'Cannot use data on an unknown lane')
    if (bytes.length > this.#granted) throw new MeshError('E_PROTOCOL', 'Cannot take data beyond the window')
    this.#granted -= bytes.length
    this.#take({ kind: 'data', bytes })
  }

  abandon(error: MeshError): void {
    this.#out.drop()
    this.#gone.abort(error)
  }

  async send(lane: 1 | 2, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += BOX.pieceBytes) {
      const piece = bytes.subarray(at, at + BOX.pieceBytes)
      while (!this.#mayLeave(piece.length) && !this.signal.aborted)
        await new Promise<void>((resolve) => this.#waiting.push(resolve))
      this.signal.throwIfAborted()
      this.#room -= piece.length
      this.#out.data(lane, piece)
    }
  }

  /** A window for each of many operations is more than a connection may have unsent. */
  #mayLeave(bytes: number): boolean {
    if (this.#room < bytes) return false
    const { wire } = this.#out
    if (wire.queued < DUPLEX_LIMITS.dataBytes) return true
    wire.onceTaken(() => this.#wake())
    return false
  }

  finish(): void {
    this.#out.finish()
  }

  receive(sink: OpSink): void {
    this.#sink = sink
    const early = this.#early
    this.#early = []
    for (const one of early) this.#take(one)
  }

  #take(one: Early): void {
    if (this.signal.aborted) return
    if (!this.#sink) {
      if (this.#early.length >= MAX_EARLY)
        throw new MeshError('E_OVERLOADED', 'Too much was sent before the operation was ready')
      this.#early.push(one)
    } else if (one.kind === 'finish') this.#sink.finish()
    else if (one.kind === 'control') this.#control(one.control)
    else void this.#give(this.#sink, one.bytes)
  }

  #control(control: BoxControl): void {
    try {
      this.#sink?.control(control)
    } catch (error) {
      // A signal that does not exist ends this operation and no other
      this.#gone.abort(error)
    }
  }

  async #give(sink: OpSink, bytes: Uint8Array): Promise<void> {
    try {
      await sink.data(bytes)
    } catch (error) {
      return this.#gone.abort(error)
    }
    this.#granted += bytes.length
    this.#owed += bytes.length
    if (this.#owed < CREDIT_STEP || this.#out.closed) return
    this.#out.credit(this.#owed)
    this.#owed = 0
  }

  #onCredit(bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) throw new MeshError('E_PROTOCOL', 'Cannot use a credit that is not four bytes')
    this.#room += bytes.readUInt32LE(start)
    if (this.#room > BOX.windowBytes) throw new MeshError('E_PROTOCOL', 'Cannot use a credit beyond what was sent')
    this.#wake()
  }

  #wake(): void {
    for (const go of this.#waiting.splice(0)) go()
  }
}

/** Frames that may come before the operation is ready: small ones cost memory too. */
const MAX_EARLY = 4_096
