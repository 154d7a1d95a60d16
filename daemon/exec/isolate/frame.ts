/**
 * Frames between the daemon and an isolate host, the same both ways, little endian:
 *
 *     offset  size  field
 *          0     4  length   bytes of the body
 *          4     4  job      the job it concerns; 0 = the host itself
 *          8     1  type     see `TO_HOST` and `FROM_HOST`
 *          9     4  ref      call id, or a small number that the type defines
 *         13     1  flag     level, index or success, as the type defines
 *         14     n  body     JSON or plain text; for LOAD see job-header.ts
 *
 * A frame is valid when its type is known to the receiver and its length is at most what the receiver allows for that type and job
 * at that moment. There is no resynchronisation: the first invalid frame ends the connection, and with it the process behind it.
 */

export const TO_HOST = {
  /** job: start it. flag 1 = session. body: job header, sources, input */
  load: 1,
  /** job, ref = call id. body: input JSON */
  call: 2,
  /** job: dispose of its isolate, answer `ended` */
  end: 3,
  /** job, ref = host call id, flag 1 = result, 0 = error {code, message}. body: JSON */
  hostReply: 4,
  /** ref = sequence number. Answered by `pong` */
  ping: 5,
} as const

export const FROM_HOST = {
  /** The process is up and its first isolates are warm */
  hello: 64,
  /** job: the session's program is loaded */
  loaded: 65,
  /** job, ref = call id (0 for a run), flag 1 = result, 0 = failure. body: JSON */
  reply: 66,
  /** job, ref = host call id, flag = index into the job's host functions. body: arguments as a JSON array */
  hostCall: 67,
  /** job, flag = level. body: text */
  log: 68,
  /** job: its isolate is gone. body: JobReport */
  ended: 69,
  /** ref = sequence number of the ping. body: {job: [cpuMs, memoryBytes]} */
  pong: 70,
  /** job: its isolate cannot be trusted or stopped any more; flag 0 = out of memory, 1 = broke the rules. body: reason */
  lost: 71,
} as const

export const HEADER_BYTES = 14

export interface Frame {
  readonly job: number
  readonly type: number
  readonly ref: number
  readonly flag: number
  /** A view into the received chunk: read it before the next turn */
  readonly body: Buffer
}

/** The peer broke the format or a limit. */
export class FrameError extends Error {
  override readonly name = 'FrameError'
}

/** Most body bytes allowed for a frame of `type` for `job`, or -1 when such a frame is not allowed at all. */
export type FrameLimit = (type: number, job: number) => number

/** Cuts a byte stream into frames. Holds at most one incomplete frame, whose length was allowed before it was buffered. */
export class FrameReader {
  readonly #limit: FrameLimit
  readonly #onFrame: (frame: Frame) => void
  #pending: Buffer[] = []
  #have = 0
  #need = HEADER_BYTES

  constructor(limit: FrameLimit, onFrame: (frame: Frame) => void) {
    this.#limit = limit
    this.#onFrame = onFrame
  }

  /** @throws FrameError for a frame that is not allowed, and whatever `onFrame` throws */
  push(chunk: Buffer): void {
    let buffer = chunk
    if (this.#have > 0) {
      this.#pending.push(chunk)
      this.#have += chunk.length
      if (this.#have < this.#need) return
      buffer = Buffer.concat(this.#pending, this.#have)
      this.#pending = []
      this.#have = 0
    }
    this.#keep(buffer, this.#parse(buffer))
  }

  /** Emits the whole frames in `buffer`; gives the offset of the first incomplete one. */
  #parse(buffer: Buffer): number {
    let at = 0
    while (buffer.length - at >= HEADER_BYTES) {
      const length = buffer.readUInt32LE(at)
      const job = buffer.readUInt32LE(at + 4)
      const type = buffer.readUInt8(at + 8)
      if (length > this.#limit(type, job)) {
        throw new FrameError(`Cannot accept a frame: type ${type} of job ${job} with ${length} bytes is not allowed`)
      }
      const end = at + HEADER_BYTES + length
      if (end > buffer.length) {
        this.#need = HEADER_BYTES + length
        return at
      }
      const body = buffer.subarray(at + HEADER_BYTES, end)
      this.#onFrame({ job, type, ref: buffer.readUInt32LE(at + 9), flag: buffer.readUInt8(at + 13), body })
      at = end
    }
    this.#need = HEADER_BYTES
    return at
  }

  #keep(buffer: Buffer, from: number): void {
    if (from === buffer.length) return
    const rest = buffer.subarray(from)
    // a copy when little is left, so that a few bytes do not hold a large chunk
    this.#pending = [rest.length < 4096 ? Buffer.from(rest) : rest]
    this.#have = rest.length
  }
}

interface Queued {
  readonly job: number
  readonly type: number
  readonly ref: number
  readonly flag: number
  readonly body: string | Uint8Array
  readonly bytes: number
}

/** Collects the frames of one turn of the event loop and hands them out as one chunk. */
export class FrameWriter {
  readonly #write: (chunk: Buffer) => void
  #queue: Queued[] = []
  #bytes = 0

  constructor(write: (chunk: Buffer) => void) {
    this.#write = write
  }

  send(type: number, job: number, ref = 0, flag = 0, body: string | Uint8Array = ''): void {
    const bytes = typeof body === 'string' ? Buffer.byteLength(body) : body.length
    if (this.#queue.length === 0) process.nextTick(() => this.flush())
    this.#queue.push({ job, type, ref, flag, body, bytes })
    this.#bytes += HEADER_BYTES + bytes
  }

  /** Hands out what there is now instead of at the end of the turn. */
  flush(): void {
    if (this.#queue.length === 0) return
    const chunk = Buffer.allocUnsafe(this.#bytes)
    let at = 0
    for (const frame of this.#queue) at = encode(chunk, at, frame)
    this.#queue = []
    this.#bytes = 0
    this.#write(chunk)
  }
}

function encode(chunk: Buffer, at: number, frame: Queued): number {
  chunk.writeUInt32LE(frame.bytes, at)
  chunk.writeUInt32LE(frame.job, at + 4)
  chunk.writeUInt8(frame.type, at + 8)
  chunk.writeUInt32LE(frame.ref, at + 9)
  chunk.writeUInt8(frame.flag, at + 13)
  if (typeof frame.body === 'string') chunk.write(frame.body, at + HEADER_BYTES)
  else chunk.set(frame.body, at + HEADER_BYTES)
  return at + HEADER_BYTES + frame.bytes
}
