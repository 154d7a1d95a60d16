/**
 * The files of a bare repository, made by hand: the least that Git takes for one.
 *
 *   <root>/<2 characters>/<2 characters>/<id>/   HEAD, config, packed-refs, objects/pack/, refs/; whole-pack, see there
 *   <root>/staging/<random>/                     quarantines; emptied at start
 *
 * All refs stand in `packed-refs`, which is replaced by a rename: whoever reads them sees all moves of a transaction or none. Nothing is synced here but
 * what `syncAll` is asked for: until then the journal can make it again. HEAD and config are compared and replaced when something else changed them.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../protocol/errors.ts'
import { isArtifactId } from '../../../protocol/artifact/genesis.ts'
import { syncFolder } from '../../files/atomic-file.ts'
import { packIndex, type SmallPack } from './pack-file.ts'

export const CONFIG = '[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n'
/** Folders that would change what Git does, and that no repository of ours has */
const FOREIGN = ['hooks', 'info', 'worktrees', 'modules', 'logs', join('objects', 'info', 'alternates')]

/** @throws MeshError E_BAD_REQUEST for what is no id: no other text ever becomes part of a path */
export function repositoryPath(root: string, id: string): string {
  if (!isArtifactId(id))
    throw new MeshError('E_BAD_REQUEST', 'Cannot find a repository: that is not the id of an artifact')
  return join(root, id.slice(1, 3), id.slice(3, 5), id)
}

export async function makeSkeleton(path: string, defaultBranch: string): Promise<void> {
  await mkdir(join(path, 'objects', 'pack'), { recursive: true, mode: 0o700 })
  await mkdir(join(path, 'refs'), { recursive: true, mode: 0o700 })
  await all([
    ...FOREIGN.map((name) => rm(join(path, name), { recursive: true, force: true })),
    keep(path, 'config', CONFIG),
    keep(path, 'HEAD', `ref: refs/heads/${defaultBranch}\n`),
  ])
}

/** Leaves the file alone when it says that already. */
async function keep(folder: string, name: string, content: string): Promise<void> {
  const found = await readFile(join(folder, name), 'utf8').catch(() => undefined)
  if (found !== content) await replaceFile(folder, name, content)
}

/** Without syncing. */
export async function replaceFile(folder: string, name: string, content: string | Uint8Array): Promise<void> {
  const fresh = join(folder, `tmp_${randomBytes(6).toString('hex')}`)
  try {
    await writeFile(fresh, content, { flag: 'wx', mode: 0o600 })
    await rename(fresh, join(folder, name))
  } catch (error) {
    await rm(fresh, { force: true })
    throw error
  }
}

/** Lets a quarantine see the objects of a repository. */
export async function writeAlternates(path: string, objects: string): Promise<void> {
  await mkdir(join(path, 'objects', 'info'), { recursive: true, mode: 0o700 })
  await writeFile(join(path, 'objects', 'info', 'alternates'), `${objects}\n`, { mode: 0o600 })
}

export function packedRefs(refs: ReadonlyMap<string, string>): string {
  const names = [...refs.keys()].sort()
  return `# pack-refs with: sorted \n${names.map((name) => `${refs.get(name)} ${name}\n`).join('')}`
}

export async function writeRefs(path: string, text: string): Promise<void> {
  await keep(path, 'packed-refs', text)
}

/** Writes a small pack and its index, unless they are there. The index last: with it the pack counts. */
export async function writePack(path: string, pack: SmallPack): Promise<void> {
  const folder = join(path, 'objects', 'pack')
  const index = `${pack.name}.idx`
  const [found, inside] = await Promise.all([sizeOf(join(folder, index)), sizeOf(join(folder, `${pack.name}.pack`))])
  const wanted = packIndex(pack)
  if (inside !== pack.bytes.length) await replaceFile(folder, `${pack.name}.pack`, pack.bytes)
  if (found !== wanted.length) await replaceFile(folder, index, wanted)
}

async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ size }) => size,
    () => undefined,
  )
}

