/**
 * Large files of an artifact: <repository>/lfs/<first two hex digits>/<sha256>, made under incoming/ and renamed when they are whole, checked and durable.
 *
 *   lfs          <artifact>/<sha256>   size: the file is here. Written after the file: one that a crash left without a row is not served, and an upload replaces it
 *   lfs-wanted   <artifact>/<sha256>   size: a commit names it and it is not here yet (large-files/); no file has both rows
 *
 * Their bytes count for the quotas of artifact, agent and node like objects.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { link, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { LfsPointer } from '../../../protocol/artifact/lfs-pointer.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { failpoint } from '../../failpoint.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'
import type { DoorStore } from './door-store.ts'
import type { DoorLimits } from './limits.ts'

/** Kinds of record this module appends: the journal must know them. */
export const LFS_RECORDS = ['lfs.stored', 'lfs.wanted', 'lfs.dropped', 'lfs.forgotten'] as const

export type LfsStoreParts = Pick<DoorStore, 'repository' | 'countFiles' | 'room'>

/** An upload that was left behind by a crash */
const STALE_MS = 24 * 3_600_000
const READ_BYTES = 256 << 10

export class LfsStore {
  readonly #store: LfsStoreParts
  readonly #journal: Journal
  readonly #limits: Pick<DoorLimits, 'lfsObjectBytes'>
  /** Bytes under way by artifact: two uploads may not use the same room */
  readonly #promised = new Map<string, number>()
  readonly #listeners = new Set<(artifact: string) => void>()
  /** One is counted at a time: the same file may come twice at once */
  #counting: Promise<unknown> = Promise.resolve()

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

