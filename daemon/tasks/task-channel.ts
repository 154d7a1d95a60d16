/**
 * Task messages on a channel. A channel message is [u8 kind][bytes]: kind 0 is a whole encoded TaskMessage; 1 is a part of one with more to come; 2 is its
 * last part. Parts of one message are never mixed with parts of another, and whole messages may come between them, so a renewal is not stuck
 * behind a large input.
 */
import { manyhands } from '../../proto/gen/wire.js'
import { decodeBounded } from '../../protocol/bounded-decode.ts'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { Channel } from '../net/mesh-net.ts'

export type TaskMessage = manyhands.TaskMessage
export type TaskMessageFields = manyhands.TaskMessage.$Properties

const WHOLE = 0
const MORE = 1
const LAST = 2
const PART_BYTES = 256 << 10
/** The largest message: a bind with a full program and a full input each, or as much result. */
const MESSAGE_BYTES = LIMITS.programBytes * 2 + LIMITS.inputBytes * 2

const { TaskMessage: Codec } = manyhands

/** By the field numbers of `proto/task.proto`. Without them 24 MiB of empty inputs become twelve million objects before anything looks at them. */
const BOUNDS = {
  what: 'task message',
  maxBytes: MESSAGE_BYTES,
  maxFields: 4,
  nested: {
    // bind: its inputs, host functions and path; in it 4, the program, and 7, what it requires
    14: {
      maxFields: LIMITS.batchInputs + LIMITS.hostFunctions + 256,
      nested: { 4: { maxFields: LIMITS.programModules + 16 }, 7: { maxFields: LIMITS.labels + 16 } },
    },
    // result: its pieces
    7: { maxFields: LIMITS.batchInputs + 16 },
  },
}

export class TaskChannel {
  readonly #channel: Channel
  readonly #parts: Uint8Array[] = []
  #partBytes = 0
  /** Large messages wait here for the channel's window, in order. */
  #sending: Promise<void> = Promise.resolve()

  constructor(channel: Channel, onMessage: (message: TaskMessage) => void) {
    this.#channel = channel
    channel.onMessage((bytes) => {
      try {
        const whole = this.#join(bytes)
        if (whole !== undefined) onMessage(decodeBounded(Codec, whole, BOUNDS))
      } catch (error) {
        channel.abort(
          error instanceof MeshError
            ? error
            : new MeshError('E_PROTOCOL', 'Cannot read a task message', { cause: error }),
        )
      }
    })
  }

  get peer(): string {
    return this.#channel.peer
  }

  get ended(): Promise<Error | undefined> {
    return this.#channel.ended
  }

  send(message: TaskMessageFields): void {
    const encoded = Codec.encode(message).finish()
    if (encoded.byteLength <= PART_BYTES) {
      this.#channel.send(framed(WHOLE, encoded))
      return
    }
    this.#sending = this.#sending.then(() => this.#sendParts(encoded))
  }

  close(): void {
    void this.#sending.then(() => this.#channel.close())
  }

  abort(error: Error): void {
    this.#channel.abort(error)
  }

  async #sendParts(encoded: Uint8Array): Promise<void> {
    for (let start = 0; start < encoded.byteLength; start += PART_BYTES) {
      const end = Math.min(start + PART_BYTES, encoded.byteLength)
      const room = this.#channel.send(framed(end === encoded.byteLength ? LAST : MORE, encoded.subarray(start, end)))
      // A channel that ended meanwhile rejects here: its owner learns of it by `ended`.
      if (!room) await this.#channel.drained().catch(() => undefined)
    }
  }

  #join(bytes: Uint8Array): Uint8Array | undefined {
    const kind = bytes[0]
    const body = bytes.subarray(1)
    if (kind === WHOLE) return body
    if (kind !== MORE && kind !== LAST)
      throw new MeshError('E_PROTOCOL', `Cannot read a task message: unknown kind ${kind}`)
    this.#partBytes += body.byteLength
    if (this.#partBytes > MESSAGE_BYTES)
      throw new MeshError('E_PROTOCOL', `Cannot read a task message: above ${MESSAGE_BYTES} bytes`)
    this.#parts.push(Uint8Array.from(body))
    if (kind === MORE) return undefined
    const whole = Buffer.concat(this.#parts)
    this.#parts.length = 0
    this.#partBytes = 0
    return whole
  }
}

function framed(kind: number, body: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(body.byteLength + 1)
  bytes[0] = kind
  bytes.set(body, 1)
  return bytes
}
