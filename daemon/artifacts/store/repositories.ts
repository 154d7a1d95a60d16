/**
 * The repositories on disk, derived from the journal.
 *
 * A transaction's objects become durable in one of two ways. Small ones, made here, stand in the journal as a pack row of the very append that moves the
 * refs: one sync in all, and no file. `prepare` writes them into the repository, unsynced, when somebody is going to look there; `settle` later joins
 * many of them into one synced pack and drops the rows. Staged ones are synced into the repository before the append. Either way, after a crash:
 *
 *   before the append     refs, records and rows are the old ones; what was staged is swept, what reached objects/ is garbage that `collect` drops
 *   after the append      rows say everything; `prepare` writes what is missing again: packs of the rows, and packed-refs from the records
 *   while settling        the joined pack holds what the small ones hold; both may be there, either is enough
 *
 * So the files of a repository are never believed before `prepare` has compared them in this process.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Journal, TableWrite } from '../../journal/journal.ts'
import { failpoint } from '../../failpoint.ts'
import { recordCommit } from '../records/record-commit.ts'
import type { Catalog } from './catalog.ts'
import { EMPTY_TREE, type GitObject } from './git-object.ts'
import type { ObjectReader } from './object-reader.ts'
import { decodePackRow, joinPacks, makePack, type SmallPack } from './pack-file.ts'
import {
  dropSmallPacks,
  makeSkeleton,
  packedRefs,
  repositoryPath,
  small,
  syncRepository,
  writePack,
  writeRefs,
} from './repository-files.ts'
import { type ArtifactRow, encodeRow, pendingKey, TABLES } from './rows.ts'
import { type ArtifactState, defaultBranchOf, physicalRefs } from './state.ts'

/** Repositories known to be as the journal says; beyond it they are just compared again. */
const MAX_PREPARED = 4_096

interface Files {
  /** Number of the newest pack row that is in them */
  readonly packs: number
  /** Something was acknowledged since */
  stale: boolean
}

export class Repositories {
  readonly #root: string
  readonly #journal: Journal
  readonly #catalog: Catalog
  readonly #reader: ObjectReader
  readonly #files = new Map<string, Files>()

  constructor(root: string, journal: Journal, catalog: Catalog, reader: ObjectReader) {
    this.#root = root
    this.#journal = journal
    this.#catalog = catalog
    this.#reader = reader
  }

