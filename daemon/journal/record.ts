/**
 * The format of records, version 1.
 *
 *   The store keeps records in blocks. A block is what one synced batch added: the records of that batch one after another, nothing between or
 *   after them, under a key that holds the sequence of its first (see store-keys.ts). Numbers are big-endian.
 *
 *   offset size
 *        0    4  length of the whole record, these four bytes included
 *        4    4  CRC-32 (IEEE 802.3) of everything from offset 8 to the end
 *        8    1  format version: 1
 *        9    1  length t of the type, 1..64
 *       10    8  sequence: 1 for the first record ever, then without gaps
 *       18   32  hash of the record before; 32 zero bytes before the first
 *       50    t  type, ASCII [a-z0-9.-], beginning with a letter
 *     50+t       body, to the end
 *
 *   The hash of a record is SHA-256 of all its bytes, offset 0 to the end. Since each holds the hash of the one before, a hash vouches for
 *   everything up to its record.
 *
 *   Valid is a record that lies wholly within its block, whose checksum matches, whose sequence is one above the record before and which holds
 *   the hash of that one. The first that is not valid ends what can be trusted: nothing after it is used and the journal refuses to open,
 *   naming it. The checksum tells *which* record is damaged, the hash that nothing was replaced, left out or put in.
 *
 *   Offsets 0..9 mean the same in every future version, so an older program can tell a newer record (sound checksum, higher version:
 *   E_JOURNAL_VERSION) from a damaged one (E_JOURNAL_GAP). A type the reader does not know is E_JOURNAL_VERSION too; neither is ever skipped.
 *
 *   Crash: a batch reaches the store whole or not at all (LevelDB checks its log by batch), so a half-written record does not occur at the end
 *   of a journal; if one is seen, it is damage.
 */
import { hash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { JOURNAL_LIMITS } from './limits.ts'

export const RECORD_VERSION = 1
const FIXED_BYTES = 50
const HASH_AT = 18
const TYPE_SHAPE = /^[a-z][a-z0-9.-]{0,63}$/

/** A place in the chain: a sequence, and the hash that vouches for everything up to it */
export interface ChainPoint {
  readonly sequence: number
  readonly hash: Uint8Array
}

/** Before the first record */
export const CHAIN_START: ChainPoint = { sequence: 0, hash: new Uint8Array(32) }

export interface Fact {
  readonly type: string
  readonly body: Uint8Array
}

export interface DecodedRecord {
  readonly kind: 'record'
  readonly sequence: number
  readonly type: string
  /** Shares memory with the block */
  readonly body: Uint8Array
  readonly previous: Uint8Array
  readonly hash: Uint8Array
  /** Offset after it in the block */
  readonly end: number
}

export type RecordFault =
  | { readonly kind: 'damaged'; readonly why: string }
  | { readonly kind: 'newer'; readonly version: number }

export function isRecordType(text: string): boolean {
  return TYPE_SHAPE.test(text)
}

/** Bytes a record takes in its block. */
export function recordBytes(fact: Fact): number {
  return FIXED_BYTES + fact.type.length + fact.body.length
}

/** Encodes `facts` as the block that follows `last`. @returns the block and where the chain is after it */
export function encodeBlock(facts: readonly Fact[], last: ChainPoint): { block: Uint8Array; head: ChainPoint } {
  let size = 0
  for (const fact of facts) size += recordBytes(fact)
  const block = Buffer.allocUnsafe(size)
  let { sequence, hash: previous } = last
  let at = 0
  for (const fact of facts) {
    const end = at + recordBytes(fact)
    sequence += 1
    writeRecord(block, at, end, fact, sequence, previous)
    previous = sha256(block.subarray(at, end))
    at = end
  }
  return { block, head: { sequence, hash: previous } }
}

function writeRecord(block: Buffer, at: number, end: number, fact: Fact, sequence: number, previous: Uint8Array): void {
  block.writeUInt32BE(end - at, at)
  block[at + 8] = RECORD_VERSION
  block[at + 9] = fact.type.length
  writeSequence(block, at + 10, sequence)
  block.set(previous, at + HASH_AT)
  block.write(fact.type, at + FIXED_BYTES, 'latin1')
  block.set(fact.body, at + FIXED_BYTES + fact.type.length)
  block.writeUInt32BE(crc32(block.subarray(at + 8, end)), at + 4)
}

/** Decodes the record at `at`. The sequence and the chain are the caller's to check. */
export function decodeRecord(block: Uint8Array, at: number): DecodedRecord | RecordFault {
  const bytes = asBuffer(block)
  if (bytes.length - at < FIXED_BYTES + 1) return damaged('its header is cut off')
  const length = bytes.readUInt32BE(at)
  if (length < FIXED_BYTES + 1 || length > bytes.length - at) return damaged('its length is wrong')
  const end = at + length
  if (crc32(bytes.subarray(at + 8, end)) !== bytes.readUInt32BE(at + 4)) return damaged('its checksum does not match')
  const version = bytes.readUInt8(at + 8)
  if (version > RECORD_VERSION) return { kind: 'newer', version }
  const typeLength = bytes.readUInt8(at + 9)
  const bodyAt = at + FIXED_BYTES + typeLength
  const sequence = readSequence(bytes, at + 10)
  if (version === 0 || sequence === undefined || bodyAt > end) return damaged('its header is not valid')
  const type = bytes.toString('latin1', at + FIXED_BYTES, bodyAt)
  if (!isRecordType(type) || end - bodyAt > JOURNAL_LIMITS.bodyBytes) return damaged('its type or size is not valid')
  return {
    kind: 'record',
    sequence,
    type,
    body: bytes.subarray(bodyAt, end),
    previous: bytes.subarray(at + HASH_AT, at + FIXED_BYTES),
    hash: sha256(bytes.subarray(at, end)),
    end,
  }
}

/** By way of a string of byte values: asking Node for a buffer takes two to three times as long. */
function sha256(bytes: Uint8Array): Buffer {
  return Buffer.from(hash('sha256', bytes, 'binary'), 'binary')
}

function damaged(why: string): RecordFault {
  return { kind: 'damaged', why }
}

/** A view of the same memory: Buffer has the number readers. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Writes a sequence as 8 bytes. */
export function writeSequence(target: Buffer, at: number, sequence: number): void {
  target.writeUInt32BE(Math.floor(sequence / 2 ** 32), at)
  target.writeUInt32BE(sequence % 2 ** 32, at + 4)
}

/** Reads 8 bytes as a sequence; undefined when they hold no safe integer. */
export function readSequence(source: Buffer, at: number): number | undefined {
  const sequence = source.readUInt32BE(at) * 2 ** 32 + source.readUInt32BE(at + 4)
  return Number.isSafeInteger(sequence) ? sequence : undefined
}
