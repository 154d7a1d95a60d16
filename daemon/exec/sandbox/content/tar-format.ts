/**
 * The part of the tar format that content streams use, after POSIX.1-2017 (pax): blocks of 512 bytes; a header of fixed fields with a checksum; content
 * padded with zeros to whole blocks; two zero blocks at the end. Names and link targets beyond 100 bytes and sizes beyond 8 GiB are in a pax header
 * (type `x`) before their entry. Of what others write, GNU's long names (types `L` and `K`) are understood too.
 *
 * Kinds of entries: files (`0`), folders (`5`), symbolic links (`2`). Nothing else is written and everything else is refused: hard links, devices, pipes,
 * sparse files.
 */
import { MeshError } from '../../../../protocol/errors.ts'

export const BLOCK = 512

export type EntryType = 'file' | 'folder' | 'symlink'

export interface TarEntry {
  readonly name: string
  readonly type: EntryType
  /** Permission bits */
  readonly mode: number
  readonly uid: number
  readonly bytes: number
  /** Seconds since 1970 */
  readonly modified: number
  /** Target of a symbolic link */
  readonly target: string
}

const TYPES = { file: '0', folder: '5', symlink: '2' } as const
const NAME_FIELD = 100
const OCTAL_SIZE = 8 ** 11

/** Header blocks of an entry: content and `padding` follow. */
export function tarHeader(entry: TarEntry): Buffer {
  const name = Buffer.from(entry.type === 'folder' ? `${entry.name}/` : entry.name)
  const target = Buffer.from(entry.target)
  const extra: string[] = []
  if (name.length > NAME_FIELD) extra.push(paxRecord('path', name.toString()))
  if (target.length > NAME_FIELD) extra.push(paxRecord('linkpath', entry.target))
  if (entry.bytes >= OCTAL_SIZE) extra.push(paxRecord('size', `${entry.bytes}`))
  const own = header(name, entry, TYPES[entry.type], Math.min(entry.bytes, OCTAL_SIZE - 1), target)
  if (extra.length === 0) return own
  const records = Buffer.from(extra.join(''))
  const before = header(Buffer.from('pax'), entry, 'x', records.length, Buffer.alloc(0))
  return Buffer.concat([before, records, padding(records.length), own])
}

/** Zeros that fill the last block of content. */
export const padding = (bytes: number): Buffer => Buffer.alloc((BLOCK - (bytes % BLOCK)) % BLOCK)

export const TAR_END = Buffer.alloc(2 * BLOCK)

function header(name: Buffer, entry: TarEntry, type: string, bytes: number, target: Buffer): Buffer {
  const block = Buffer.alloc(BLOCK)
  block.set(name.subarray(0, NAME_FIELD), 0)
  octal(block, 100, 8, entry.mode)
  octal(block, 108, 8, Math.min(entry.uid, 0o7777777))
  octal(block, 116, 8, Math.min(entry.uid, 0o7777777))
  octal(block, 124, 12, bytes)
  octal(block, 136, 12, Math.max(0, Math.floor(entry.modified)))
  block.write(type, 156)
  block.set(target.subarray(0, NAME_FIELD), 157)
  block.write('ustar\x0000', 257, 'latin1')
  block.fill(' ', 148, 156)
  octal(block, 148, 7, checksum(block))
  return block
}

function octal(block: Buffer, at: number, length: number, value: number): void {
  block.write(
    value
      .toString(8)
      .padStart(length - 1, '0')
      .slice(-(length - 1)),
    at,
    'latin1',
  )
  block[at + length - 1] = 0
}

/** Sum of all bytes, those of the checksum itself taken as spaces. */
function checksum(block: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 32 : (block[i] ?? 0)
  return sum
}

/** "<length> <key>=<value>\n", where the length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`)
  let length = rest + 1
  while (`${length}`.length + rest !== length) length = `${length}`.length + rest
  return `${length} ${key}=${value}\n`
}

export interface RawHeader {
  readonly name: string
  readonly type: string
  readonly mode: number
  readonly uid: number
  readonly bytes: number
  readonly modified: number
  readonly target: string
}

/** @returns undefined for a block of zeros. @throws MeshError E_PROTOCOL */
export function readHeader(block: Uint8Array): RawHeader | undefined {
  if (block.every((byte) => byte === 0)) return undefined
  const view = Buffer.from(block.buffer, block.byteOffset, block.length)
  if (number(view, 148, 8) !== checksum(block)) throw notTar('a checksum does not match')
  const ustar = view.toString('latin1', 257, 262) === 'ustar' && view.toString('latin1', 257, 265) !== 'ustar  \0'
  const prefix = ustar ? text(view, 345, 155) : ''
  const name = text(view, 0, NAME_FIELD)
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    type: String.fromCharCode(view[156] ?? 0),
    mode: number(view, 100, 8),
    uid: number(view, 108, 8),
    bytes: number(view, 124, 12),
    modified: number(view, 136, 12),
    target: text(view, 157, NAME_FIELD),
  }
}

/** @throws MeshError E_PROTOCOL */
export function readPax(content: Uint8Array): ReadonlyMap<string, string> {
  const records = new Map<string, string>()
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.length)
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    const length = space < 0 ? Number.NaN : Number(bytes.toString('latin1', at, space))
    if (!Number.isInteger(length) || length < 5 || at + length > bytes.length || bytes[at + length - 1] !== 0x0a)
      throw notTar('a pax header is malformed')
    const record = utf8(bytes.subarray(space + 1, at + length - 1))
    const equals = record.indexOf('=')
    if (equals < 1) throw notTar('a pax header is malformed')
    records.set(record.slice(0, equals), record.slice(equals + 1))
    at += length
  }
  return records
}

function text(view: Buffer, at: number, length: number): string {
  const end = view.indexOf(0, at)
  return utf8(view.subarray(at, end < 0 || end > at + length ? at + length : end))
}

export function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw notTar('a name is not UTF-8', error)
  }
}

function number(view: Buffer, at: number, length: number): number {
  const field = view
    .toString('latin1', at, at + length)
    .replace(/[\0 ]+$/, '')
    .trimStart()
  if (!/^[0-7]*$/.test(field)) throw notTar('a number is not octal')
  return field === '' ? 0 : Number.parseInt(field, 8)
}

export function notTar(why: string, cause?: unknown): MeshError {
  return new MeshError('E_PROTOCOL', `Cannot read the content: ${why}`, cause === undefined ? {} : { cause })
}