/** Beginning of the names of packs that the journal answers for. Nothing that comes from outside can have such a name: see `isObjectFile`. */
const SMALL = 'pack-small-'

export function small(pack: SmallPack): SmallPack {
  return { ...pack, name: pack.name.replace(/^pack-/, SMALL) }
}

/** When another pack holds what they hold. */
export async function dropSmallPacks(path: string): Promise<void> {
  const folder = join(path, 'objects', 'pack')
  const names = (await readdir(folder)).filter((name) => name.startsWith(SMALL))
  // the index first: a pack without one is not looked at
  for (const name of names.sort()) await rm(join(folder, name), { force: true })
}

/** Makes everything of a repository but other packs survive a loss of power. @param parents also the folders above it, up to the root */
export async function syncRepository(path: string, pack: SmallPack | undefined, parents: boolean): Promise<void> {
  const objects = join(path, 'objects')
  if (pack !== undefined) await syncPack(path, pack)
  const files = parents ? ['packed-refs', 'HEAD', 'config'] : ['packed-refs']
  const folders = parents ? [objects, path, join(path, '..'), join(path, '../..'), join(path, '../../..')] : [path]
  // In no order: they count when all of them are there, and a file system writes them down together
  await all([...files.map((name) => syncFile(join(path, name))), ...folders.map((folder) => syncFolder(folder))])
}

/** Waits for all, also when one fails: nothing goes on behind the caller's back. */
async function all(works: readonly Promise<void>[]): Promise<void> {
  for (const work of await Promise.allSettled(works)) if (work.status === 'rejected') throw work.reason
}

export async function syncPack(path: string, { name }: SmallPack): Promise<void> {
  const folder = join(path, 'objects', 'pack')
  for (const ending of ['pack', 'idx']) await syncFile(join(folder, `${name}.${ending}`))
  await syncFolder(folder)
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

/**
 * Moves what a quarantine holds into the repository, synced: loose objects and packs; for each pack its index last. Objects that are there already stay.
 * @returns bytes that came in
 */
export async function takeObjects(staged: string, path: string): Promise<number> {
  const target = join(path, 'objects')
  const folders = (await readdir(staged)).filter((name) => name === 'pack' || /^[0-9a-f]{2}$/.test(name))
  let bytes = 0
  for (const folder of folders) {
    const names = (await readdir(join(staged, folder))).filter((name) => isObjectFile(folder, name))
    if (names.length === 0) continue
    await mkdir(join(target, folder), { recursive: true, mode: 0o700 })
    const synced = names.map(async (name) => {
      const from = join(staged, folder, name)
      await syncFile(from).catch(syncReadOnly(from))
      return (await sizeOf(from)) ?? 0
    })
    for (const size of await Promise.all(synced)) bytes += size
    for (const name of names.sort(indexLast)) await rename(join(staged, folder, name), join(target, folder, name))
    await syncFolder(join(target, folder))
  }
  if (folders.length > 0) await syncFolder(target)
  return bytes
}

/** Git makes objects read-only; their data can be synced all the same. */
function syncReadOnly(path: string): (error: unknown) => Promise<void> {
  return async (error) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'EACCES')) throw error
    const file = await open(path, 'r')
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }
}

function isObjectFile(folder: string, name: string): boolean {
  if (folder !== 'pack') return /^[0-9a-f]{38}$/.test(name)
  return /^pack-[0-9a-f]{40}\.(pack|idx|rev)$/.test(name)
}

function indexLast(a: string, b: string): number {
  const rank = (name: string): number => (name.endsWith('.idx') ? 1 : 0)
  return rank(a) - rank(b)
}

/** Bytes of all files below; 0 where nothing is. */
export async function bytesBelow(path: string): Promise<number> {
  const entries = await readdir(path, { withFileTypes: true, recursive: true }).catch(() => [])
  let bytes = 0
  for (const entry of entries) if (entry.isFile()) bytes += (await sizeOf(join(entry.parentPath, entry.name))) ?? 0
  return bytes
}
