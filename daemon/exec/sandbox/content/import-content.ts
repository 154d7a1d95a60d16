/** Makes a sandbox of a content stream. */
import { createReadStream, createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { MeshError } from '../../../../protocol/errors.ts'
import {
  CONTENT_HEADER,
  CONTENT_HEADER_BYTES,
  CONTENT_ROOT,
  type ContentHeader,
  decodeContentHeader,
} from '../../../../protocol/sandbox/content-header.ts'
import { type ContainerHost, guestUid, newId } from '../container-host.ts'
import { SANDBOX_BOUNDS } from '../limits.ts'
import type { Recipe } from '../recipe.ts'
import type { SandboxSpec } from '../sandbox.ts'
import type { Prepared } from '../warm-pool.ts'
import { mountPoint } from '../workspace/loop-disk.ts'
import { EntryPlacer } from './place-entries.ts'
import { applyRootChanges } from './root-changes.ts'
import { notTar } from './tar-format.ts'
import { readTar, type TarItem } from './tar-reader.ts'

export interface OpenContent {
  readonly header: ContentHeader
  /** What to ask for to get the same again, but for its owner */
  readonly spec: Omit<SandboxSpec, 'owner'>
  readonly items: AsyncIterator<TarItem>
  close(): Promise<void>
}

/** Reads its description; content follows in `items`. @throws MeshError E_PROTOCOL */
export async function openContent(stream: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<OpenContent> {
  const bounds = { entries: SANDBOX_BOUNDS.contentEntries, bytes: 2 * SANDBOX_BOUNDS.imageBytes }
  const items = readTar(heeding(stream, signal), bounds)
  try {
    const first = await items.next()
    if (first.done === true || first.value.entry.name !== CONTENT_HEADER || first.value.entry.type !== 'file')
      throw notTar('it does not begin with a description')
    if (first.value.entry.bytes > CONTENT_HEADER_BYTES) throw notTar('its description is too long')
    const parts: Uint8Array[] = []
    for await (const part of first.value.content) parts.push(part)
    const header = decodeContentHeader(Buffer.concat(parts))
    const { image, name, profile, grade, limits, env, sleepAfterMs } = header
    const spec = {
      image: image.digest,
      profile,
      grade,
      limits,
      env,
      sleepAfterMs,
      ...(name === undefined ? {} : { name }),
    }
    return { header, spec, items, close: async () => void (await items.return()) }
  } catch (error) {
    await items.return()
    throw error
  }
}

/** @throws MeshError E_PROTOCOL, E_DISK, E_GUEST_FEATURE, and as `ContainerHost.prepare` */
export async function fillFromStream(content: OpenContent, recipe: Recipe, host: ContainerHost): Promise<Prepared> {
  if (recipe.workspace !== 'loop')
    throw new MeshError('E_GUEST_FEATURE', 'Cannot take the sandbox: this node keeps workspaces in memory alone')
  const id = newId()
  // In the folder of its disks, with which it goes whatever happens
  const rootFile = `${host.diskOf({ id, disk: 'd1' })}.tar`
  let hasRoot = false
  const fill = async (disk: string): Promise<void> => {
    const uid = guestUid(recipe)
    await host.emptyDisks.make(disk, { bytes: recipe.limits.diskBytes, inodes: recipe.limits.inodes, uid })
    const placer = new EntryPlacer(mountPoint(disk), uid)
    for (let next = await content.items.next(); next.done !== true; next = await content.items.next()) {
      const item = next.value
      if (item.entry.name !== CONTENT_ROOT) await placer.place(item)
      else {
        if (recipe.profile !== 'build' || hasRoot || item.entry.type !== 'file')
          throw notTar('a root it should not have')
        if (item.entry.bytes > recipe.limits.rootBytes) throw notTar('a root that is larger than its limit')
        hasRoot = true
        await pipeline(
          Readable.from(item.content, { objectMode: false }),
          createWriteStream(rootFile, { flags: 'wx', mode: 0o600 }),
        )
      }
    }
  }
  const filled = host.making.begin(id)
  try {
    const prepared = await host.prepare(recipe, { id, fill })
    if (!hasRoot && content.header.removed.length === 0) return prepared
    try {
      const changes = hasRoot ? createReadStream(rootFile) : undefined
      await applyRootChanges(prepared.awake.guest, changes, content.header.removed)
      return prepared
    } catch (error) {
      prepared.awake.guest.close()
      await host.discard(prepared.made)
      throw error
    }
  } finally {
    await rm(rootFile, { force: true })
    filled()
  }
}

async function* heeding(
  stream: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void> {
  for await (const part of stream) {
    if (signal?.aborted) throw new MeshError('E_CANCELED', 'Cannot take the sandbox: it was canceled')
    yield part
  }
}
