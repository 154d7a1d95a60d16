/**
 * The mark: what was acknowledged, written down outside the store, so that a store which lost its end, was emptied or was put back to an older
 * copy is noticed. LevelDB by itself opens all three without a word.
 *
 * File, version 1: 8192 bytes, two slots at offsets 0 and 4096, written in turn, so that a torn write spoils one slot at most and never both.
 * The slots share no sector. Numbers are big-endian.
 *
 *   offset size
 *        0    6  "mhmark"
 *        6    2  format version: 1
 *        8    8  generation: one higher with each write; the sound slot with the higher one holds
 *       16   16  id of the store it belongs to
 *       32    8  sequence: every record up to here was durable before this was written
 *       40   32  hash of that record
 *       72    4  CRC-32 of offsets 0..71
 *
 * Promise: the mark never claims more than is durable in the store, so store behind mark = loss, always. How far it may lag, see level-journal.ts.
 * The file is as large as it will ever be from the start, so writing a mark needs no space on a full disk.
 */
import { constants } from 'node:fs'
import { type FileHandle, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { gapError, versionError } from './errors.ts'
import { syncFolder } from '../files/atomic-file.ts'
import { isMissing } from '../files/is-missing.ts'
import { asBuffer, type ChainPoint, readSequence, writeSequence } from './record.ts'

const MAGIC = 'mhmark'
const MARK_VERSION = 1
const SLOT_BYTES = 4096
const USED_BYTES = 76

export interface Mark extends ChainPoint {
  readonly storeId: Uint8Array
  readonly generation: number
}

type Slot =
  | { readonly kind: 'mark'; readonly mark: Mark }
  | { readonly kind: 'damaged' }
  | { readonly kind: 'newer'; readonly version: number }

export function encodeSlot(mark: Mark): Uint8Array {
  const slot = Buffer.alloc(SLOT_BYTES)
  slot.write(MAGIC, 0, 'latin1')
  slot.writeUInt16BE(MARK_VERSION, 6)
  writeSequence(slot, 8, mark.generation)
  slot.set(mark.storeId, 16)
  writeSequence(slot, 32, mark.sequence)
  slot.set(mark.hash, 40)
  slot.writeUInt32BE(crc32(slot.subarray(0, 72)), 72)
  return slot
}

export function decodeSlot(bytes: Uint8Array): Slot {
  const slot = asBuffer(bytes)
  if (slot.length < USED_BYTES || slot.toString('latin1', 0, 6) !== MAGIC) return { kind: 'damaged' }
  if (crc32(slot.subarray(0, 72)) !== slot.readUInt32BE(72)) return { kind: 'damaged' }
  const version = slot.readUInt16BE(6)
  if (version !== MARK_VERSION) return { kind: 'newer', version }
  const generation = readSequence(slot, 8)
  const sequence = readSequence(slot, 32)
  if (generation === undefined || sequence === undefined) return { kind: 'damaged' }
  return { kind: 'mark', mark: { generation, sequence, storeId: slot.subarray(16, 32), hash: slot.subarray(40, 72) } }
}

/**
 * The mark in the file at `path`; undefined when there is no file.
 * @throws MeshError E_JOURNAL_GAP when neither slot is sound, E_JOURNAL_VERSION
 */
export async function readMark(path: string): Promise<Mark | undefined> {
  const bytes = await readFile(path).catch((error: unknown) => {
    if (isMissing(error)) return undefined
    throw error
  })
  if (bytes === undefined) return undefined
  let best: Mark | undefined
  for (const at of [0, SLOT_BYTES]) {
    const slot = decodeSlot(bytes.subarray(at, at + SLOT_BYTES))
    if (slot.kind === 'newer') throw versionError(`its mark has format version ${slot.version}`)
    if (slot.kind === 'mark' && (best === undefined || slot.mark.generation > best.generation)) best = slot.mark
  }
  if (best === undefined) throw gapError('its mark, which says what was acknowledged, is damaged')
  return best
}

/** Writes the file with both slots, whole or not at all. */
export async function createMark(path: string, storeId: Uint8Array, point: ChainPoint): Promise<void> {
  const draft = `${path}.new`
  await rm(draft, { force: true })
  const file = await open(draft, 'wx', 0o600)
  try {
    const slots = [1, 2].map((generation) => encodeSlot({ ...point, storeId, generation }))
    await file.writeFile(Buffer.concat(slots))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, path)
  await syncFolder(dirname(path))
}

/** Writes marks into an existing file, one at a time. */
export class MarkWriter {
  readonly #file: FileHandle
  readonly #storeId: Uint8Array
  #generation: number

  private constructor(file: FileHandle, storeId: Uint8Array, generation: number) {
    this.#file = file
    this.#storeId = storeId
    this.#generation = generation
  }

  /** O_DSYNC makes each write its own sync: one call instead of two. */
  static async open(path: string, mark: Mark): Promise<MarkWriter> {
    const file = await open(path, constants.O_RDWR | constants.O_DSYNC)
    return new MarkWriter(file, mark.storeId, mark.generation)
  }

  /** Resolves when `point` is on disk. The slot that holds is never the one written. */
  async write(point: ChainPoint): Promise<void> {
    const generation = this.#generation + 1
    const slot = encodeSlot({ ...point, storeId: this.#storeId, generation })
    const { bytesWritten } = await this.#file.write(slot, 0, slot.length, (generation % 2 === 1 ? 0 : 1) * SLOT_BYTES)
    if (bytesWritten !== slot.length) throw Object.assign(new Error('short write of the mark'), { code: 'EIO' })
    this.#generation = generation
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}
