/**
 * Large files of an artifact: <repository>/lfs/<first two hex digits>/<sha256>, made under incoming/ and renamed when they are whole, checked and durable.
 * Bytes are counted in the journal: table `lfs`, key <artifact> "/" <sha256>, value: size; table `lfs-use`, key <artifact>, value: their sum. The row is
 * written after the file: one that a crash left without a row is not served, and an upload replaces it.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, type ReadStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../protocol/errors.ts'
import type { Journal } from '../../journal/journal.ts'
import type { DoorStore } from './door-store.ts'
import type { DoorLimits } from './limits.ts'

/** Kinds of record this module appends: the journal must know them. */
export const LFS_RECORDS = ['lfs.stored', 'lfs.forgotten'] as const

const FORGET_AT_ONCE = 500
/** An upload that was left behind by a crash */
const STALE_MS = 24 * 3_600_000

export class LfsStore {
  readonly #store: Pick<DoorStore, 'repository'>
  readonly #journal: Journal
  readonly #limits: DoorLimits
  /** Bytes under way by artifact: two uploads may not use the same room */
  readonly #promised = new Map<string, number>()
  /** One append of sums at a time */
  #counting: Promise<unknown> = Promise.resolve()

  constructor(store: Pick<DoorStore, 'repository'>, journal: Journal, limits: DoorLimits) {
    this.#store = store
    this.#journal = journal
    this.#limits = limits
  }

  /** @returns undefined when it is not here */
  size(artifact: string, oid: string): number | undefined {
    return numberIn(this.#journal.get('lfs', `${artifact}/${oid}`))
  }

  /** Why an object of this size cannot be taken; undefined when it can. */
  refusal(artifact: string, size: number): MeshError | undefined {
    const { lfsObjectBytes, lfsBytes } = this.#limits
    if (size > lfsObjectBytes)
      return new MeshError('E_TOO_LARGE', `Cannot take the file: ${size} bytes, ${lfsObjectBytes} are allowed`)
    const room = lfsBytes - this.#used(artifact) - (this.#promised.get(artifact) ?? 0)
    if (size > room)
      return new MeshError('E_QUOTA', `Cannot take the file: ${size} bytes, there is room for ${Math.max(0, room)}`)
    return undefined
  }

  /**
   * Reads a file to its end, checks it and keeps it. @param size as announced
   * @throws MeshError E_QUOTA, E_TOO_LARGE, E_SIGNATURE when content and name differ, E_STORAGE, and what `chunks` throws; nothing is kept then
   */
  async put(artifact: string, oid: string, size: number, chunks: AsyncIterable<Buffer>): Promise<void> {
    const refusal = this.refusal(artifact, size)
    if (refusal !== undefined) throw refusal
    this.#promise(artifact, size)
    const folder = join(await this.#store.repository(artifact), 'lfs')
    const incoming = join(folder, 'incoming')
    const path = join(incoming, randomBytes(12).toString('hex'))
    try {
      await mkdir(incoming, { recursive: true })
      await dropStale(incoming)
      await receive(path, oid, size, chunks)
      await mkdir(join(folder, oid.slice(0, 2)), { recursive: true })
      await rename(path, fileOf(folder, oid))
      await syncFolder(join(folder, oid.slice(0, 2)))
      await this.#count(artifact, oid, size)
    } finally {
      this.#promise(artifact, -size)
      await rm(path, { force: true })
    }
  }

  /** @throws MeshError E_NOT_FOUND, E_STORAGE */
  async read(artifact: string, oid: string): Promise<{ readonly size: number; readonly stream: ReadStream }> {
    const size = this.size(artifact, oid)
    if (size === undefined) throw new MeshError('E_NOT_FOUND', 'Cannot send the file: it is not here')
    const path = fileOf(join(await this.#store.repository(artifact), 'lfs'), oid)
    if ((await stat(path).catch(() => undefined))?.size !== size)
      throw new MeshError('E_STORAGE', 'Cannot send the file: it is damaged here')
    return { size, stream: createReadStream(path, { highWaterMark: 256 << 10 }) }
  }

  /** Forgets what an artifact had that is removed; its files went with the repository. @throws MeshError E_STORAGE */
  async forget(artifact: string): Promise<void> {
    for (;;) {
      const rows = await this.#journal.range('lfs', { prefix: `${artifact}/`, limit: FORGET_AT_ONCE })
      if (rows.length === 0 && this.#used(artifact) === 0) return
      const writes = [...rows.map(({ key }) => ({ table: 'lfs', key })), { table: 'lfs-use', key: artifact }]
      await this.#journal.append({ type: 'lfs.forgotten', body: Buffer.from(artifact), writes })
    }
  }

  #used(artifact: string): number {
    return numberIn(this.#journal.get('lfs-use', artifact)) ?? 0
  }

  #promise(artifact: string, bytes: number): void {
    const now = (this.#promised.get(artifact) ?? 0) + bytes
    if (now > 0) this.#promised.set(artifact, now)
    else this.#promised.delete(artifact)
  }

  #count(artifact: string, oid: string, size: number): Promise<void> {
    const next = this.#counting.then(async () => {
      // The same file may have come twice at once
      if (this.size(artifact, oid) !== undefined) return
      await this.#journal.append({
        type: 'lfs.stored',
        body: Buffer.from(`${artifact}/${oid}`),
        writes: [
          { table: 'lfs', key: `${artifact}/${oid}`, value: Buffer.from(String(size)) },
          { table: 'lfs-use', key: artifact, value: Buffer.from(String(this.#used(artifact) + size)) },
        ],
      })
    })
    this.#counting = next.catch(() => undefined)
    return next
  }
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
