/**
 * Task messages on a channel. A channel message is [u8 kind][bytes]: kind 0 is a whole encoded TaskMessage; 1 is a part of one with more to come; 2 is its
 * last part. Parts of one message are never mixed with parts of another. Messages arrive in the order in which they were sent, but for what concerns the lease
 * itself: that goes ahead of what waits, also between the parts of a message, so a renewal is not stuck behind a large input.
 */
import { manyhands } from '../../proto/gen/wire.js'
import { decodeBounded } from '../../protocol/bounded-decode.ts'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { Fifo } from '../net/fifo.ts'
import type { Channel } from '../net/mesh-net.ts'

export type TaskMessage = manyhands.TaskMessage
export type TaskMessageFields = manyhands.TaskMessage.$Properties

const WHOLE = 0
const MORE = 1
const LAST = 2
/** A link of 10 KB/s takes less than two seconds for one: a renewal waits behind it, and whoever waits for a bind sees that it comes. */
const PART_BYTES = 16 << 10
/** The largest message: a bind with a full program and a full input each, or as much result. */
const MESSAGE_BYTES = LIMITS.programBytes * 2 + LIMITS.inputBytes * 2

/** Encoded messages that may wait for the channel's window; as many as the largest message may be wait beside one of that size. */
const OUTBOX_BYTES = 2 * MESSAGE_BYTES
/** Of these, kept for what is always small: among it, that something larger could not be sent */
const SPARE_BYTES = 4 << 20
/** With more waiting, no more work should be taken in. */
const ROOMY_BYTES = LIMITS.channelWindowBytes

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
  readonly #onPart: ((bytes: number) => void) | undefined
  readonly #parts: Uint8Array[] = []
  #partBytes = 0
  /** What waits for the channel's window, in order. Invariant: while anything waits or is being sent in parts, everything later waits behind it. */
  readonly #outbox = new Fifo<Uint8Array>()
  #outboxBytes = 0
  #isSending = false
  #sending: Promise<void> = Promise.resolve()
  #whenRoomy: PromiseWithResolvers<void> | undefined

  /**
   * @param onMessage a promise it returns holds back the peer until it settles
   * @param onPart called with the size of each part of a message with more to come; what it throws ends the channel
   */
  constructor(
    channel: Channel,
    onMessage: (message: TaskMessage) => void | Promise<void>,
    onPart?: (bytes: number) => void,
  ) {
    this.#channel = channel
    this.#onPart = onPart
    channel.onMessage((bytes) => {
      try {
        const whole = this.#join(bytes)
        return whole === undefined ? undefined : onMessage(decodeBounded(Codec, whole, BOUNDS))
      } catch (error) {
        channel.abort(
          error instanceof MeshError
            ? error
            : new MeshError('E_PROTOCOL', 'Cannot read a task message', { cause: error }),
        )
        return undefined
      }
    })
  }

  get peer(): string {
    return this.#channel.peer
  }

  get ended(): Promise<Error | undefined> {
    return this.#channel.ended
  }

  /** Whether a message of about `bytes` may wait here. Who does not ask, and sends far more, ends the channel with E_OVERLOADED. */
  takes(bytes: number): boolean {
    return this.#outboxBytes + bytes <= OUTBOX_BYTES - SPARE_BYTES
  }

  /** Resolves when little waits here; `undefined` when that is so now. */
  roomy(): Promise<void> | undefined {
    if (this.#outboxBytes <= ROOMY_BYTES) return undefined
    this.#whenRoomy ??= Promise.withResolvers()
    return this.#whenRoomy.promise
  }

  /** @param lingers it may wait some milliseconds for something else to leave with */
  send(message: TaskMessageFields, lingers = false): void {
    const encoded = Codec.encode(message).finish()
    if (isOfLease(message)) {
      this.#channel.sendAhead(framed(WHOLE, encoded))
    } else if (this.#isSending || encoded.byteLength > PART_BYTES) {
      this.#push(encoded)
      this.#startSending(true)
    } else if (!this.#channel.send(framed(WHOLE, encoded), lingers)) this.#startSending(false)
  }

  #push(encoded: Uint8Array): void {
    if (this.#outboxBytes + encoded.byteLength > OUTBOX_BYTES)
      return this.abort(new MeshError('E_OVERLOADED', 'Too much waits to be sent about the task: the peer is too slow'))
    this.#outbox.push(encoded)
    this.#outboxBytes += encoded.byteLength
  }

  #startSending(hasRoom: boolean): void {
    if (this.#isSending) return
    this.#isSending = true
    this.#sending = this.#sendOutbox(hasRoom)
  }

  /** A channel that ended takes everything and does nothing with it. */
  async #sendOutbox(hasRoom: boolean): Promise<void> {
    let room = hasRoom
    for (;;) {
      if (!room) await this.#channel.drained()
      const encoded = this.#outbox.shift()
      if (encoded === undefined) break
      room = await this.#sendOne(encoded)
      this.#outboxBytes -= encoded.byteLength
      if (this.#outboxBytes > ROOMY_BYTES) continue
      this.#whenRoomy?.resolve()
      this.#whenRoomy = undefined
    }
    this.#isSending = false
  }

  async #sendOne(encoded: Uint8Array): Promise<boolean> {
    if (encoded.byteLength <= PART_BYTES) return this.#channel.send(framed(WHOLE, encoded))
    let room = true
    for (let start = 0; start < encoded.byteLength; start += PART_BYTES) {
      if (!room) await this.#channel.drained()
      const end = Math.min(start + PART_BYTES, encoded.byteLength)
      room = this.#channel.send(framed(end === encoded.byteLength ? LAST : MORE, encoded.subarray(start, end)))
    }
    return room
  }

  /** @param lingers as for `send` */
  close(lingers = false): void {
    void this.#sending.then(() => this.#channel.close(lingers))
  }

  /** Ends without what waits here, which is of no use any more: over a slow link it could take many minutes. */
  closeNow(): void {
    this.#channel.close()
  }

  abort(error: Error): void {
    this.#channel.abort(error)
  }

  #join(bytes: Uint8Array): Uint8Array | undefined {
    const kind = bytes[0]
    const body = bytes.subarray(1)
    if (kind === WHOLE) return body
    if (kind !== MORE && kind !== LAST)
      throw new MeshError('E_PROTOCOL', `Cannot read a task message: unknown kind ${kind}`)
    // Parts are of one size. Smaller ones would cost many times their bytes while they are kept, and empty ones would never come to an end.
    if (kind === MORE && body.byteLength < PART_BYTES)
      throw new MeshError('E_PROTOCOL', `Cannot read a task message: a part of ${body.byteLength} bytes`)
    this.#partBytes += body.byteLength
    if (this.#partBytes > MESSAGE_BYTES)
      throw new MeshError('E_PROTOCOL', `Cannot read a task message: above ${MESSAGE_BYTES} bytes`)
    if (kind === MORE) this.#onPart?.(body.byteLength)
    this.#parts.push(Uint8Array.from(body))
    if (kind === MORE) return undefined
    const whole = Buffer.concat(this.#parts)
    this.#parts.length = 0
    this.#partBytes = 0
    return whole
  }
}

function isOfLease({ renew, renewed, withdraw }: TaskMessageFields): boolean {
  return Boolean(renew ?? renewed ?? withdraw)
}

function framed(kind: number, body: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(body.byteLength + 1)
  bytes[0] = kind
  bytes.set(body, 1)
  return bytes
}
