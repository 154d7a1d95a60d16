/**
 * Small packs of whole objects (gitformat-pack), as a transaction writes them.
 *
 *   pack   "PACK" | version 2 | count | entry ... | sha1 of all before              numbers are 32 bits, big-endian
 *   entry  type and length of the object (4 + 7 bits a byte, low bits first) | the content, zlib. No deltas.
 *   index  ff 74 4f 63 | version 2 | 256 counts by first byte | ids in order | crc32 of each entry | offset of each | pack's sha1 | sha1 of all before
 *
 * In the journal a pack stands after a list of what is in it, so that its index can be made again without reading objects:
 *   row    count | count times (20 bytes of id, offset) | pack
 */
import { createHash } from 'node:crypto'
import { crc32, deflateSync } from 'node:zlib'
import type { GitObject, ObjectType } from './git-object.ts'

export interface PackEntry {
  readonly oid: string
  /** Where it begins in the pack */
  readonly offset: number
}

export interface SmallPack {
  readonly bytes: Buffer
  /** In the order of the pack */
  readonly entries: readonly PackEntry[]
  /** "pack-<sha1 of the pack>", without ending */
  readonly name: string
}

const HEADER_BYTES = 12
const SHA1_BYTES = 20
const ROW_ENTRY_BYTES = SHA1_BYTES + 4
const TYPE_BITS: Readonly<Record<ObjectType, number>> = { commit: 1, tree: 2, blob: 3, tag: 4 }

/** @param objects of distinct ids, less than 2 GiB together */
export function makePack(objects: Iterable<GitObject>): SmallPack {
  return assemble([...objects].map((object) => ({ oid: object.oid, bytes: encodeEntry(object) })))
}

/** One pack of what is in several; each object once. */
export function joinPacks(packs: readonly SmallPack[]): SmallPack {
  const parts = new Map<string, Buffer>()
  for (const pack of packs) for (const { oid, bytes } of entryBytes(pack)) parts.set(oid, bytes)
  return assemble([...parts].map(([oid, bytes]) => ({ oid, bytes })))
}

function assemble(parts: readonly { readonly oid: string; readonly bytes: Buffer }[]): SmallPack {
  const header = Buffer.alloc(HEADER_BYTES)
  header.write('PACK', 'latin1')
  header.writeUInt32BE(2, 4)
  header.writeUInt32BE(parts.length, 8)
  let offset = HEADER_BYTES
  const entries = parts.map(({ oid, bytes }) => {
    const entry = { oid, offset }
    offset += bytes.length
    return entry
  })
  return sealed(Buffer.concat([header, ...parts.map((part) => part.bytes)]), entries)
}

function sealed(body: Buffer, entries: readonly PackEntry[]): SmallPack {
  const digest = createHash('sha1').update(body).digest()
  return { bytes: Buffer.concat([body, digest]), entries, name: `pack-${digest.toString('hex')}` }
}

function encodeEntry({ type, content }: GitObject): Buffer {
  const head: number[] = []
  let rest = Math.floor(content.length / 16)
  head.push((TYPE_BITS[type] << 4) | (content.length & 15) | (rest > 0 ? 0x80 : 0))
  while (rest > 0) {
    const next = Math.floor(rest / 128)
    head.push((rest & 0x7f) | (next > 0 ? 0x80 : 0))
    rest = next
  }
  return Buffer.concat([Buffer.from(head), deflateSync(content, { level: 1 })])
}

function entryBytes({ bytes, entries }: SmallPack): { oid: string; bytes: Buffer }[] {
  return entries.map(({ oid, offset }, index) => {
    const end = entries[index + 1]?.offset ?? bytes.length - SHA1_BYTES
    return { oid, bytes: bytes.subarray(offset, end) }
  })
}

export function packIndex(pack: SmallPack): Buffer {
  const offsets = new Map(pack.entries.map(({ oid, offset }) => [oid, offset]))
  const parts = entryBytes(pack).toSorted((a, b) => (a.oid < b.oid ? -1 : 1))
  const head = Buffer.alloc(8 + 256 * 4)
  head.writeUInt32BE(0xff744f63, 0)
  head.writeUInt32BE(2, 4)
  const counts = new Uint32Array(256)
  for (const { oid } of parts) {
    const first = Number.parseInt(oid.slice(0, 2), 16)
    counts[first] = (counts[first] ?? 0) + 1
  }
  let total = 0
  for (const [first, count] of counts.entries()) {
    total += count
    head.writeUInt32BE(total, 8 + first * 4)
  }
  const checks = Buffer.alloc(parts.length * 4)
  const places = Buffer.alloc(parts.length * 4)
  for (const [index, { oid, bytes }] of parts.entries()) {
    checks.writeUInt32BE(crc32(bytes), index * 4)
    places.writeUInt32BE(offsets.get(oid) ?? 0, index * 4)
  }
  const ids = parts.map(({ oid }) => Buffer.from(oid, 'hex'))
  const body = Buffer.concat([head, ...ids, checks, places, pack.bytes.subarray(-SHA1_BYTES)])
  return Buffer.concat([body, createHash('sha1').update(body).digest()])
}

export function encodePackRow({ bytes, entries }: SmallPack): Buffer {
  const list = Buffer.alloc(4 + entries.length * ROW_ENTRY_BYTES)
  list.writeUInt32BE(entries.length, 0)
  for (const [index, { oid, offset }] of entries.entries()) {
    list.write(oid, 4 + index * ROW_ENTRY_BYTES, 'hex')
    list.writeUInt32BE(offset, 4 + index * ROW_ENTRY_BYTES + SHA1_BYTES)
  }
  return Buffer.concat([list, bytes])
}

/** Of a row that the journal has checked. @throws TypeError for one that no version wrote */
export function decodePackRow(row: Uint8Array): SmallPack {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength)
  const count = bytes.length < 4 ? -1 : bytes.readUInt32BE(0)
  const start = 4 + count * ROW_ENTRY_BYTES
  if (count < 0 || start + HEADER_BYTES + SHA1_BYTES > bytes.length)
    throw new TypeError('Cannot read a pack row: it is cut')
  const entries = Array.from({ length: count }, (_, index) => {
    const at = 4 + index * ROW_ENTRY_BYTES
    return { oid: bytes.toString('hex', at, at + SHA1_BYTES), offset: bytes.readUInt32BE(at + SHA1_BYTES) }
  })
  const pack = bytes.subarray(start)
  return { bytes: pack, entries, name: `pack-${pack.toString('hex', pack.length - SHA1_BYTES)}` }
}
