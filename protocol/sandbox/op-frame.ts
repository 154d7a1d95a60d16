/**
 * Frames of an op between two nodes. A frame is [u8 type][payload]; on a channel it is one message, on a bulk stream it is preceded by its length as u32 LE,
 * at most `LIMITS.sandboxFrameBytes`. The opening (JSON SandboxOp) is the opening of the channel, or the first frame of a stream.
 *
 *   0 open     JSON SandboxOp          asker, streams only
 *   1 data     [u8 lane][bytes]        lane 0 by the asker; 1 and 2 by the holder
 *   2 finish                           this side sends no more data
 *   3 control  JSON BoxControl         asker
 *   4 done     JSON OpReply            holder: last frame
 *   5 fail     JSON {code, message, hint?, retryAfterMs?}   holder: last frame
 *
 * Cancelling is ending the channel or stream.
 */
import { Buffer } from 'node:buffer'
import * as z from 'zod'
import { isErrorCode, MeshError, toMeshError } from '../errors.ts'
import { parseJsonText } from '../json-text.ts'
import { LIMITS } from '../limits.ts'

export const OP_FRAME = { open: 0, data: 1, finish: 2, control: 3, done: 4, fail: 5 } as const

const LENGTH_BYTES = 4
/** Type and lane */
const DATA_HEADER_BYTES = 2

export function dataFrame(lane: number, bytes: Uint8Array): Uint8Array {
  const frame = Buffer.allocUnsafe(2 + bytes.length)
  frame[0] = OP_FRAME.data
  frame[1] = lane
  frame.set(bytes, 2)
  return frame
}

export function jsonFrame(type: number, value: unknown): Uint8Array {
  const json = Buffer.from(JSON.stringify(value))
  const frame = Buffer.allocUnsafe(1 + json.length)
  frame[0] = type
  frame.set(json, 1)
  return frame
}

/** What a peer may know of a failure. */
export function failFrame(error: unknown): Uint8Array {
  const { code, message, hint, retryAfterMs } = toMeshError(error)
  return jsonFrame(OP_FRAME.fail, { code, message: message.slice(0, 1_000), hint, retryAfterMs })
}

const failure = z.object({
  code: z.string().max(64),
  message: z.string().max(1_024),
  hint: z.string().max(1_024).optional(),
  retryAfterMs: z.number().min(0).max(86_400_000).optional(),
})

/** @throws MeshError E_PROTOCOL for what is no failure */
export function readFailure(payload: Uint8Array): MeshError {
  const parsed = failure.safeParse(parseJsonText(payload, 'a failure of a peer'))
  if (!parsed.success) throw new MeshError('E_PROTOCOL', 'Cannot read a failure of a peer: it is not one')
  const { code, message, hint, retryAfterMs } = parsed.data
  return new MeshError(isErrorCode(code) ? code : 'E_INTERNAL', message, {
    ...(hint === undefined ? {} : { hint }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  })
}

/** A frame as it goes on a bulk stream. */
export function withLength(frame: Uint8Array): Uint8Array {
  const framed = Buffer.allocUnsafe(LENGTH_BYTES + frame.length)
  framed.writeUInt32LE(frame.length, 0)
  framed.set(frame, LENGTH_BYTES)
  return framed
}

/** A data frame as it goes on a bulk stream: `dataFrame` with its length, copied once. */
export function dataWithLength(lane: number, bytes: Uint8Array): Uint8Array {
  const framed = Buffer.allocUnsafe(LENGTH_BYTES + 2 + bytes.length)
  framed.writeUInt32LE(2 + bytes.length, 0)
  framed[LENGTH_BYTES] = OP_FRAME.data
  framed[LENGTH_BYTES + 1] = lane
  framed.set(bytes, LENGTH_BYTES + 2)
  return framed
}

/** A frame as it was read; of one of data `bytes` may be a part. */
export interface OpFrame {
  readonly type: number
  /** Of data */
  readonly lane: number
  readonly bytes: Uint8Array
}

/** A whole frame without its length. @throws MeshError E_PROTOCOL */
export function readFrame(frame: Uint8Array): OpFrame {
  const [type, lane = 0] = frame
  if (type === undefined) throw new MeshError('E_PROTOCOL', 'Cannot read an operation: a frame is empty')
  if (type !== OP_FRAME.data) return { type, lane: 0, bytes: frame.subarray(1) }
  if (frame.length < DATA_HEADER_BYTES) throw noLane()
  return { type, lane, bytes: frame.subarray(DATA_HEADER_BYTES) }
}

/**
 * Cuts a bulk stream into frames. Holds at most one frame that is not complete, and memory only for what has come; of data nothing: its bytes are given as
 * they come, a frame in one piece or several.
 */
export class OpFrameReader {
  #parts: Uint8Array[] = []
  #held = 0
  /** Of a frame of data that was begun: bytes that are still to come */
  #left = 0
  #lane = 0

  #data(): OpFrame {
    const bytes = this.#take(Math.min(this.#left, this.#parts[0]?.length ?? 0))
    this.#left -= bytes.length
    return { type: OP_FRAME.data, lane: this.#lane, bytes }
  }

  /** The frames that `chunk` completes, and the data in it. @throws MeshError E_PROTOCOL for an impossible length */
  *push(chunk: Uint8Array): Generator<OpFrame, void, undefined> {
    if (chunk.length === 0) return
    this.#parts.push(chunk)
    this.#held += chunk.length
    for (;;) {
      while (this.#left > 0 && this.#held > 0) yield this.#data()
      if (this.#left > 0 || this.#held < LENGTH_BYTES) return
      const length = Buffer.from(this.#peek(LENGTH_BYTES)).readUInt32LE(0)
      if (length < 1 || length > LIMITS.sandboxFrameBytes)
        throw new MeshError('E_PROTOCOL', `Cannot read a stream: a frame of ${length} bytes is announced`)
      if (this.#held < LENGTH_BYTES + Math.min(length, DATA_HEADER_BYTES)) return
      if (this.#peek(LENGTH_BYTES + 1)[LENGTH_BYTES] === OP_FRAME.data) {
        if (length < DATA_HEADER_BYTES) throw noLane()
        this.#lane = this.#take(LENGTH_BYTES + DATA_HEADER_BYTES)[LENGTH_BYTES + 1] ?? 0
        this.#left = length - DATA_HEADER_BYTES
        continue
      }
      if (this.#held < LENGTH_BYTES + length) return
      yield readFrame(this.#take(LENGTH_BYTES + length).subarray(LENGTH_BYTES))
    }
  }

  #peek(bytes: number): Uint8Array {
    const [first] = this.#parts
    if (first && first.length >= bytes) return first.subarray(0, bytes)
    const all = Buffer.concat(this.#parts)
    this.#parts = [all]
    return all.subarray(0, bytes)
  }

  #take(bytes: number): Uint8Array {
    const taken = this.#peek(bytes)
    const [first, ...rest] = this.#parts
    this.#parts = first && first.length > bytes ? [first.subarray(bytes), ...rest] : rest
    this.#held -= bytes
    return taken
  }
}

function noLane(): MeshError {
  return new MeshError('E_PROTOCOL', 'Cannot read an operation: data on no lane')
}
