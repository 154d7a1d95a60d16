/**
 * A file system of its own for each sandbox, in a sparse file: the only bound on bytes and files that holds on every host file system and storage
 * driver. Needs root. Layout of one disk, in a folder that is its owner's alone:
 *
 *   disk.img   ext4, made from a template of its size
 *   mnt/       where it is mounted (mode 0700, and nothing but empty folders below the mount, which are no guest's)
 *     workspace/   what the guest sees as /workspace
 *     home/        what it sees as /home/agent
 *
 * The guest never writes the image itself, only files on it; images never come from elsewhere (content moves between nodes as a stream of files), so
 * the kernel mounts nothing that was made to attack it. ext4's own journal brings a disk back after a crash of the host. Folders are given by paths without
 * symbolic links: whether a disk is mounted is read from the kernel's table.
 */
import { execFile } from 'node:child_process'
import { chmod, chown, mkdir, open, readFile, rename, rm, rmdir, statfs, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { MeshError } from '../../../../protocol/errors.ts'

const run = promisify(execFile)
const TOOL_MS = 60_000

export interface DiskSize {
  readonly bytes: number
  readonly inodes: number
  /** Whose the workspace and home are */
  readonly uid: number
}

export interface DiskPaths {
  readonly workspace: string
  readonly home: string
}

const imageOf = (folder: string): string => join(folder, 'disk.img')
const mountOf = (folder: string): string => join(folder, 'mnt')
/** Holds the folders `workspace` and `home` while the disk is mounted */
export const mountPoint = mountOf

/** Whether this process can make and mount disks: as root with the tools, outside of a user namespace. */
export async function canMakeDisks(): Promise<boolean> {
  if (process.geteuid?.() !== 0) return false
  try {
    const mapped = await readFile('/proc/self/uid_map', 'utf8')
    if (!/^\s*0\s+0\s+4294967295\s*$/.test(mapped)) return false
    await Promise.all([
      run('mkfs.ext4', ['-V'], { timeout: TOOL_MS }),
      open('/dev/loop-control', 'r').then((file) => file.close()),
    ])
    return true
  } catch {
    return false
  }
}

/** Makes the folders below the mount, so that the engine finds them before there is a disk. */
export async function reserveDisk(folder: string): Promise<void> {
  const { workspace, home } = diskPaths(folder)
  for (const path of [workspace, home]) await mkdir(path, { recursive: true, mode: 0o700 })
}

/** Makes an empty disk in `folder` and mounts it. */
export async function makeDisk(folder: string, templates: string, size: DiskSize): Promise<DiskPaths> {
  const template = await diskTemplate(templates, size)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await copySparse(template, imageOf(folder))
  return mountDisk(folder)
}

/** Mounts it unless it is. */
export async function mountDisk(folder: string): Promise<DiskPaths> {
  const at = mountOf(folder)
  if (!(await isMounted(at))) {
    await reserveDisk(folder)
    const options = 'loop,nosuid,nodev,noatime,errors=remount-ro'
    await tool('mount', ['-t', 'ext4', '-o', options, imageOf(folder), at], 'mount a workspace')
  }
  return diskPaths(folder)
}

export function diskPaths(folder: string): DiskPaths {
  return { workspace: join(mountOf(folder), 'workspace'), home: join(mountOf(folder), 'home') }
}

export async function unmountDisk(folder: string): Promise<void> {
  const at = mountOf(folder)
  if (!(await isMounted(at))) return
  // A guest that is just ending may hold it for a moment; lazily then: the mount goes when the last user does.
  await tool('umount', [at], 'unmount a workspace').catch(() => tool('umount', ['-l', at], 'unmount a workspace'))
}

export async function removeDisk(folder: string): Promise<void> {
  await unmountDisk(folder)
  await rm(folder, { recursive: true, force: true })
}

/**
 * Copies a disk's image while its guest is paused: what was written is brought to the image first. The copy is sparse.
 * @returns bytes it takes on the host
 */
export async function copyDisk(from: string, to: string): Promise<number> {
  await mkdir(to, { recursive: true, mode: 0o700 })
  const at = mountOf(from)
  const frozen = (await isMounted(at)) && (await freeze(at))
  try {
    await copySparse(imageOf(from), imageOf(to))
  } finally {
    if (frozen) await tool('fsfreeze', ['-u', at], 'go on after copying a workspace')
  }
  return diskBytes(to)
}

/** Bytes the image takes on the host. */
export async function diskBytes(folder: string): Promise<number> {
  const file = await open(imageOf(folder), 'r')
  try {
    return (await file.stat()).blocks * 512
  } finally {
    await file.close()
  }
}

/** Whether no file fits any more, or hardly a byte: ext4 keeps some blocks back for itself, so the last are never given out. */
export async function isDiskFull(folder: string): Promise<boolean> {
  const { bavail, blocks, ffree } = await statfs(mountOf(folder))
  return ffree === 0 || bavail <= Math.max(blocks / 800, Math.min(256, blocks / 32))
}

/** The image becomes consistent and stays so until it is thawed. */
async function freeze(at: string): Promise<boolean> {
  await tool('fsfreeze', ['-f', at], 'copy a workspace')
  return true
}

/** Made once for each size: an empty, never mounted image takes milliseconds to copy and tens of them to make. */
async function diskTemplate(templates: string, { bytes, inodes, uid }: DiskSize): Promise<string> {
  const path = join(templates, `ext4-${bytes}-${inodes}-${uid}.img`)
  if (await exists(path)) return path
  await mkdir(templates, { recursive: true, mode: 0o700 })
  const fresh = await freshFolder(templates)
  try {
    await formatDisk(fresh, { bytes, inodes, uid })
    await rename(imageOf(fresh), path)
  } finally {
    await removeDisk(fresh)
  }
  return path
}

let made = 0
async function freshFolder(parent: string): Promise<string> {
  const folder = join(parent, `making-${process.pid}-${++made}`)
  await mkdir(folder, { mode: 0o700 })
  return folder
}

async function formatDisk(folder: string, { bytes, inodes, uid }: DiskSize): Promise<void> {
  const image = imageOf(folder)
  const file = await open(image, 'wx', 0o600)
  await file.close()
  // The guest gets what was asked for: what the file system itself needs is added.
  await truncate(image, roundUp(bytes + inodes * 256 + Math.max(bytes >> 6, 8 << 20), 4096))
  const journal = bytes >= 256 << 20 ? ['-J', 'size=8'] : ['-J', 'size=4', '-b', '4096']
  const features = ['-O', '^resize_inode', '-E', 'lazy_itable_init=1,lazy_journal_init=1,nodiscard']
  await tool(
    'mkfs.ext4',
    ['-q', '-F', '-m', '0', '-N', `${inodes}`, ...journal, ...features, image],
    'make a workspace',
  )
  const paths = await mountDisk(folder)
  await rmdir(join(mountOf(folder), 'lost+found'))
  for (const path of [paths.workspace, paths.home]) {
    await mkdir(path)
    await chmod(path, 0o755)
    await chown(path, uid, uid)
  }
  await unmountDisk(folder)
}

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step

async function copySparse(from: string, to: string): Promise<void> {
  await tool('cp', ['--sparse=always', '--reflink=auto', from, to], 'copy a workspace')
}

/** @param path without links */
async function isMounted(path: string): Promise<boolean> {
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  // proc(5): these four are written as a backslash and three octal digits
  const escaped = path.replace(/[ \t\n\\]/g, (one) => `\\${one.charCodeAt(0).toString(8).padStart(3, '0')}`)
  return table.includes(` ${escaped} `)
}

async function exists(path: string): Promise<boolean> {
  return open(path, 'r').then(
    (file) => file.close().then(() => true),
    () => false,
  )
}

async function tool(name: string, args: readonly string[], action: string): Promise<void> {
  try {
    await run(name, [...args], { timeout: TOOL_MS })
  } catch (error) {
    throw new MeshError('E_ENGINE', `Cannot ${action}: ${name} failed`, {
      cause: error,
      hint: 'See the log of the daemon; the disk may be full, or no loop device be left',
    })
  }
}
