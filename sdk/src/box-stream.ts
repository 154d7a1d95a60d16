/**
 * One streaming operation on a sandbox, as a channel of the duplex. Each side may have a window of data unacknowledged, so a slow reader slows its sender
 * and no other channel. What is read counts as consumed when the next piece is asked for.
 */
import type { BoxControl, BoxDone, BoxOpen } from '../../protocol/api.ts'
import { BOX, type Channel, type ChannelListener, type Duplex, FRAME } from './duplex.ts'
import { ManyhandsError, problemError, protocolError } from './errors.ts'
import { problem } from './replies.ts'
import { boxDone } from './sandbox-replies.ts'
import { decodeText } from './shape.ts'
import { deferred, onAbort } from './wait.ts'

/** Piece of output; `lane` 1: standard output or content, 2: standard error */
export interface BoxPiece {
  readonly lane: 1 | 2
  readonly bytes: Uint8Array
}

/** Credit goes back in steps, to save frames. */
const CREDIT_STEP = BOX.windowBytes / 4

export type BoxSource = string | Uint8Array | AsyncIterable<Uint8Array>

export class BoxStream implements ChannelListener {
  /** How it ended. Rejects with ManyhandsError when it was refused, failed or the connection was lost */
  readonly done: Promise<BoxDone>
  readonly #done = deferred<BoxDone>()
  readonly #channel: Channel
  readonly #forgetSignal: (() => void) | undefined
  #over = false
  #failure: Error | undefined
  // from the guest
  readonly #inbox: BoxPiece[] = []
  #ended = false
  #owed = 0
  /** Bytes that came and were not credited yet: what the daemon still counts as on the way */
  #taken = 0
  #wake: () => void = () => undefined
  // to the guest
  #room: number = BOX.windowBytes
  #finished = false
  #writers: (() => void)[] = []
  /** Ends the wait for a source */
  #stopPump: () => void = () => undefined

  /** @param signal cancels the operation; its reason is what `done` rejects with */
  constructor(duplex: Duplex, open: BoxOpen, signal?: AbortSignal) {
    this.done = this.#done.promise
    this.done.catch(() => undefined)
    this.#channel = duplex.open(FRAME.box, open, this)
    if (!signal) return
    const abort = (): void => this.#abandon(signal.reason, 'its signal aborted')
    this.#forgetSignal = onAbort(signal, abort)
    if (signal.aborted) abort()
  }

  /** Waits for room. @throws ManyhandsError once the operation is over */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += BOX.pieceBytes) {
      const piece = bytes.subarray(at, at + BOX.pieceBytes)
      while (this.#room < piece.length && !this.#over) await new Promise<void>((resolve) => this.#writers.push(resolve))
      if (this.#over || this.#finished)
        throw this.#failure ?? new ManyhandsError('E_CONFLICT', 'Cannot write: the operation takes nothing more')
      this.#room -= piece.length
      this.#channel.sendData(0, piece)
    }
  }

  /**
   * Writes what comes from `source`, then finishes. Never rejects: what a source throws cancels the operation, and `done` rejects with it. Does not wait for a
   * source that stands still once the operation is over.
   */
  async pump(source: BoxSource): Promise<void> {
    const bytes = typeof source === 'string' ? new TextEncoder().encode(source) : source
    try {
      if (bytes instanceof Uint8Array) await this.write(bytes)
      else await this.#writeAll(bytes)
      this.finish()
    } catch (error) {
      this.#abandon(error, 'its input failed')
    }
  }

  async #writeAll(source: AsyncIterable<Uint8Array>): Promise<void> {
    const parts = source[Symbol.asyncIterator]()
    let whole = false
    try {
      while (!this.#over) {
        const part = await new Promise<IteratorResult<Uint8Array> | undefined>((resolve, reject) => {
          this.#stopPump = () => resolve(undefined)
          parts.next().then(resolve, reject)
        })
        whole = part?.done === true
        if (part === undefined || part.done === true) return
        await this.write(part.value)
      }
    } finally {
      // Not waited for: one that stands still ends when it moves again
      if (!whole) parts.return?.().catch(() => undefined)
    }
  }

  /** Nothing more is written. Safe to call again. */
  finish(): void {
    if (this.#over || this.#finished) return
    this.#finished = true
    this.#channel.send(FRAME.finish, '')
  }

  control(control: BoxControl): void {
    if (!this.#over) this.#channel.send(FRAME.control, JSON.stringify(control))
  }

  /** Asks the daemon to end it; `done` tells the outcome. */
  cancel(): void {
    if (this.#over) return
    try {
      this.#channel.send(FRAME.cancel, '')
    } catch {
      // A lost connection cancels as well
    }
  }

  /** What comes from the guest, once. Leaving the loop early cancels the operation. @throws what `done` rejects with */
  async *output(): AsyncGenerator<BoxPiece, void, undefined> {
    try {
      for (;;) {
        const piece = this.#inbox.shift()
        if (piece) {
          yield piece
          this.#consumed(piece.bytes.length)
        } else if (this.#failure !== undefined) throw this.#failure
        else if (this.#ended) return
        else await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } finally {
      if (!this.#ended) this.cancel()
    }
  }

  onFrame(type: number, _id: number, text: string): void {
    switch (type) {
      case FRAME.done:
        return this.#end(undefined, decodeText(boxDone, text, 'the end of an operation'))
      case FRAME.problem:
        return this.#end(problemError(decodeText(problem, text, 'a problem report')))
      case FRAME.finish:
        this.#ended = true
        return this.#wake()
      default:
        throw protocolError(`Cannot read the duplex: a frame of type ${type} came`)
    }
  }

  onCredit(bytes: number): void {
    this.#room += bytes
    for (const go of this.#writers.splice(0)) go()
  }

  onData(lane: number, bytes: Uint8Array): void {
    if (lane !== 1 && lane !== 2) throw protocolError('Cannot read the duplex: data on an unknown lane')
    this.#taken += bytes.length
    if (this.#taken > BOX.windowBytes) throw protocolError('Cannot read the duplex: data beyond the window')
    this.#inbox.push({ lane, bytes })
    this.#wake()
  }

  onLost(error: ManyhandsError): void {
    this.#end(error)
  }

  #consumed(bytes: number): void {
    this.#owed += bytes
    if (this.#over || this.#owed < CREDIT_STEP) return
    this.#channel.sendCredit(this.#owed)
    this.#taken -= this.#owed
    this.#owed = 0
  }

  /** Cancels it and ends it here. Without effect when it is over. */
  #abandon(reason: unknown, why: string): void {
    this.cancel()
    this.#end(
      reason instanceof Error
        ? reason
        : new ManyhandsError('E_CANCELED', `The operation was canceled: ${why}`, { cause: reason }),
    )
  }

  #end(failure: Error | undefined, done?: BoxDone): void {
    if (this.#over) return
    this.#over = true
    this.#ended = true
    this.#forgetSignal?.()
    this.#channel.release()
    if (done) this.#done.resolve(done)
    else {
      this.#failure = failure
      this.#done.reject(failure)
    }
    this.#wake()
    this.#stopPump()
    for (const go of this.#writers.splice(0)) go()
  }
}