  /** Called when a file has come. @returns ends it */
  on(listener: (artifact: string) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Why an object of this size cannot be taken; undefined when it can. */
  refusal(artifact: string, size: number): MeshError | undefined {
    const { lfsObjectBytes } = this.#limits
    if (size > lfsObjectBytes)
      return new MeshError('E_TOO_LARGE', `Cannot take the file: ${size} bytes, ${lfsObjectBytes} are allowed`)
    const room = this.#store.room(artifact) - (this.#promised.get(artifact) ?? 0)
    if (size > room)
      return new MeshError('E_QUOTA', `Cannot take the file: ${size} bytes, there is room for ${Math.max(0, room)}`)
    return undefined
  }

  /**
   * Reads a file to its end, checks it and keeps it. @param size as announced
   * @throws MeshError E_QUOTA, E_TOO_LARGE, E_SIGNATURE when content and name differ, E_STORAGE, and what `chunks` throws; nothing is kept then
   */
  put(artifact: string, oid: string, size: number, chunks: AsyncIterable<Buffer>): Promise<void> {
    return this.#take(artifact, { oid, size }, (path) => receive(path, oid, size, chunks))
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
   * The file from its beginning. Its end is checked: one that is not what it was is wanted again.
   * @throws MeshError E_NOT_FOUND, E_STORAGE; E_STORAGE from `chunks` at the end of a damaged one
   */
  async read(
    artifact: string,
    oid: string,
  ): Promise<{ readonly size: number; readonly chunks: AsyncIterable<Buffer> }> {
    const size = this.size(artifact, oid)
    if (size === undefined) throw new MeshError('E_NOT_FOUND', 'Cannot send the file: it is not here')
    const path = fileOf(await this.#folder(artifact), oid)
    if ((await stat(path).catch(() => undefined))?.size !== size) throw await this.#damaged(artifact, { oid, size })
    return { size, chunks: this.#chunks(artifact, { oid, size }, path) }
  }

  /** Says that it is needed although nothing may name it yet: a collection leaves it alone for a while. */
  async touch(artifact: string, oid: string): Promise<void> {
    const now = new Date()
    await utimes(fileOf(await this.#folder(artifact), oid), now, now).catch(() => undefined)
  }

  /** Notes files that commits name and that are not here. @param more rows to be written with it @throws MeshError E_STORAGE */
  async want(artifact: string, files: readonly LfsPointer[], more: readonly TableWrite[] = []): Promise<void> {
    const missing = files.filter(({ oid }) => this.size(artifact, oid) === undefined)
    const rows = missing.map(({ oid, size }) => wantedRow(artifact, oid, size))
    if (rows.length + more.length === 0) return
    await this.#journal.append({ type: 'lfs.wanted', body: Buffer.from(artifact), writes: [...rows, ...more] })
  }

  /** Drops files, and wants, that no commit names and that are older than `before` (milliseconds since 1970). */
  async sweep(artifact: string, isNamed: (oid: string) => boolean, before: number): Promise<void> {
    const folder = await this.#folder(artifact)
    for (const which of ['here', 'wanted'] as const) {
      let page = await this.list(artifact, which)
      while (page.length > 0) {
        for (const file of page) {
          if (isNamed(file.oid)) continue
          if (which === 'wanted') await this.#unwant(artifact, file.oid)
          else if (((await stat(fileOf(folder, file.oid)).catch(() => undefined))?.mtimeMs ?? 0) < before)
            await this.#drop(artifact, file, folder)
        }
        page = await this.list(artifact, which, page.at(-1)?.oid)
      }
    }
  }

  async #take(artifact: string, { oid, size }: LfsPointer, make: (path: string) => Promise<void>): Promise<void> {
    const refusal = this.refusal(artifact, size)
    if (refusal !== undefined) throw refusal
    this.#promise(artifact, size)
    const folder = await this.#folder(artifact)
    const incoming = join(folder, 'incoming')
    const path = join(incoming, randomBytes(12).toString('hex'))
    try {
      await mkdir(incoming, { recursive: true })
      await dropStale(incoming)
      await make(path)
      failpoint('lfs.received')
      await mkdir(join(folder, oid.slice(0, 2)), { recursive: true })
      await rename(path, fileOf(folder, oid))
      await syncFolder(join(folder, oid.slice(0, 2)))
      await syncFolder(folder)
      failpoint('lfs.kept')
      await this.#count(artifact, oid, size)
    } finally {
      this.#promise(artifact, -size)
      await rm(path, { force: true })
    }
    for (const listener of this.#listeners) listener(artifact)
  }

  async *#chunks(artifact: string, file: LfsPointer, path: string): AsyncGenerator<Buffer> {
    const hash = createHash('sha256')
    const stream = createReadStream(path, { highWaterMark: READ_BYTES })
    try {
      for await (const chunk of stream) {
        if (!Buffer.isBuffer(chunk)) continue
        hash.update(chunk)
        yield chunk
      }
    } finally {
      stream.destroy()
    }
    if (hash.digest('hex') !== file.oid) throw await this.#damaged(artifact, file)
  }

  /** A damaged file is no file: it is wanted again, from whoever else has it. */
  async #damaged(artifact: string, file: LfsPointer): Promise<MeshError> {
    await this.#drop(artifact, file, await this.#folder(artifact), [wantedRow(artifact, file.oid, file.size)])
    for (const listener of this.#listeners) listener(artifact)
    return new MeshError(
      'E_STORAGE',
      'Cannot send the file: it is damaged here, and is fetched again from another holder',
    )
  }

  /** The row first: a file without one is not served. */
  async #drop(artifact: string, { oid, size }: LfsPointer, folder: string, more: TableWrite[] = []): Promise<void> {
    if (this.size(artifact, oid) === undefined) return
    const writes = [{ table: 'lfs', key: `${artifact}/${oid}` }, ...more]
    const fact = { type: 'lfs.dropped', body: Buffer.from(`${artifact}/${oid}`), writes }
    await this.#store.countFiles(artifact, { bytes: -size, fact })
    await rm(fileOf(folder, oid), { force: true })
  }

  async #unwant(artifact: string, oid: string): Promise<void> {
    const writes = [{ table: 'lfs-wanted', key: `${artifact}/${oid}` }]
    await this.#journal.append({ type: 'lfs.forgotten', body: Buffer.from(`${artifact}/${oid}`), writes })
  }

  async #folder(artifact: string): Promise<string> {
    return join(await this.#store.repository(artifact), 'lfs')
  }

  #promise(artifact: string, bytes: number): void {
    const now = (this.#promised.get(artifact) ?? 0) + bytes
    if (now > 0) this.#promised.set(artifact, now)
    else this.#promised.delete(artifact)
  }

  #count(artifact: string, oid: string, size: number): Promise<void> {
    const key = `${artifact}/${oid}`
    const writes = [
      { table: 'lfs', key, value: Buffer.from(String(size)) },
      { table: 'lfs-wanted', key },
    ]
    const fact = { type: 'lfs.stored', body: Buffer.from(key), writes }
    const next = this.#counting.then(async () => {
      if (this.size(artifact, oid) === undefined) await this.#store.countFiles(artifact, { bytes: size, fact })
    })
    this.#counting = next.catch(() => undefined)
    return next
  }
}

function wantedRow(artifact: string, oid: string, size: number): TableWrite {
  return { table: 'lfs-wanted', key: `${artifact}/${oid}`, value: Buffer.from(String(size)) }
}

async function receive(path: string, oid: string, size: number, chunks: AsyncIterable<Buffer>): Promise<void> {
  const hash = createHash('sha256')
  const file = await open(path, 'wx', 0o600)
  let bytes = 0
  try {
    for await (const chunk of chunks) {
      bytes += chunk.length
      if (bytes > size)
        throw new MeshError('E_TOO_LARGE', `Cannot take the file: more than the ${size} bytes that were announced`)
      hash.update(chunk)
      await file.writeFile(chunk)
    }
    if (bytes !== size || hash.digest('hex') !== oid)
      throw new MeshError('E_SIGNATURE', 'Cannot take the file: its content is not what its name says')
    await file.sync()
  } finally {
    await file.close()
  }
}

async function dropStale(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const found = await stat(path).catch(() => undefined)
    if (found !== undefined && Date.now() - found.mtimeMs > STALE_MS) await rm(path, { force: true })
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function fileOf(folder: string, oid: string): string {
  return join(folder, oid.slice(0, 2), oid)
}

function numberIn(value: Uint8Array | undefined): number | undefined {
  return value === undefined ? undefined : Number(Buffer.from(value).toString('latin1'))
}
