/**
 * Writes frames ([u32 LE length][u32 LE channel][u8 type][payload]) into shared chunks: all frames of one turn leave as one write.
 * Texts are encoded in place, so a small frame costs no allocation.
 */
import { DUPLEX } from '../duplex.ts'
import { ManyhandsError } from '../errors.ts'

const CHUNK_BYTES = 64 << 10
const HEADER_BYTES = 9
/** Texts up to this many UTF-16 units reserve three bytes each instead of being measured first */
const UNMEASURED = 8 << 10

export class FrameWriter {
  readonly #write: (bytes: Buffer) => void
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  /** [start, end) of the chunk is written and not yet handed over */
  #start = 0
  #end = 0
  #due = false

  /** `write` takes ownership of the bytes. Called once for each turn, or when a chunk is full. */
  constructor(write: (bytes: Buffer) => void) {
    this.#write = write
  }

  /** Bytes not handed over yet. */
  get pending(): number {
    return this.#end - this.#start
  }

  /** @param id u32, or -1 for a payload without one. @throws ManyhandsError E_TOO_LARGE */
  frame(channel: number, type: number, id: number, text: string): void {
    const head = id < 0 ? HEADER_BYTES : HEADER_BYTES + 4
    const most = text.length <= UNMEASURED ? text.length * 3 : Buffer.byteLength(text)
    if (head - 4 + most > DUPLEX.maxFrameBytes) throw tooLarge(most)
    if (head + most > this.#chunk.length - this.#end) this.#grow(head + most)
    const chunk = this.#chunk
    const at = this.#end
    if (id >= 0) chunk.writeUInt32LE(id, at + HEADER_BYTES)
    const size = head + (most === 0 ? 0 : chunk.write(text, at + head, 'utf8'))
    this.#close(at, channel, type, size)
  }

  /** Payload: one byte, then bytes, which are copied. @throws ManyhandsError E_TOO_LARGE */
  data(channel: number, type: number, lane: number, bytes: Uint8Array): void {
    const size = HEADER_BYTES + 1 + bytes.length
    if (size - 4 > DUPLEX.maxFrameBytes) throw tooLarge(bytes.length)
    if (size > this.#chunk.length - this.#end) this.#grow(size)
    const at = this.#end
    this.#chunk[at + HEADER_BYTES] = lane
    this.#chunk.set(bytes, at + HEADER_BYTES + 1)
    this.#close(at, channel, type, size)
  }

  #close(at: number, channel: number, type: number, size: number): void {
    this.#chunk.writeUInt32LE(size - 4, at)
    this.#chunk.writeUInt32LE(channel, at + 4)
    this.#chunk[at + 8] = type
    this.#end = at + size
    if (this.#due) return
    this.#due = true
    // After all promise callbacks of this turn, so that what they send joins
    process.nextTick(() => {
      this.#due = false
      this.flush()
    })
  }

  flush(): void {
    if (this.#start === this.#end) return
    const bytes = this.#chunk.subarray(this.#start, this.#end)
    this.#start = this.#end
    this.#write(bytes)
  }

  #grow(bytes: number): void {
    this.flush()
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, bytes))
    this.#start = 0
    this.#end = 0
  }
}

function tooLarge(bytes: number): ManyhandsError {
  return new ManyhandsError('E_TOO_LARGE', `Cannot send ${bytes} bytes: a frame may have ${DUPLEX.maxFrameBytes}`, {
    hint: 'Split the value, or run() without host functions',
  })
}
