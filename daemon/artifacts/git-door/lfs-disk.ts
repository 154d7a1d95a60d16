/** Large files on disk: <folder>/<first two hex digits>/<sha256>, made under <folder>/incoming/. What they are for, and what they count, is in lfs-store.ts. */
import { createHash, randomBytes } from 'node:crypto'
import type { BigIntStats } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { MeshError } from '../../../protocol/errors.ts'
import { syncFolder } from '../../files/atomic-file.ts'
import { isMissing } from '../../files/is-missing.ts'
import type { ComingFile } from './lfs-parts.ts'

/** An upload that was left behind by a crash */
const STALE_MS = 24 * 3_600_000
const READ_BYTES = 256 << 10
const SHARD = /^[0-9a-f]{2}$/

export interface DiskFile {
  readonly bytes: number
  /** Milliseconds since 1970 */
  readonly changedAt: number
  /** Another one at the same path has another, as long as this one is open */
  readonly inode: bigint
}

export function fileOf(folder: string, oid: string): string {
  return join(folder, oid.slice(0, 2), oid)
}

/** Of a file to be made; those that were left there long ago go. */
export async function incomingPath(folder: string): Promise<string> {
  const incoming = join(folder, 'incoming')
  await mkdir(incoming, { recursive: true })
  for (const name of await readdir(incoming)) {
    const path = join(incoming, name)
    const found = await stat(path).catch(() => undefined)
    if (found !== undefined && Date.now() - found.mtimeMs > STALE_MS) await rm(path, { force: true })
  }
  return join(incoming, randomBytes(12).toString('hex'))
}

/** Makes the file, or goes on with it, durably. @throws MeshError E_TOO_LARGE, E_SIGNATURE when content and name differ; what `chunks` throws */
export async function receive(coming: ComingFile, size: number, chunks: AsyncIterable<Buffer>): Promise<void> {
  const file = await open(coming.path, coming.bytes === 0 ? 'wx' : 'a', 0o600)
  try {
    for await (const chunk of chunks) {
      if (coming.bytes + chunk.length > size)
        throw new MeshError('E_TOO_LARGE', `Cannot take the file: more than the ${size} bytes that were announced`)
      await file.writeFile(chunk)
      coming.hash.update(chunk)
      coming.bytes += chunk.length
    }
    if (coming.bytes !== size || coming.hash.digest('hex') !== coming.oid)
      throw new MeshError('E_SIGNATURE', 'Cannot take the file: its content is not what its name says')
    await file.sync()
  } finally {
    await file.close()
  }
}

/** From `incomingPath` to its place, durably. */
export async function moveIn(path: string, folder: string, oid: string): Promise<void> {
  const place = fileOf(folder, oid)
  await mkdir(dirname(place), { recursive: true })
  await rename(path, place)
  await syncFolder(dirname(place))
  await syncFolder(folder)
}

/** @returns undefined only when it is not there. @throws MeshError E_STORAGE when that cannot be told */
export async function lookAt(path: string): Promise<DiskFile | undefined> {
  try {
    return diskFile(await stat(path, { bigint: true }))
  } catch (error) {
    if (isMissing(error)) return undefined
    throw unreadable(error)
  }
}

/**
 * The content, from the byte `from`. Only all of it is checked.
 * @param onDamage called at the end when its hash is another than its name says, the file still open; or when it is not there. What it gives is thrown
 * @throws MeshError E_STORAGE when it cannot be read
 */
export async function* read(
  path: string,
  { oid, from }: { readonly oid: string; readonly from: number },
  onDamage: (found: DiskFile | undefined) => Promise<MeshError>,
): AsyncGenerator<Buffer> {
  const file = await open(path, 'r').catch((error: unknown) => {
    if (isMissing(error)) return undefined
    throw unreadable(error)
  })
  if (file === undefined) throw await onDamage(undefined)
  try {
    const hash = createHash('sha256')
    for await (const chunk of file.createReadStream({ start: from, highWaterMark: READ_BYTES, autoClose: false })) {
      if (!Buffer.isBuffer(chunk)) continue
      hash.update(chunk)
      yield chunk
    }
    if (from === 0 && hash.digest('hex') !== oid) throw await onDamage(diskFile(await file.stat({ bigint: true })))
  } catch (error) {
    throw error instanceof MeshError ? error : unreadable(error)
  } finally {
    await file.close()
  }
}

/** Names of all files in their places, whoever knows them; a shard at a time is held in memory. */
export async function* names(folder: string): AsyncGenerator<string> {
  for (const shard of await entries(folder)) if (SHARD.test(shard)) yield* await entries(join(folder, shard))
}

async function entries(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return []
    throw unreadable(error)
  })
}

function diskFile({ size, mtimeMs, ino }: BigIntStats): DiskFile {
  return { bytes: Number(size), changedAt: Number(mtimeMs), inode: ino }
}

function unreadable(cause: unknown): MeshError {
  return new MeshError('E_STORAGE', 'Cannot read a large file: the disk of this node refuses', { cause })
}