  path(id: string): string {
    return repositoryPath(this.#root, id)
  }

  isPrepared(id: string): boolean {
    return this.#files.get(id)?.stale === false
  }

  /** Makes the files say what the journal says. In the artifact's turn. */
  async prepare(state: ArtifactState): Promise<string> {
    const { row } = state
    const path = this.path(row.id)
    const files = this.#files.get(row.id)
    if (files !== undefined && !files.stale) return path
    if (files === undefined) await makeSkeleton(path, defaultBranchOf(row))
    const packs = await this.#owed(row, files?.packs ?? -1)
    if (packs.length > 0) await writePack(path, small(joinPacks(packs)))
    await this.#finish(path, state)
    return path
  }

  /** An acknowledged change is not in the files yet. Whoever needs them calls `prepare`; who needs an object finds it in the reader's memory, as a rule. */
  changed({ row }: ArtifactState, objects: readonly GitObject[]): void {
    const files = this.#files.get(row.id)
    if (files !== undefined) files.stale = true
    this.#reader.remember(this.path(row.id), objects)
  }

  /** Joins pack rows into one synced pack and drops them. In the artifact's turn. @returns the state after it */
  async settle(state: ArtifactState): Promise<ArtifactState> {
    const { row } = state
    const path = this.path(row.id)
    if (!this.#files.has(row.id)) await makeSkeleton(path, defaultBranchOf(row))
    const packs = await this.#owed(row, -1)
    const joined = packs.length === 0 ? undefined : joinPacks(packs)
    if (joined !== undefined) await writePack(path, joined)
    await this.#finish(path, state)
    await syncRepository(path, joined, !row.made)
    failpoint('artifact.settle.after-pack')
    const next: ArtifactState = { ...state, row: { ...row, made: true } }
    const drops = await this.pendingWrites(row.id)
    const body = encodeRow({ artifact: row.id, packs: drops.length })
    const writes: TableWrite[] = [
      ...drops,
      { table: TABLES.birth, key: row.id },
      { table: TABLES.artifact, key: row.id, value: encodeRow(next.row) },
    ]
    await this.#journal.append({ type: 'artifact.settled', body, writes })
    this.#catalog.put(next)
    failpoint('artifact.settle.after-append')
    await dropSmallPacks(path)
    return next
  }

  /** Refs last: with them the new objects count. */
  async #finish(path: string, state: ArtifactState): Promise<void> {
    failpoint('artifact.after-pack')
    await writeRefs(path, packedRefs(physicalRefs(state)))
    failpoint('artifact.after-refs')
    if (this.#files.size >= MAX_PREPARED) this.#files.clear()
    this.#files.set(state.row.id, { packs: state.row.packs, stale: false })
  }

  /** Removes the files of an artifact that is gone from the journal. */
  async clear(id: string): Promise<void> {
    this.#files.delete(id)
    await this.#reader.drop(this.path(id))
    await rm(this.path(id), { recursive: true, force: true })
  }

  /** After something else than `apply` changed the files. */
  distrust(id: string): void {
    this.#files.delete(id)
  }

  /** Ids that have pack rows, in order. */
  async unsettled(): Promise<string[]> {
    const ids = new Set<string>()
    for await (const key of this.#keys(TABLES.pending, '')) ids.add(key.slice(0, key.indexOf('/')))
    return [...ids]
  }

  /** Whether it was removed, and something of it is still here. */
  isGone(id: string): boolean {
    return this.#journal.get(TABLES.gone, id) !== undefined
  }

  async gone(): Promise<string[]> {
    const ids: string[] = []
    for await (const key of this.#keys(TABLES.gone, '')) ids.push(key)
    return ids
  }

  /** A new empty folder among the quarantines. */
  async stagingFolder(): Promise<string> {
    const path = join(this.#root, 'staging', randomBytes(12).toString('hex'))
    await mkdir(path, { recursive: true, mode: 0o700 })
    return path
  }

  /** Removes what quarantines a crash left. Before anything is staged. */
  async sweep(): Promise<void> {
    await rm(join(this.#root, 'staging'), { recursive: true, force: true })
  }

  async pendingWrites(id: string): Promise<TableWrite[]> {
    return (await this.#pendingKeys(id)).map((key) => ({ table: TABLES.pending, key }))
  }

  /** Packs that the journal still answers for. @param above those of a higher number; -1: all, and the first record too */
  async #owed({ id }: ArtifactRow, above: number): Promise<SmallPack[]> {
    const packs: SmallPack[] = []
    const birth = above < 0 ? this.#journal.get(TABLES.birth, id) : undefined
    if (birth !== undefined) packs.push(birthPack(Buffer.from(birth).toString('utf8')))
    for (const key of await this.#pendingKeys(id)) {
      const value = key > pendingKey(id, Math.max(0, above)) ? this.#journal.get(TABLES.pending, key) : undefined
      if (value !== undefined) packs.push(decodePackRow(value))
    }
    return packs
  }

  async #pendingKeys(id: string): Promise<string[]> {
    const keys: string[] = []
    for await (const key of this.#keys(TABLES.pending, `${id}/`)) keys.push(key)
    return keys
  }

  async *#keys(table: string, prefix: string): AsyncGenerator<string> {
    for (let after: string | undefined; ; ) {
      const page = await this.#journal.range(table, { prefix, limit: 200, ...(after === undefined ? {} : { after }) })
      for (const { key } of page) yield key
      after = page.at(-1)?.key
      if (page.length < 200) return
    }
  }
}

/** The owner's first record, of an artifact whose repository nobody needed yet. */
export function birthPack(text: string): SmallPack {
  return makePack([EMPTY_TREE, recordCommit(text, null)])
}

export function pendingWrite(id: string, number: number, row: Uint8Array): TableWrite {
  return { table: TABLES.pending, key: pendingKey(id, number), value: row }
}
