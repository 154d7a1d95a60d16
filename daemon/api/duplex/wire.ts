/**
 * The socket of a duplex: frames in, frames out. All frames of one turn leave in one write. When the client does not take what was sent, nothing more
 * is read from it; when that does not help, or it falls silent, it is cut off. Ends once, and says why.
 */
import type { Duplex } from 'node:stream'
import { DUPLEX } from '../../../protocol/api.ts'
import { MeshError, toMeshError } from '../../../protocol/errors.ts'
import { type DataSink, FrameBatch, FrameReader, type FrameSink } from '../../../protocol/duplex-frame.ts'
import { toProblem } from '../problem.ts'
import { DUPLEX_LIMITS } from './limits.ts'

export interface WireEvents {
  readonly onFrame: FrameSink
  /** Bytes of `data` frames, which are the receiver's to keep */
  readonly onData: DataSink
  /** Called once. Nothing can be sent any more. */
  onEnd(error: MeshError): void
}

/** How long a frame that need not hurry waits for one that does, milliseconds: each write wakes the client's process. */
const LINGER_MS = 10
/** Missed in a row before a silent client counts as gone */
const HEARTBEATS = 3

export class DuplexWire {
  readonly #socket: Duplex
  readonly #events: WireEvents
  readonly #batch = new FrameBatch()
  readonly #heart: NodeJS.Timeout
  #flushDue = false
  #lingering: NodeJS.Timeout | undefined
  #ended = false
  #paused = false
  /** What waits until the client has taken something */
  #later: (() => void)[] = []
  /** Heartbeats since the client was last heard or took something */
  #silent = 0

  /** @param head bytes that came with the upgrade */
  constructor(socket: Duplex, head: Buffer, heartbeatMs: number, events: WireEvents) {
    this.#socket = socket
    this.#events = events
    // A chunk goes on behind the frame that ended the connection, and what it says there would have nobody who ends it
    const reader = new FrameReader(
      (channel, type, bytes, start, end) => {
        if (!this.#ended) events.onFrame(channel, type, bytes, start, end)
      },
      (channel, lane, bytes) => {
        if (!this.#ended) events.onData(channel, lane, bytes)
      },
    )
    const onData = (bytes: Buffer): void => {
      this.#silent = 0
      if (this.#ended) return
      try {
        reader.push(bytes)
      } catch (error) {
        this.fail(toMeshError(error))
      }
    }
    socket.on('data', onData)
    socket.on('drain', () => this.#resume())
    socket.on('error', () => this.#end(gone()))
    socket.on('end', () => this.#end(gone()))
    socket.on('close', () => this.#end(gone()))
    this.#heart = setInterval(() => this.#beat(), heartbeatMs)
    this.#heart.unref()
    if (head.length > 0) process.nextTick(onData, head)
  }

  /** Bytes the client has not taken */
  get queued(): number {
    return this.#socket.writableLength + this.#batch.bytes
  }

  /** Whether the client keeps up well enough for a text of this size. */
  hasRoom(text: string): boolean {
    const most = DUPLEX_LIMITS.answerBytes - this.queued
    return text.length * 3 <= most || Buffer.byteLength(text) <= most
  }

  /** Called once, when the client has taken something. Not at all when the connection ends. */
  onceTaken(listener: () => void): void {
    this.#later.push(listener)
  }

  /**
   * @param lingers it may wait some milliseconds for something else to leave with
   * @throws MeshError E_TOO_LARGE when it does not fit in a frame
   */
  text(channel: number, type: number, text: string, lingers = false): void {
    if (this.#ended) return
    this.#batch.text(channel, type, text)
    if (lingers && !this.#flushDue) this.#lingering ??= setTimeout(() => this.#flush(), LINGER_MS)
    else this.#added()
  }

  /** @throws MeshError E_TOO_LARGE when it does not fit in a frame */
  idText(channel: number, type: number, id: number, text: string): void {
    if (this.#ended) return
    this.#batch.idText(channel, type, id, text)
    this.#added()
  }

  /** One byte and bytes, which must stay as they are. @throws MeshError E_TOO_LARGE when it does not fit in a frame */
  data(channel: number, type: number, lane: number, bytes: Uint8Array): void {
    if (this.#ended) return
    this.#batch.data(channel, type, lane, bytes)
    this.#added()
  }

  /** Sends what is queued and a last problem on channel 0, then ends. */
  fail(error: MeshError): void {
    if (this.#ended) return
    this.#batch.text(0, DUPLEX.type.problem, JSON.stringify(toProblem(error)))
    this.#flush()
    this.#end(error)
  }

  #added(): void {
    if (this.#batch.bytes >= DUPLEX_LIMITS.pauseBytes) return this.#flush()
    if (this.#flushDue) return
    this.#flushDue = true
    // After every callback of this turn, so that their frames leave together
    process.nextTick(() => this.#flush())
  }

  #flush(): void {
    this.#flushDue = false
    clearTimeout(this.#lingering)
    this.#lingering = undefined
    if (this.#ended || this.#batch.bytes === 0) return
    const parts = this.#batch.take()
    const [only] = parts
    let room = true
    if (parts.length === 1 && only) room = this.#socket.write(only)
    else {
      this.#socket.cork()
      for (const part of parts) room = this.#socket.write(part)
      this.#socket.uncork()
    }
    if (this.#socket.writableLength > DUPLEX_LIMITS.queueBytes)
      return this.#end(new MeshError('E_OVERLOADED', 'The client does not take what is sent to it'))
    if (!room && this.#socket.writableLength > DUPLEX_LIMITS.pauseBytes && !this.#paused) {
      this.#paused = true
      this.#socket.pause()
    }
  }

  #resume(): void {
    this.#silent = 0
    for (const listener of this.#later.splice(0)) listener()
    if (!this.#paused || this.#ended) return
    this.#paused = false
    this.#socket.resume()
  }

  #beat(): void {
    if (++this.#silent > HEARTBEATS) return this.#end(new MeshError('E_CALLER_GONE', 'The client fell silent'))
    this.text(0, DUPLEX.type.ping, '')
  }

  #end(error: MeshError): void {
    if (this.#ended) return
    this.#ended = true
    this.#later = []
    clearInterval(this.#heart)
    clearTimeout(this.#lingering)
    this.#events.onEnd(error)
    this.#socket.end()
    const timer = setTimeout(() => this.#socket.destroy(), 1_000)
    timer.unref()
    this.#socket.once('close', () => clearTimeout(timer))
    this.#socket.resume()
  }
}

function gone(): MeshError {
  return new MeshError('E_CALLER_GONE', 'The client that serves this task went away')
}
