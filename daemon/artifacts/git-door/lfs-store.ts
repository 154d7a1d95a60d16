/**
 * Large files of an artifact: which are here, which are wanted, and the room they take. Their bytes count for the quotas of artifact, agent and node like objects.
 *
 *   lfs          <artifact>/<sha256>   size: the file is here. Written after the file (lfs-disk.ts): one that a crash left without a row is not served, and an upload
 *                                      replaces it, or a collection drops it
 *   lfs-wanted   <artifact>/<sha256>   size: a commit names it and it is not here yet (large-files/); no file has both rows
 *
 * A file is put in its place, counted and dropped in its turn, by one at a time: so no file stays that was not counted, and none goes that was counted meanwhile.
 */
import { link, rename, rm, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { LfsPointer } from '../../../protocol/artifact/lfs-pointer.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { failpoint } from '../../failpoint.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'
import { Turns } from '../store/turns.ts'
import { FREE_ROOM } from '../store/usage.ts'
import type { DoorStore } from './door-store.ts'
import { type DiskFile, fileOf, incomingPath, lookAt, moveIn, names, read, receive } from './lfs-disk.ts'
import { type ComingFile, comingFile, discard, isLoss, LfsParts } from './lfs-parts.ts'
import type { DoorLimits } from './limits.ts'

/** Kinds of record this module appends: the journal must know them. */
export const LFS_RECORDS = ['lfs.stored', 'lfs.wanted', 'lfs.dropped', 'lfs.forgotten'] as const

/** A file has come, or one that was here is damaged and wanted again. */
export type LfsChange = 'came' | 'lost'
type Listener = (artifact: string, what: LfsChange) => void

export type LfsStoreParts = Pick<DoorStore, 'repository' | 'countFiles' | 'room' | 'reserve'>

/** A file that another node sends. */
export interface SentFile extends LfsPointer {
  readonly chunks: AsyncIterable<Buffer>
}

/** Rows of one record; the journal takes 2,048. */
const ROWS_AT_ONCE = 1_000

export class LfsStore {
  readonly #store: LfsStoreParts
  readonly #journal: Journal
  readonly #limits: Pick<DoorLimits, 'lfsObjectBytes'>
  readonly #listeners = new Set<Listener>()
  /** By file: the same one may come twice at once */
  readonly #turns = new Turns()
  readonly #parts = new LfsParts()

  constructor(store: LfsStoreParts, journal: Journal, limits: Pick<DoorLimits, 'lfsObjectBytes'>) {
    this.#store = store
    this.#journal = journal
    this.#limits = limits
  }

  /** @returns undefined when it is not here */
  size(artifact: string, oid: string): number | undefined {
    return numberIn(this.#journal.get('lfs', `${artifact}/${oid}`))
  }

  /** Those that are here, or that are wanted, in order. */
  async list(artifact: string, which: 'here' | 'wanted', after?: string, limit = 1_000): Promise<LfsPointer[]> {
    const prefix = `${artifact}/`
    const from = after === undefined ? {} : { after: `${prefix}${after}` }
    const rows = await this.#journal.range(which === 'here' ? 'lfs' : 'lfs-wanted', { prefix, limit, ...from })
    return rows.map(({ key, value }) => ({ oid: key.slice(prefix.length), size: numberIn(value) ?? 0 }))
  }

  /** Called when rows say so. @returns ends it */
  on(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Why an object of this size cannot be taken; undefined when it can. */
  refusal(artifact: string, size: number): MeshError | undefined {
    const { lfsObjectBytes } = this.#limits
    if (size > lfsObjectBytes)
      return new MeshError('E_TOO_LARGE', `Cannot take the file: ${size} bytes, ${lfsObjectBytes} are allowed`)
    if (size > this.#store.room(artifact)) void this.#parts.clear()
    const room = this.#store.room(artifact)
    if (size > room)
      return new MeshError('E_QUOTA', `Cannot take the file: ${size} bytes, there is room for ${room}`, {
        hint: FREE_ROOM,
      })
    return undefined
  }

  /**
   * Reads a file to its end, checks it and keeps it. @param size as announced
   * @throws MeshError E_QUOTA, E_TOO_LARGE, E_SIGNATURE when content and name differ, E_TIMEOUT or E_OVERLOADED when the artifact's turn did not come, E_STORAGE, and
   * what `chunks` throws; nothing is kept then
   */
  put(artifact: string, oid: string, size: number, chunks: AsyncIterable<Buffer>): Promise<void> {
    return this.#take(artifact, { oid, size }, (path) => receive(comingFile(oid, path), size, chunks))
  }

  /** What a sender may go on from: the caller's now, to be handed to `putFrom` or `keepPart`. */
  takePart(artifact: string, sender: string): Promise<ComingFile | undefined> {
    return this.#parts.take(artifact, sender)
  }

  async keepPart(artifact: string, sender: string, part: ComingFile): Promise<void> {
    if (this.size(artifact, part.oid) !== undefined) return discard(part)
    return this.#parts.keep(artifact, sender, part, this.#store.reserve(artifact, part.bytes))
  }

  /** Drops them, at the end. */
  clearParts(): Promise<void> {
    return this.#parts.clear()
  }

  /** As `put`, of a sender that `chunks` may lose: what has come is kept as its part then. @param begun the chunks go on after it */
  async putFrom(sender: string, artifact: string, file: SentFile, begun?: ComingFile): Promise<void> {
    const { oid, size, chunks } = file
    try {
      await this.#take(artifact, { oid, size }, async (path) => {
        if (begun !== undefined) await rename(begun.path, path)
        const coming = { ...(begun ?? comingFile(oid, path)), path }
        await receive(coming, size, chunks).catch(async (error: unknown) => {
          if (isLoss(error) && coming.bytes > 0) await this.#setAside(artifact, sender, coming)
          throw error
        })
      })
    } finally {
      if (begun !== undefined) await discard(begun)
    }
  }

  /** Out of the way of what ends in vain. */
  async #setAside(artifact: string, sender: string, coming: ComingFile): Promise<void> {
    const path = `${coming.path}.part`
    await rename(coming.path, path)
    await this.keepPart(artifact, sender, { ...coming, path })
  }

  /** Keeps for an artifact what another one here has: the same bytes on disk. @throws MeshError as `put`, E_NOT_FOUND */
  async share(artifact: string, oid: string, from: string): Promise<void> {
    const size = this.size(from, oid)
    if (size === undefined) throw new MeshError('E_NOT_FOUND', 'Cannot share the file: it is not here')
    const source = fileOf(await this.#folder(from), oid)
    await this.touch(from, oid)
    await this.#take(artifact, { oid, size }, (path) => link(source, path))
  }

  /**
   * The file. When it is read from its beginning its end is checked: one that is not what it was is wanted again.
   * @param from the first byte that is wanted
   * @throws MeshError E_NOT_FOUND; E_STORAGE when it is damaged or cannot be read, from `chunks` too
   */
  async read(
    artifact: string,
    oid: string,
    from = 0,
  ): Promise<{ readonly size: number; readonly chunks: AsyncIterable<Buffer> }> {
    const size = this.size(artifact, oid)
    if (size === undefined) throw new MeshError('E_NOT_FOUND', 'Cannot send the file: it is not here')
    const file = { oid, size }
    const path = fileOf(await this.#folder(artifact), oid)
    if ((await lookAt(path))?.bytes !== size) throw await this.#damaged(artifact, file, undefined)
    return { size, chunks: read(path, { oid, from }, (found) => this.#damaged(artifact, file, found)) }
  }

  /** Says that it is needed although nothing may name it yet: a collection leaves it alone for a while. */
  async touch(artifact: string, oid: string): Promise<void> {
    const now = new Date()
    await utimes(fileOf(await this.#folder(artifact), oid), now, now).catch(() => undefined)
  }

  /**
   * Notes files that commits name and that are not here. @param more rows to be written with the last of it: few
   * @returns how many those are. @throws MeshError E_STORAGE
   */
  async want(artifact: string, files: readonly LfsPointer[], more: readonly TableWrite[] = []): Promise<number> {
    const missing = files.filter(({ oid }) => this.size(artifact, oid) === undefined)
    for (let at = 0; at === 0 || at < missing.length; at += ROWS_AT_ONCE) {
      const rows = missing.slice(at, at + ROWS_AT_ONCE).map(({ oid, size }) => wantedRow(artifact, oid, size))
      const writes = at + ROWS_AT_ONCE < missing.length ? rows : [...rows, ...more]
      if (writes.length > 0) await this.#journal.append({ type: 'lfs.wanted', body: Buffer.from(artifact), writes })
    }
    return missing.length
  }

  /** Drops files, and wants, that no commit names; files only when they are older than `before` (milliseconds since 1970). Also files that were never counted. */
  async sweep(artifact: string, isNamed: (oid: string) => boolean, before: number): Promise<void> {
    const folder = await this.#folder(artifact)
    for (const which of ['here', 'wanted'] as const) {
      let page = await this.list(artifact, which)
      while (page.length > 0) {
        for (const { oid } of page) {
          if (isNamed(oid)) continue
          if (which === 'wanted') await this.#unwant(artifact, oid)
          else await this.#sweepFile(artifact, oid, folder, before)
        }
        page = await this.list(artifact, which, page.at(-1)?.oid)
      }
    }
    for await (const oid of names(folder))
      if (this.size(artifact, oid) === undefined) await this.#sweepFile(artifact, oid, folder, before)
  }

  async #take(artifact: string, file: LfsPointer, make: (path: string) => Promise<void>): Promise<void> {
    const refusal = this.refusal(artifact, file.size)
    if (refusal !== undefined) throw refusal
    const giveBack = this.#store.reserve(artifact, file.size)
    try {
      const folder = await this.#folder(artifact)
      const path = await incomingPath(folder)
      try {
        await make(path)
        failpoint('lfs.received')
        await this.#inTurn(artifact, file.oid, () => this.#keep(artifact, file, folder, path))
      } finally {
        await rm(path, { force: true })
      }
    } finally {
      giveBack()
    }
    this.#tell(artifact, 'came')
  }

  /** In the file's turn. What cannot be counted does not stay. */
  async #keep(artifact: string, { oid, size }: LfsPointer, folder: string, path: string): Promise<void> {
    const key = `${artifact}/${oid}`
    const writes = [
      { table: 'lfs', key, value: Buffer.from(String(size)) },
      { table: 'lfs-wanted', key },
    ]
    const fact = { type: 'lfs.stored', body: Buffer.from(key), writes }
    try {
      await moveIn(path, folder, oid)
      failpoint('lfs.kept')
      if (this.size(artifact, oid) === undefined) await this.#store.countFiles(artifact, { bytes: size, fact })
    } catch (error) {
      // The first error is the one to tell; what stays is dropped by a collection
      if (this.size(artifact, oid) === undefined) await rm(fileOf(folder, oid), { force: true }).catch(() => undefined)
      throw error
    }
  }

  /** A damaged file is no file: it is wanted again, from whoever else has it. @param read what was read to its end and is still open: a sound one may have replaced it */
  async #damaged(artifact: string, { oid, size }: LfsPointer, read: DiskFile | undefined): Promise<MeshError> {
    const folder = await this.#folder(artifact)
    await this.#inTurn(artifact, oid, async () => {
      const path = fileOf(folder, oid)
      const now = await lookAt(path)
      const isSound = now?.bytes === size && now.inode !== read?.inode
      if (isSound || !(await this.#uncount(artifact, oid, [wantedRow(artifact, oid, size)]))) return
      this.#tell(artifact, 'lost')
      await rm(path, { force: true })
    })
    return new MeshError(
      'E_STORAGE',
      'Cannot send the file: it is damaged here, and is fetched again from another holder',
    )
  }

  async #sweepFile(artifact: string, oid: string, folder: string, before: number): Promise<void> {
    await this.#inTurn(artifact, oid, async () => {
      const changedAt = (await lookAt(fileOf(folder, oid)))?.changedAt ?? 0
      if (changedAt >= before) return
      await this.#uncount(artifact, oid)
      await rm(fileOf(folder, oid), { force: true })
    })
  }

  /** In the file's turn, before the file goes: one without a row is not served. @returns whether there was a row */
  async #uncount(artifact: string, oid: string, more: TableWrite[] = []): Promise<boolean> {
    const size = this.size(artifact, oid)
    if (size === undefined) return false
    const writes = [{ table: 'lfs', key: `${artifact}/${oid}` }, ...more]
    const fact = { type: 'lfs.dropped', body: Buffer.from(`${artifact}/${oid}`), writes }
    await this.#store.countFiles(artifact, { bytes: -size, fact })
    return true
  }

  #tell(artifact: string, what: LfsChange): void {
    for (const listener of this.#listeners) listener(artifact, what)
  }

  #inTurn(artifact: string, oid: string, work: () => Promise<void>): Promise<void> {
    return this.#turns.run(`${artifact}/${oid}`, work)
  }

  async #unwant(artifact: string, oid: string): Promise<void> {
    const writes = [{ table: 'lfs-wanted', key: `${artifact}/${oid}` }]
    await this.#journal.append({ type: 'lfs.forgotten', body: Buffer.from(`${artifact}/${oid}`), writes })
  }

  async #folder(artifact: string): Promise<string> {
    return join(await this.#store.repository(artifact), 'lfs')
  }
}

function wantedRow(artifact: string, oid: string, size: number): TableWrite {
  return { table: 'lfs-wanted', key: `${artifact}/${oid}`, value: Buffer.from(String(size)) }
}

function numberIn(value: Uint8Array | undefined): number | undefined {
  return value === undefined ? undefined : Number(Buffer.from(value).toString('latin1'))
}
