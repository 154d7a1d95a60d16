/** A sandbox as a content stream: from a copy of its disk, so the sandbox stands still only while that is made. */
import { randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { lstat, mkdir, open, opendir, readlink, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { MeshError } from '../../../../protocol/errors.ts'
import {
  CONTENT_FOLDERS,
  CONTENT_HEADER,
  CONTENT_ROOT,
  type ContentHeader,
  encodeContentHeader,
} from '../../../../protocol/sandbox/content-header.ts'
import type { SandboxRow } from '../../../../protocol/sandbox/row.ts'
import type { ContainerHost } from '../container-host.ts'
import type { EngineLink } from '../engine/engine-link.ts'
import type { LiveSandbox } from '../live-sandbox.ts'
import { copyDisk } from '../workspace/disk-copy.ts'
import { mountDisk, mountPoint, removeDisk } from '../workspace/loop-disk.ts'
import { packRoot, sortChanges } from './root-changes.ts'
import { padding, TAR_END, type TarEntry, tarHeader } from './tar-format.ts'

const PIECE = 256 << 10

/** @throws MeshError E_GUEST_FEATURE, E_ENGINE_LOST */
export async function* exportSandbox(
  source: LiveSandbox,
  host: ContainerHost,
  link: EngineLink,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void> {
  const { row } = source
  if (row.workspace !== 'loop')
    throw new MeshError('E_GUEST_FEATURE', 'Cannot copy the sandbox: its workspace is in memory alone')
  const disk = host.diskOf({ id: row.id, disk: `x${randomBytes(4).toString('hex')}` })
  const rootFile = `${disk}.tar`
  const copied = host.making.begin(row.id)
  try {
    const removed = row.rootQuota === 'read-only' ? [] : await takeRoot(source, link, rootFile)
    await source.still(() => copyDisk(host.diskOf(row), disk))
    await mountDisk(disk)
    yield* described(row, removed)
    if (row.rootQuota !== 'read-only') yield* fileEntry(rootFile, CONTENT_ROOT)
    for (const folder of CONTENT_FOLDERS) yield* tree(join(mountPoint(disk), folder), folder, signal)
    yield TAR_END
  } finally {
    copied()
    await removeDisk(disk)
    await rm(rootFile, { force: true })
  }
}

/** The guest packs what changed; that goes to a file, since an entry's size stands before its content. */
async function takeRoot(source: LiveSandbox, link: EngineLink, file: string): Promise<string[]> {
  const { kept, removed } = sortChanges(await link.client().changes(source.row.container))
  await mkdir(join(file, '..'), { recursive: true, mode: 0o700 })
  const release = await source.use()
  try {
    const packed = bounded(packRoot(await source.guest(), kept), source.row.limits.rootBytes)
    await pipeline(Readable.from(packed, { objectMode: false }), createWriteStream(file, { flags: 'wx', mode: 0o600 }))
  } finally {
    release()
  }
  return removed
}

async function* bounded(parts: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Uint8Array, void> {
  let bytes = 0
  for await (const part of parts) {
    bytes += part.length
    if (bytes > most) throw new MeshError('E_TOO_LARGE', `Cannot copy the sandbox: its root is above ${most} bytes`)
    yield part
  }
}

function* described(row: SandboxRow, removed: string[]): Generator<Uint8Array, void> {
  const { image, name, profile, grade, limits, env, sleepAfterMs } = row
  const about = { version: 1 as const, image, profile, grade, limits, env, sleepAfterMs, removed }
  const header: ContentHeader = name === undefined ? about : { ...about, name }
  const bytes = encodeContentHeader(header)
  yield tarHeader(entryOf(CONTENT_HEADER, 'file', { mode: 0o644, size: bytes.length, mtimeMs: 0 }))
  yield bytes
  yield padding(bytes.length)
}

/**
 * Of a copy that nobody changes, so what is looked at stays what it is; links are taken as links. Files with several names become several files;
 * sockets, pipes and devices are left out.
 */
async function* tree(path: string, name: string, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void> {
  signal?.throwIfAborted()
  const found = await lstat(path)
  if (found.isSymbolicLink())
    yield tarHeader({ ...entryOf(name, 'symlink', { ...found, size: 0 }), target: await readlink(path) })
  else if (found.isFile()) yield* fileEntry(path, name)
  else if (found.isDirectory()) {
    yield tarHeader(entryOf(name, 'folder', { mode: found.mode, mtimeMs: found.mtimeMs, size: 0 }))
    for await (const { name: child } of await opendir(path)) yield* tree(join(path, child), `${name}/${child}`, signal)
  }
}

async function* fileEntry(path: string, name: string): AsyncGenerator<Uint8Array, void> {
  const file = await open(path, 'r')
  try {
    const found = await file.stat()
    yield tarHeader(entryOf(name, 'file', found))
    const content = createReadStream('', { fd: file.fd, autoClose: false, highWaterMark: PIECE, start: 0 })
    yield* content
    yield padding(found.size)
  } finally {
    await file.close()
  }
}

function entryOf(
  name: string,
  type: TarEntry['type'],
  { mode, size, mtimeMs }: { readonly mode: number; readonly size: number; readonly mtimeMs: number },
): TarEntry {
  return { name, type, mode: mode & 0o777, uid: 0, bytes: size, modified: mtimeMs / 1_000, target: '' }
}
