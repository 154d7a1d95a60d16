/** What runs on one channel of a duplex: a run, a session, or a streaming operation. */
import type { BoxDone, TaskView } from '../../../protocol/api.ts'
import { DUPLEX } from '../../../protocol/api.ts'
import { type MeshError, toMeshError } from '../../../protocol/errors.ts'
import { toProblem } from '../problem.ts'
import type { LogLine } from '../../exec/executor.ts'
import { DUPLEX_LIMITS } from './limits.ts'
import type { DuplexWire } from './wire.ts'

export interface Channel {
  /** A frame of the client; `bytes` are valid during the call only. @throws MeshError when it breaks the protocol: the connection ends */
  onFrame(type: number, bytes: Buffer, start: number, end: number): void
  /** Bytes of the client, to be kept. Absent: they break the protocol */
  onData?(lane: number, bytes: Uint8Array): void
  /** The client is gone, or the daemon stops waiting. Sends nothing any more. */
  abandon(error: MeshError): void
}

/** The daemon's end of a channel. */
export class ChannelOutput {
  readonly wire: DuplexWire
  readonly id: number
  readonly #onClosed: () => void
  #closed = false

  constructor(wire: DuplexWire, id: number, onClosed: () => void) {
    this.wire = wire
    this.id = id
    this.#onClosed = onClosed
  }

  get closed(): boolean {
    return this.#closed
  }

  /** @param lingers it may wait some milliseconds for something else to leave with */
  json(type: number, value: unknown, lingers = false): void {
    if (!this.#closed) this.wire.text(this.id, type, JSON.stringify(value), lingers)
  }

  log(line: LogLine & { readonly node: string }): void {
    // Log lines are the first to go when the client does not keep up: results must get through
    if (this.wire.queued < DUPLEX_LIMITS.logBytes)
      this.json(DUPLEX.type.log, { type: 'log', level: line.level, text: line.text, node: line.node })
  }

  /** Bytes of an operation; they must stay as they are. */
  data(lane: number, bytes: Uint8Array): void {
    if (!this.#closed) this.wire.data(this.id, DUPLEX.type.data, lane, bytes)
  }

  credit(bytes: number): void {
    if (!this.#closed) this.wire.idText(this.id, DUPLEX.type.credit, bytes, '')
  }

  /** No more data of an operation. */
  finish(): void {
    if (!this.#closed) this.wire.text(this.id, DUPLEX.type.finish, '')
  }

  /** Last frame: the answer of an operation. */
  done(answer: BoxDone): void {
    this.#last(DUPLEX.type.done, answer)
  }

  /** Last frame: the task as it ended. */
  end(task: TaskView): void {
    this.#last(DUPLEX.type.end, task)
  }

  /** Last frame: why it cannot be. */
  problem(error: unknown): void {
    this.#last(DUPLEX.type.problem, toProblem(error))
  }

  /** No frame at all: there is nobody to read it. */
  drop(): void {
    if (this.#closed) return
    this.#closed = true
    this.#onClosed()
  }

  #last(type: number, value: unknown): void {
    if (this.#closed) return
    // It waits as the value it is: as a frame it would fill what is unsent
    if (!this.wire.hasRoom('')) return this.wire.onceTaken(() => this.#last(type, value))
    try {
      this.json(type, value)
    } catch (error) {
      // An output close to the largest frame does not fit once it is wrapped
      this.json(DUPLEX.type.problem, toProblem(toMeshError(error)))
    }
    this.drop()
  }
}
