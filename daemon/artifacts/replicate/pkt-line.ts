/**
 * Git's pkt-line framing (gitprotocol-common): four hex digits that say how long the packet is, themselves included, then its bytes. The lengths 0 to 2 carry no
 * bytes: 0000 flush ends a message, 0001 delim parts it, 0002 ends a response. 0003 is not used, and nothing is longer than 65,520.
 */
import { MeshError } from '../../../protocol/errors.ts'

export type Pkt =
  /** Valid until the next one is asked for */
  { readonly type: 'data'; readonly bytes: Uint8Array } | { readonly type: 'flush' | 'delim' | 'end' }

/** Bytes of one packet's content. */
export const PKT_DATA_BYTES = 65_516

export const FLUSH = Buffer.from('0000')
export const DELIM = Buffer.from('0001')

/** @throws MeshError E_TOO_LARGE beyond `PKT_DATA_BYTES` */
export function pktLine(content: Uint8Array | string): Buffer {
  const bytes = Buffer.from(content)
  if (bytes.length > PKT_DATA_BYTES) throw new MeshError('E_TOO_LARGE', 'Cannot send a packet: it is too long')
  return Buffer.concat([Buffer.from((bytes.length + 4).toString(16).padStart(4, '0')), bytes])
}

const EMPTY = Buffer.alloc(0)

/** Cuts a stream of bytes into packets, pulling no more than it needs. Holds at most one packet and one chunk. */
export class PktReader {
  readonly #source: AsyncIterator<Uint8Array, unknown>
  #buffer: Buffer = EMPTY

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** @returns undefined at an end between packets. @throws MeshError E_PROTOCOL, and what the stream throws */
  async next(): Promise<Pkt | undefined> {
    if (!(await this.#fill(4))) return undefined
    const text = this.#buffer.toString('latin1', 0, 4)
    const length = /^[0-9a-fA-F]{4}$/.test(text) ? Number.parseInt(text, 16) : -1
    if (length < 0 || length === 3 || length > PKT_DATA_BYTES + 4) throw broken('a length is not one')
    if (length < 4) {
      this.#buffer = this.#buffer.subarray(4)
      return { type: length === 0 ? 'flush' : length === 1 ? 'delim' : 'end' }
    }
    if (!(await this.#fill(length))) throw broken('it is cut off')
    const bytes = this.#buffer.subarray(4, length)
    this.#buffer = this.#buffer.subarray(length)
    return { type: 'data', bytes }
  }

  /** Stops reading; what the stream still brings is not wanted. */
  async close(): Promise<void> {
    await this.#source.return?.()
  }

  async #fill(length: number): Promise<boolean> {
    while (this.#buffer.length < length) {
      const next = await this.#source.next()
      if (next.done === true) {
        if (this.#buffer.length > 0) throw broken('it is cut off')
        return false
      }
      const { value } = next
      const piece = Buffer.from(value.buffer, value.byteOffset, value.length)
      this.#buffer = this.#buffer.length === 0 ? piece : Buffer.concat([this.#buffer, piece])
    }
    return true
  }
}

function broken(why: string): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot read packets of Git: ${why}`)
}
