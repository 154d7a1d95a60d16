/**
 * The format of a table row's value in the store, version 1 (also of the store's own "m" rows):
 *
 *   offset size
 *        0    4  CRC-32 (IEEE 802.3), big-endian, of the whole store key followed by everything from offset 4
 *        4    1  format version: 1
 *        5       value
 *
 * The checksum covers the key, so a value that turns up under another table or key is damage and not an answer.
 */
import { crc32 } from 'node:zlib'
import { gapError, versionError } from './errors.ts'
import { asBuffer } from './record.ts'

const ROW_VERSION = 1
const HEADER_BYTES = 5

export function encodeRow(storeKey: Uint8Array, value: Uint8Array): Uint8Array {
  const row = Buffer.allocUnsafe(HEADER_BYTES + value.length)
  row[4] = ROW_VERSION
  row.set(value, HEADER_BYTES)
  row.writeUInt32BE(crc32(row.subarray(4), crc32(storeKey)), 0)
  return row
}

/**
 * The value of a row as stored under `storeKey`; shares its memory.
 * @throws MeshError E_JOURNAL_GAP when it is damaged, E_JOURNAL_VERSION when it is sound but newer
 */
export function decodeRow(storeKey: Uint8Array, row: Uint8Array): Uint8Array {
  const bytes = asBuffer(row)
  if (bytes.length < HEADER_BYTES) throw gapError('a table row is cut off')
  const sum = crc32(bytes.subarray(4), crc32(storeKey))
  if (sum !== bytes.readUInt32BE(0)) throw gapError('the checksum of a table row does not match')
  const version = bytes.readUInt8(4)
  if (version !== ROW_VERSION) throw versionError(`a table row has format version ${version}`)
  return bytes.subarray(HEADER_BYTES)
}
