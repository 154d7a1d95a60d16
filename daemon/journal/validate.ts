import { MeshError } from '../../protocol/errors.ts'
import type { NewRecord, TableWrite } from './journal.ts'
import { JOURNAL_LIMITS } from './limits.ts'

const TABLE_SHAPE = /^[a-z0-9-]{1,32}$/

/**
 * Checks what both stores must refuse alike, so that memory never accepts what the disk would not.
 * @param types kinds of fact this version writes and understands
 * @throws MeshError E_BAD_REQUEST, E_TOO_LARGE
 */
export function checkRecord(record: NewRecord, types: ReadonlySet<string>): void {
  if (!types.has(record.type))
    throw bad(`the type '${record.type.slice(0, 80)}' is not one that this version reads back`)
  checkSize('body', record.body, JOURNAL_LIMITS.bodyBytes)
  if (record.writes === undefined) return
  if (record.writes.length > JOURNAL_LIMITS.writesPerRecord) {
    throw tooLarge(`it has ${record.writes.length} table writes, at most ${JOURNAL_LIMITS.writesPerRecord} are allowed`)
  }
  for (const write of record.writes) checkWrite(write)
}

function checkWrite(write: TableWrite): void {
  checkTable(write.table)
  checkKey(write.key)
  if (write.value !== undefined) checkSize('value of a table row', write.value, JOURNAL_LIMITS.valueBytes)
}

/** @throws MeshError E_BAD_REQUEST */
export function checkTable(table: string): void {
  if (!TABLE_SHAPE.test(table)) throw bad('the table name is not 1 to 32 bytes of [a-z0-9-]')
}

/** Lone surrogates are refused: as UTF-8 they all become the same bytes, so two keys would be one. @throws MeshError */
export function checkKey(key: string): void {
  if (!key.isWellFormed()) throw bad('the key holds half of a surrogate pair')
  // a UTF-16 unit is at most three bytes, so most keys need no counting
  if (key.length * 3 > JOURNAL_LIMITS.keyBytes && Buffer.byteLength(key) > JOURNAL_LIMITS.keyBytes) {
    throw bad(`the key is ${Buffer.byteLength(key)} bytes, at most ${JOURNAL_LIMITS.keyBytes} are allowed`)
  }
}

/** A page size. @param fallback when absent @throws MeshError E_BAD_REQUEST */
export function checkLimit(limit: number | undefined, fallback = 1000): number {
  const value = limit ?? fallback
  if (!Number.isSafeInteger(value) || value < 1 || value > JOURNAL_LIMITS.pageRows) {
    throw bad(`the limit must be a whole number from 1 to ${JOURNAL_LIMITS.pageRows}: received ${value}`)
  }
  return value
}

/** @throws MeshError E_BAD_REQUEST */
export function checkSequence(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw bad(`${name} must be a whole number from 0: received ${value}`)
}

function checkSize(what: string, bytes: Uint8Array, limit: number): void {
  if (bytes.length > limit) throw tooLarge(`the ${what} has ${bytes.length} bytes, at most ${limit} are allowed`)
}

function bad(what: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot use the journal so: ${what}`)
}

function tooLarge(what: string): MeshError {
  return new MeshError('E_TOO_LARGE', `Cannot append the record: ${what}`)
}
