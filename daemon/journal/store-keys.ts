/**
 * Keys in the store. The first byte says what a key is for, so kinds never mix:
 *
 *   "m" name                              what the store knows of itself: "store" (identity), "base" (the chain before the oldest kept record)
 *   "r" u64 sequence, big-endian          a block of records, under the sequence of its first; byte order is sequence order
 *   "t" u8 length, table name, row key    a table row; row key is UTF-8
 *
 * The table name carries its length and the row key ends with the store's key, so no text in either can be read as part of the other. UTF-8 never
 * holds the byte 0xff, so `prefix 0xff` is above every key that begins with `prefix` and below all others.
 */
import { asBuffer, readSequence, writeSequence } from './record.ts'
import type { RangeOptions } from './journal.ts'

const META = 0x6d
const RECORD = 0x72
const TABLE = 0x74

export const STORE_KEY = metaKey('store')
export const BASE_KEY = metaKey('base')

function metaKey(name: string): Uint8Array {
  return Buffer.from(`${String.fromCharCode(META)}${name}`, 'latin1')
}

export function blockKey(first: number): Uint8Array {
  const key = Buffer.allocUnsafe(9)
  key[0] = RECORD
  writeSequence(key, 1, first)
  return key
}

/** First sequence of the block under `key`; undefined when it is no block key. */
export function blockSequence(key: Uint8Array): number | undefined {
  return key.length === 9 && key[0] === RECORD ? readSequence(asBuffer(key), 1) : undefined
}

/** Every block key lies in [first, end). */
export const BLOCKS = { first: Buffer.from([RECORD]), end: Buffer.from([RECORD + 1]) }

export function rowKey(table: string, key: string): Uint8Array {
  const length = Buffer.byteLength(key)
  const bytes = Buffer.allocUnsafe(2 + table.length + length)
  bytes[0] = TABLE
  bytes[1] = table.length
  bytes.write(table, 2, 'latin1')
  bytes.write(key, 2 + table.length, 'utf8')
  return bytes
}

/** The row key within a store key of `table`. */
export function rowKeyText(table: string, key: Uint8Array): string {
  return asBuffer(key).toString('utf8', 2 + table.length)
}

export interface KeyRange {
  readonly gt?: Uint8Array
  readonly gte?: Uint8Array
  readonly lt: Uint8Array
}

/** Store keys of the rows that `options` ask for. */
export function tableRange(table: string, options: RangeOptions): KeyRange {
  const from = rowKey(table, options.prefix ?? '')
  const to = Buffer.concat([from, Buffer.from([0xff])])
  if (options.after === undefined) return { gte: from, lt: to }
  const after = rowKey(table, options.after)
  if (options.reverse === true) return { gte: from, lt: Buffer.compare(after, to) < 0 ? after : to }
  return Buffer.compare(after, from) < 0 ? { gte: from, lt: to } : { gt: after, lt: to }
}
