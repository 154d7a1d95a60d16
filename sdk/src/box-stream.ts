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
import { deferred } from './wait.ts'

/** Piece of output; `lane` 1: standard output or content, 2: standard error */
export interface BoxPiece {
  readonly lane: 1 | 2
  readonly bytes: Uint8Array
}

/** Credit goes back in steps, to save frames. */
const CREDIT_STEP = BOX.windowBytes / 4

export class BoxStream implements ChannelListener {
  /** How it ended. Rejects with ManyhandsError when it was refused, failed or the connection was lost */
  readonly done: Promise<BoxDone>
  readonly #done = deferred<BoxDone>()
  readonly #channel: Channel
  readonly #signal: AbortSignal | undefined
  #over = false
  #failure: Error | undefined
  // from the guest
  readonly #inbox: BoxPiece[] = []
  #ended = false
  #owed = 0
  #wake: () => void = () => undefined
  // to the guest
  #room: number = BOX.windowBytes
  #finished = false
  #writers: (() => void)[] = []

  /** @param signal cancels the operation; its reason is what `done` rejects with */
  constructor(duplex: Duplex, open: BoxOpen, signal?: AbortSignal) {
    this.done = this.#done.promise
    this.done.catch(() => undefined)
    this.#signal = signal
    this.#channel = duplex.open(FRAME.box, open, this)
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (signal?.aborted) this.#onAbort()
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
    this.#owed = 0
  }

  readonly #onAbort = (): void => {
    this.cancel()
    const reason: unknown = this.#signal?.reason
    this.#end(
      reason instanceof Error
        ? reason
        : new ManyhandsError('E_CANCELED', 'The operation was canceled', { cause: reason }),
    )
  }

  #end(failure: Error | undefined, done?: BoxDone): void {
    if (this.#over) return
    this.#over = true
    this.#ended = true
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#channel.release()
    if (done) this.#done.resolve(done)
    else {
      this.#failure = failure
      this.#done.reject(failure)
    }
    this.#wake()
    for (const go of this.#writers.splice(0)) go()
  }
}
