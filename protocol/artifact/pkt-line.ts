/**
 * pkt-line, the framing of Git's protocols (gitprotocol-common): four hex digits of length, themselves included, then the payload.
 * 0000 is a flush, 0001 a delimiter, 0002 the end of a response; 0003 is invalid, 0004 empty. At most 65,520 in all.
 */
import { MeshError } from '../errors.ts'

export type Packet = { readonly kind: 'data'; readonly payload: Buffer } | Mark
type Mark = { readonly kind: 'flush' | 'delimiter' | 'end' }

export const FLUSH = Buffer.from('0000')
export const DELIMITER = Buffer.from('0001')
const MAX_PACKET = 65_520
const DIGITS = 4
/** Bytes of one packet's payload. */
export const MAX_PAYLOAD = MAX_PACKET - DIGITS
/** Of a packet with a band, whose payload begins with one byte that names it. */
export const MAX_BAND = MAX_PAYLOAD - 1
const MARKS: readonly Mark[] = [{ kind: 'flush' }, { kind: 'delimiter' }, { kind: 'end' }]

/** @throws RangeError when the payload does not fit */
export function packet(payload: Uint8Array | string): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
  const length = bytes.length + DIGITS
  if (length > MAX_PACKET) throw new RangeError(`Cannot make a packet: ${length} bytes`)
  return Buffer.concat([Buffer.from(length.toString(16).padStart(DIGITS, '0')), bytes])
}

/** Band 1 is the answer, 2 is text for the user, 3 ends with an error. */
export function band(number: 1 | 2 | 3, payload: Buffer | string): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length || parts.length === 0; at += MAX_BAND)
    parts.push(packet(Buffer.concat([Buffer.of(number), bytes.subarray(at, at + MAX_BAND)])))
  return Buffer.concat(parts)
}

/** What stands before so many bytes of a band, at most `MAX_BAND`. */
export function bandHead(number: 1 | 2 | 3, length: number): Buffer {
  const digits = (DIGITS + 1 + length).toString(16).padStart(DIGITS, '0')
  return Buffer.from(`${digits}${String.fromCodePoint(number)}`, 'latin1')
}

/** What begins at `at`, whose four bytes are there: a mark, or how long the payload is. @throws TypeError when it is neither */
function headAt(bytes: Buffer, at: number): Mark | number {
  const digits = bytes.toString('latin1', at, at + DIGITS)
  if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new TypeError('a length is not four hex digits')
  const length = Number.parseInt(digits, 16)
  const mark = MARKS[length]
  if (mark !== undefined) return mark
  if (length < DIGITS || length > MAX_PACKET) throw new TypeError(`a length is ${length}`)
  return length - DIGITS
}

/**
 * The packet at `at`. @returns undefined when more bytes are needed
 * @throws MeshError E_BAD_REQUEST when there is none
 */
export function packetAt(bytes: Buffer, at: number): { readonly packet: Packet; readonly end: number } | undefined {
  const start = at + DIGITS
  if (bytes.length < start) return undefined
  const head = orThrow('E_BAD_REQUEST', () => headAt(bytes, at))
  if (typeof head !== 'number') return { packet: head, end: start }
  const end = start + head
  return bytes.length < end ? undefined : { packet: { kind: 'data', payload: bytes.subarray(start, end) }, end }
}

/** All packets of a whole message. @throws MeshError E_BAD_REQUEST when it is cut or malformed */
export function packets(bytes: Buffer): Packet[] {
  const found: Packet[] = []
  for (let at = 0; at < bytes.length; ) {
    const next = packetAt(bytes, at)
    if (next === undefined) throw malformed('E_BAD_REQUEST', CUT)
    found.push(next.packet)
    at = next.end
  }
  return found
}

/** Payload as text without the line feed that may end it; bytes that are not ASCII stay what they are. */
export function lineOf(payload: Buffer): string {
  const text = payload.toString('latin1')
  return text.endsWith('\n') ? text.slice(0, -1) : text
}

const EMPTY = Buffer.alloc(0)

/** Cuts what a peer streams into packets, pulling no more than it needs. Holds at most one packet and one chunk. What it gives is valid until it is asked again. */
export class PacketReader {
  readonly #source: AsyncIterator<Uint8Array, unknown>
  #buffer: Buffer = EMPTY
  #isOver = false

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** Whether the source has ended, in order or in the middle of a packet. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** @returns undefined at an end between packets. @throws MeshError E_PROTOCOL, and what the stream throws */
  async next(): Promise<Packet | undefined> {
    const head = await this.head()
    return typeof head === 'number' ? { kind: 'data', payload: await this.take(head) } : head
  }

  /** A mark, or the length of a payload that is to be read by `take` or, piece by piece, by `some`. The same otherwise. */
  async head(): Promise<Mark | number | undefined> {
    if (!(await this.#fill(DIGITS))) return undefined
    const head = orThrow('E_PROTOCOL', () => headAt(this.#buffer, 0))
    this.#buffer = this.#buffer.subarray(DIGITS)
    return head
  }

  /** So many bytes of the payload. */
  async take(length: number): Promise<Buffer> {
    if (!(await this.#fill(length))) throw malformed('E_PROTOCOL', CUT)
    return this.#cut(length)
  }

  /** What is there already of the payload, or else comes next: up to `most` bytes, which is not 0. Nothing is copied. */
  async some(most: number): Promise<Buffer> {
    while (this.#buffer.length === 0) if (!(await this.#fill(1))) throw malformed('E_PROTOCOL', CUT)
    return this.#cut(Math.min(most, this.#buffer.length))
  }

  /** Stops reading; what the stream still brings is not wanted. */
  async close(): Promise<void> {
    await this.#source.return?.()
  }

  #cut(length: number): Buffer {
    const bytes = this.#buffer.subarray(0, length)
    this.#buffer = this.#buffer.subarray(length)
    return bytes
  }

  async #fill(length: number): Promise<boolean> {
    while (this.#buffer.length < length) {
      const next = await this.#source.next()
      if (next.done === true) {
        this.#isOver = true
        if (this.#buffer.length > 0) throw malformed('E_PROTOCOL', CUT)
        return false
      }
      const { value } = next
      const piece = Buffer.from(value.buffer, value.byteOffset, value.length)
      this.#buffer = this.#buffer.length === 0 ? piece : Buffer.concat([this.#buffer, piece])
    }
    return true
  }
}

const CUT = 'the last packet is cut'

function orThrow<T>(code: 'E_BAD_REQUEST' | 'E_PROTOCOL', read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw malformed(code, error instanceof Error ? error.message : String(error))
  }
}

function malformed(code: 'E_BAD_REQUEST' | 'E_PROTOCOL', what: string): MeshError {
  const doing = code === 'E_PROTOCOL' ? 'Cannot read packets of Git' : 'Cannot read the Git request'
  return new MeshError(code, `${doing}: ${what}`)
}
