/**
 * The one place that touches LevelDB: byte keys, byte values, synced batches, typed errors.
 *
 * What LevelDB would do without a word, and what is done about it here: it makes a new store where files are missing (`create` decides, and
 * the caller decides by the mark), it never checks the checksums of its tables (table-check.ts does), and after one failed write it
 * refuses all later ones although the disk is well again (the owner opens it anew). `repair()` drops what it cannot read and is never called.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type BatchOperation, Level } from 'level'
import { gapError, lockedError, lostError, storageError } from './errors.ts'
import { isMissing } from '../files/is-missing.ts'
import { BLOCKS, blockKey, blockSequence, type KeyRange } from './store-keys.ts'

type Database = Level<Uint8Array, Uint8Array>
export type StoreOp = BatchOperation<Database, Uint8Array, Uint8Array>

/** Blocks read ahead from the store at once, in bytes */
const READ_AHEAD_BYTES = 1 << 20

export class LevelStore {
  readonly #db: Database
  readonly folder: string

  private constructor(db: Database, folder: string) {
    this.#db = db
    this.folder = folder
  }

  /** @throws MeshError E_JOURNAL_LOCKED, E_JOURNAL_LOST, E_JOURNAL_GAP, E_STORAGE */
  static async open(folder: string, options: { readonly create: boolean }): Promise<LevelStore> {
    const db: Database = new Level(folder, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      createIfMissing: options.create,
      compression: false,
    })
    try {
      await db.open()
    } catch (error) {
      throw openError(error)
    }
    return new LevelStore(db, folder)
  }

  /** One atomic batch; resolves when it is on disk. @throws what LevelDB threw; the store is of no use for writing after that */
  async write(ops: StoreOp[]): Promise<void> {
    await this.#db.batch(ops, { sync: true })
  }

  /** @throws MeshError E_JOURNAL_GAP, E_STORAGE */
  get(key: Uint8Array): Uint8Array | undefined {
    try {
      return this.#db.getSync(key)
    } catch (error) {
      throw readError(error)
    }
  }

  /** Entries of a range in order. @throws MeshError E_JOURNAL_GAP, E_STORAGE */
  async *entries(
    range: KeyRange,
    options: { readonly reverse?: boolean; readonly limit?: number } = {},
  ): AsyncGenerator<[Uint8Array, Uint8Array]> {
    try {
      const iterator = this.#db.iterator({ ...range, ...options, highWaterMarkBytes: READ_AHEAD_BYTES })
      try {
        for (;;) {
          const page = await iterator.nextv(1000)
          if (page.length === 0) return
          yield* page
        }
      } finally {
        await iterator.close()
      }
    } catch (error) {
      throw readError(error)
    }
  }

  /** Keys of a range in order. @throws MeshError E_JOURNAL_GAP, E_STORAGE */
  async keys(range: KeyRange, options: { readonly reverse: boolean; readonly limit: number }): Promise<Uint8Array[]> {
    try {
      return await this.#db.keys({ ...range, ...options, highWaterMarkBytes: READ_AHEAD_BYTES }).all()
    } catch (error) {
      throw readError(error)
    }
  }

  /** Blocks from the one that begins at `first`, or the first after it. */
  async *blocks(first: number): AsyncGenerator<{ first: number; block: Uint8Array }> {
    for await (const [key, block] of this.entries({ gte: blockKey(first), lt: BLOCKS.end })) {
      const sequence = blockSequence(key)
      if (sequence === undefined) throw gapError('the key of a block is damaged')
      yield { first: sequence, block }
    }
  }

  /** First sequence of the last block that begins at or before `sequence`; undefined when there is none. */
  async blockAt(sequence: number): Promise<number | undefined> {
    for await (const [key] of this.entries(
      { gte: BLOCKS.first, lt: blockKey(sequence + 1) },
      { reverse: true, limit: 1 },
    )) {
      return blockSequence(key)
    }
    return undefined
  }

  /** Deletes blocks that begin before `sequence`; not atomic, may be repeated. */
  async dropBlocks(sequence: number): Promise<void> {
    await this.#db.clear({ gte: BLOCKS.first, lt: blockKey(sequence) })
  }

  /** Files of the tables that the store consists of now, beside its log. */
  tableFiles(): string[] {
    // the method is there on every system but the browser, which the type of `level` also covers
    const getProperty: unknown = Reflect.get(this.#db, 'getProperty')
    if (typeof getProperty !== 'function') throw new TypeError('Cannot list the tables: the store is not LevelDB')
    const listing = String(Reflect.apply(getProperty, this.#db, ['leveldb.sstables']))
    return [...listing.matchAll(/^ (\d+):\d+\[/gm)].map((match) =>
      join(this.folder, `${(match[1] ?? '').padStart(6, '0')}.ldb`),
    )
  }

  async close(): Promise<void> {
    await this.#db.close()
  }
}

/** What stands in a store's folder, without opening it. `partial`: files that a start cut short leaves, none with records. */
export async function inspectFolder(folder: string): Promise<'absent' | 'partial' | 'store' | 'headless'> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return undefined
    throw error
  })
  if (names === undefined || names.length === 0) return 'absent'
  if (names.includes('CURRENT')) return 'store'
  return names.some((name) => /\.(ldb|log)$/.test(name)) ? 'headless' : 'partial'
}

function openError(error: unknown): Error {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const text = cause instanceof Error ? cause.message : ''
  switch (errorCode(cause)) {
    case 'LEVEL_LOCKED':
      return lockedError(cause)
    case 'LEVEL_CORRUPTION':
      return /non-existent file/.test(text)
        ? lostError('its list of files is missing', cause)
        : gapError('the store finds its own files damaged or missing', undefined, cause)
    case 'LEVEL_IO_ERROR':
      return /No such file/.test(text)
        ? lostError('a file that it must have is missing', cause)
        : storageError('its files cannot be opened', cause)
    default:
      return /does not exist/.test(text)
        ? lostError('its folder holds no store', cause)
        : storageError('its files cannot be opened', cause)
  }
}

function readError(error: unknown): unknown {
  switch (errorCode(error)) {
    case 'LEVEL_CORRUPTION':
      return gapError('the store finds its own files damaged', undefined, error)
    case 'LEVEL_DATABASE_NOT_OPEN':
    case 'LEVEL_ITERATOR_NOT_OPEN':
    case 'LEVEL_IO_ERROR':
      return storageError('it cannot be read now', error)
    default:
      return error
  }
}

function errorCode(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
