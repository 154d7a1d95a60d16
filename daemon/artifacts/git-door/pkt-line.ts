/**
 * pkt-line, the framing of Git's protocols (gitprotocol-common): four hex digits of length, themselves included, then the payload.
 * 0000 is a flush, 0001 a delimiter, 0002 the end of a response; 0003 is invalid, 0004 empty. At most 65,520 in all.
 */
import { MeshError } from '../../../protocol/errors.ts'

export type Packet =
  | { readonly kind: 'data'; readonly payload: Buffer }
  | { readonly kind: 'flush' }
  | { readonly kind: 'delimiter' }
  | { readonly kind: 'end' }

export const FLUSH = Buffer.from('0000')
export const DELIMITER = Buffer.from('0001')
const MAX_PACKET = 65_520
const DIGITS = 4
/** Sideband packets carry one byte that names their band */
const MAX_BAND = MAX_PACKET - DIGITS - 1

/** @throws RangeError when the payload does not fit */
export function packet(payload: Buffer | string): Buffer {
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

/**
 * The packet at `at`. @returns undefined when more bytes are needed
 * @throws MeshError E_BAD_REQUEST when there is none
 */
export function packetAt(bytes: Buffer, at: number): { readonly packet: Packet; readonly end: number } | undefined {
  if (bytes.length < at + DIGITS) return undefined
  const digits = bytes.toString('latin1', at, at + DIGITS)
  if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw malformed('a length is not four hex digits')
  const length = Number.parseInt(digits, 16)
  const end = at + DIGITS
  if (length === 0) return { packet: { kind: 'flush' }, end }
  if (length === 1) return { packet: { kind: 'delimiter' }, end }
  if (length === 2) return { packet: { kind: 'end' }, end }
  if (length < DIGITS || length > MAX_PACKET) throw malformed(`a length is ${length}`)
  if (bytes.length < at + length) return undefined
  return { packet: { kind: 'data', payload: bytes.subarray(end, at + length) }, end: at + length }
}

/** All packets of a whole message. @throws MeshError E_BAD_REQUEST when it is cut or malformed */
export function packets(bytes: Buffer): Packet[] {
  const found: Packet[] = []
  for (let at = 0; at < bytes.length; ) {
    const next = packetAt(bytes, at)
    if (next === undefined) throw malformed('the last packet is cut')
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

function malformed(what: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot read the Git request: ${what}`)
}
