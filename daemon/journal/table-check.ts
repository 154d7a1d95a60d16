/**
 * Reads every table of a store and checks the checksums in it, which LevelDB itself does not do: with them off, a flipped bit in a table gives a
 * wrong value, or hides rows, without any error. Records have their own chain; this is what protects table rows from vanishing.
 *
 * A table (LevelDB's doc/table_format.md):
 *
 *   data blocks | filter block | metaindex block | index block | footer (last 48 bytes)
 *
 *   footer: handle of the metaindex block, handle of the index block, padding, magic number 0xdb4775248b80fb57 little-endian
 *   handle: offset and size of a block, each a varint
 *   every block is followed by 5 bytes: compression (0 none, 1 snappy) and, little-endian, a CRC-32C of block and compression byte, "masked":
 *           rotated right by 15 bits plus 0xa282ead8
 *
 * Blocks follow each other without holes, so they need not be found through the index: walk the file by the handles the index holds. The index
 * block is sound when its checksum is; then so are the handles in it.
 */
import { readFile } from 'node:fs/promises'
import { crc32c } from './crc32c.ts'
import { gapError } from './errors.ts'
import { isMissing } from '../files/is-missing.ts'

const FOOTER_BYTES = 48
const TRAILER_BYTES = 5
const MAGIC = Buffer.from('57fb808b247547db', 'hex')

interface Handle {
  readonly offset: number
  readonly size: number
}

/** @param signal ends it between two tables, with its reason @throws MeshError E_JOURNAL_GAP for the first table that is damaged */
export async function checkTables(files: readonly string[], signal?: AbortSignal): Promise<void> {
  for (const file of files) {
    signal?.throwIfAborted()
    const bytes = await readFile(file).catch((error: unknown) => {
      // replaced by a compaction since the list was made
      if (isMissing(error)) return undefined
      throw error
    })
    if (bytes !== undefined && !isSound(bytes)) throw gapError('a table of the store is damaged')
  }
}

/** Whether all blocks of a table have the checksum they were written with. */
export function isSound(table: Buffer): boolean {
  if (table.length < FOOTER_BYTES || !table.subarray(-8).equals(MAGIC)) return false
  const footer = new Reader(table, table.length - FOOTER_BYTES, table.length - 8)
  const metaindex = footer.handle()
  const index = footer.handle()
  if (metaindex === undefined || index === undefined) return false
  const inner = [metaindex, index]
  if (!inner.every((handle) => isBlockSound(table, handle))) return false
  for (const handle of inner) {
    const outer = blockHandles(
      table.subarray(handle.offset, handle.offset + handle.size),
      table[handle.offset + handle.size],
    )
    if (outer === undefined || !outer.every((found) => isBlockSound(table, found))) return false
  }
  return true
}

function isBlockSound(table: Buffer, { offset, size }: Handle): boolean {
  const end = offset + size
  if (end + TRAILER_BYTES > table.length - FOOTER_BYTES) return false
  const masked = (table.readUInt32LE(end + 1) - 0xa282ead8) >>> 0
  return ((masked << 15) | (masked >>> 17)) >>> 0 === crc32c(table, offset, end + 1)
}

/**
 * The handles that the entries of an index block hold. An entry: length shared with the key before, length of the rest, length of the
 * value, as varints; rest of the key; value. At the end: restart offsets, u32 each, and their number.
 */
function blockHandles(block: Buffer, compression: number | undefined): Handle[] | undefined {
  // the store writes none compressed; one that is was not written by it
  if (compression !== 0 || block.length < 4) return undefined
  const end = block.length - 4 - 4 * block.readUInt32LE(block.length - 4)
  if (end < 0) return undefined
  const reader = new Reader(block, 0, end)
  const handles: Handle[] = []
  while (!reader.done) {
    reader.varint()
    const rest = reader.varint()
    const size = reader.varint()
    if (rest === undefined || size === undefined) return undefined
    reader.skip(rest)
    const handle = reader.handle()
    if (handle === undefined) return undefined
    handles.push(handle)
  }
  return handles
}

class Reader {
  readonly #bytes: Buffer
  #at: number
  readonly #end: number

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
  }

  get done(): boolean {
    return this.#at >= this.#end
  }

  skip(bytes: number): void {
    this.#at += bytes
  }

  /** Seven bits a byte, lowest first; undefined when cut off or beyond a safe integer. */
  varint(): number | undefined {
    let value = 0
    for (let scale = 1; this.#at < this.#end && scale <= 2 ** 42; scale *= 128) {
      const byte = this.#bytes.readUInt8(this.#at++)
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    return undefined
  }

  handle(): Handle | undefined {
    const offset = this.varint()
    const size = this.varint()
    return offset === undefined || size === undefined ? undefined : { offset, size }
  }
}
