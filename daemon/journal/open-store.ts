/**
 * Opening a store so that nothing is missing in it: who it is, whole tables, an unbroken chain that contains what was acknowledged.
 */
import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { failpoint } from '../failpoint.ts'
import { ChainVerifier } from './chain.ts'
import { gapError, lostError, versionError } from './errors.ts'
import { syncFolder } from '../files/atomic-file.ts'
import { inspectFolder, LevelStore, type StoreOp } from './level-store.ts'
import { createMark, type Mark, readMark } from './mark.ts'
import { asBuffer, CHAIN_START, type ChainPoint, readSequence, writeSequence } from './record.ts'
import { decodeRow, encodeRow } from './row.ts'
import { BASE_KEY, STORE_KEY } from './store-keys.ts'
import { checkTables } from './table-check.ts'

/** Version of the layout of a whole store: keys and formats together */
const STORE_VERSION = 1
const STORE_ID_BYTES = 16

export interface StorePlace {
  /** Folder of the store; nothing else may be kept in it */
  readonly folder: string
  /** File of the mark, outside of `folder` */
  readonly markFile: string
}

export interface OpenedStore {
  readonly store: LevelStore
  readonly mark: Mark
  /** What lies before the oldest kept record */
  readonly base: ChainPoint
  readonly head: ChainPoint
}

/**
 * Opens the store at `place` and verifies it against its mark.
 * @param options.create whether a place without store and mark becomes a new, empty journal
 * @param options.signal ends the verification, with its reason
 * @throws MeshError E_JOURNAL_LOST, E_JOURNAL_GAP, E_JOURNAL_ROLLBACK, E_JOURNAL_VERSION, E_JOURNAL_LOCKED, E_STORAGE
 */
export async function openStore(
  place: StorePlace,
  types: ReadonlySet<string>,
  options: { readonly create: boolean; readonly signal?: AbortSignal | undefined },
): Promise<OpenedStore> {
  const fresh = await isFresh(place, options.create)
  if (fresh) {
    await mkdir(place.folder, { recursive: true, mode: 0o700 })
    await syncFolder(dirname(place.folder))
  }
  const store = await LevelStore.open(place.folder, { create: fresh })
  try {
    // read again: until the store was locked, another process may have moved the mark
    const mark = (await readMark(place.markFile)) ?? (await initialize(store, place.markFile, fresh))
    return { store, mark, ...(await verifyStore(store, mark.storeId, mark, types, options.signal)) }
  } catch (error) {
    await store.close()
    throw error
  }
}

/**
 * Whether there is nothing yet, or only what an interrupted first start left. The mark is written last, before the first append can be
 * acknowledged; so without a mark nothing was ever acknowledged, and with one the store must be there.
 */
async function isFresh(place: StorePlace, create: boolean): Promise<boolean> {
  const mark = await readMark(place.markFile)
  const found = await inspectFolder(place.folder)
  if (mark !== undefined) {
    if (found === 'absent') throw lostError('its folder is missing or empty')
    if (found !== 'store') throw lostError('the file CURRENT, the root of the store, is missing')
    return false
  }
  if (found === 'headless') throw lostError('both its root file and its mark are missing, but records are there')
  if (!create) throw lostError('its mark is missing')
  return true
}

/** Gives a new store its identity and its mark; also finishes a start that was cut short. Refuses a store that holds records. */
async function initialize(store: LevelStore, markFile: string, fresh: boolean): Promise<Mark> {
  for await (const _ of store.blocks(0)) throw lostError('its mark is missing, but the store holds records')
  if (!fresh) throw lostError('its mark is missing')
  const storeId = store.get(STORE_KEY) === undefined ? randomBytes(STORE_ID_BYTES) : readStoreId(store)
  await store.write([identityOp(storeId), baseOp(CHAIN_START)])
  failpoint('journal.init.after-store')
  await mkdir(dirname(markFile), { recursive: true, mode: 0o700 })
  await createMark(markFile, storeId, CHAIN_START)
  const mark = await readMark(markFile)
  if (mark === undefined) throw lostError('its mark vanished')
  return mark
}

/**
 * Checks everything that can be checked without knowing what records mean.
 * @returns where the kept part of the chain begins and ends
 * @throws MeshError as {@link openStore}
 */
export async function verifyStore(
  store: LevelStore,
  storeId: Uint8Array,
  acknowledged: ChainPoint,
  types: ReadonlySet<string>,
  signal?: AbortSignal,
): Promise<{ base: ChainPoint; head: ChainPoint }> {
  if (Buffer.compare(readStoreId(store), storeId) !== 0) throw lostError('another journal stands in its place')
  await checkTables(store.tableFiles(), signal)
  const base = readBase(store)
  const verifier = new ChainVerifier({ base, acknowledged, types })
  for await (const { first, block } of store.blocks(base.sequence + 1)) {
    signal?.throwIfAborted()
    verifier.block(first, block)
  }
  return { base, head: verifier.end() }
}

export function identityOp(storeId: Uint8Array): StoreOp {
  return {
    type: 'put',
    key: STORE_KEY,
    value: encodeRow(STORE_KEY, Buffer.concat([Buffer.from([STORE_VERSION]), storeId])),
  }
}

function readStoreId(store: LevelStore): Uint8Array {
  const row = store.get(STORE_KEY)
  if (row === undefined) throw lostError('the store has no identity, an empty one stands in its place')
  const value = decodeRow(STORE_KEY, row)
  if (value[0] !== STORE_VERSION) throw versionError(`the store has version ${value[0] ?? 'none'}`)
  if (value.length !== 1 + STORE_ID_BYTES) throw gapError('the identity of the store is damaged')
  return value.subarray(1)
}

export function baseOp(base: ChainPoint): StoreOp {
  const value = Buffer.alloc(40)
  writeSequence(value, 0, base.sequence)
  value.set(base.hash, 8)
  return { type: 'put', key: BASE_KEY, value: encodeRow(BASE_KEY, value) }
}

/** @throws MeshError E_JOURNAL_GAP */
function readBase(store: LevelStore): ChainPoint {
  const row = store.get(BASE_KEY)
  if (row === undefined) throw gapError('the store does not know where its records begin')
  const value = asBuffer(decodeRow(BASE_KEY, row))
  const sequence = value.length === 40 ? readSequence(value, 0) : undefined
  if (sequence === undefined) throw gapError('the base of the chain is damaged')
  return { sequence, hash: Uint8Array.from(value.subarray(8)) }
}
