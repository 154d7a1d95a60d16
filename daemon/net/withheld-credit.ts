/**
 * Credit of muxer streams that can wait. The muxer answers every piece of data at once with a WINDOW_UPDATE frame; alone in its packet such a frame costs
 * both ends an encryption, a system call and a wake-up, often more than the message it answers. So small credit is added up and goes with the next packet
 * that has something to say. The sender never starves: it lacks less than `MOST_WITHHELD_BYTES`, and keeps at least twice that on the way (bulk-pace.ts).
 *
 * A frame has a header of 12 bytes: version, type, flags (16 bit), stream (32 bit), credit (32 bit), all big endian
 * (https://github.com/hashicorp/yamux/blob/master/spec.md).
 */
const HEADER_BYTES = 12
const TYPE_WINDOW_UPDATE = 1
export const MOST_WITHHELD_BYTES = 8 << 10
/** Streams whose credit waits; beyond, it goes out. */
const MOST_STREAMS = 64

export class WithheldCredit {
  readonly #frames = new Map<number, Buffer>()

  /** Keeps `data` if it is a window update that can wait, and says so. Updates that open or end a stream never wait. */
  hold(data: Uint8Array | { readonly byteLength: number }): boolean {
    if (!(data instanceof Uint8Array) || data.length !== HEADER_BYTES) return false
    const frame = Buffer.from(data.buffer, data.byteOffset, HEADER_BYTES)
    if (frame.readUInt8(1) !== TYPE_WINDOW_UPDATE || frame.readUInt16BE(2) !== 0) return false
    const stream = frame.readUInt32BE(4)
    const held = this.#frames.get(stream)
    const credit = frame.readUInt32BE(8) + (held?.readUInt32BE(8) ?? 0)
    if (credit >= MOST_WITHHELD_BYTES || (held === undefined && this.#frames.size >= MOST_STREAMS)) return false
    if (held === undefined) this.#frames.set(stream, frame)
    else held.writeUInt32BE(credit, 8)
    return true
  }

  /** What was withheld, to be sent before anything else. */
  take(): Buffer[] {
    if (this.#frames.size === 0) return []
    const frames = [...this.#frames.values()]
    this.#frames.clear()
    return frames
  }
}
