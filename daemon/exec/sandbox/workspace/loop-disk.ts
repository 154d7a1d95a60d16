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
import { mkdir, open, readFile, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { diskTool } from './disk-tool.ts'

export interface DiskPaths {
  readonly workspace: string
  readonly home: string
}

export const imageOf = (folder: string): string => join(folder, 'disk.img')
/** Holds the folders `workspace` and `home` while the disk is mounted */
export const mountPoint = (folder: string): string => join(folder, 'mnt')

/** Whether this process can make and mount disks: as root with the tools, outside of a user namespace. */
export async function canMakeDisks(): Promise<boolean> {
  if (process.geteuid?.() !== 0) return false
  try {
    const mapped = await readFile('/proc/self/uid_map', 'utf8')
    if (!/^\s*0\s+0\s+4294967295\s*$/.test(mapped)) return false
    await Promise.all([
      diskTool('mkfs.ext4', ['-V'], 'make a workspace'),
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

/** Mounts it unless it is. Either way it can be written after. */
export async function mountDisk(folder: string): Promise<DiskPaths> {
  const at = mountPoint(folder)
  if (await isMounted(at)) await thaw(at)
  else {
    await reserveDisk(folder)
    const options = 'loop,nosuid,nodev,noatime,errors=remount-ro'
    await diskTool('mount', ['-t', 'ext4', '-o', options, imageOf(folder), at], 'mount a workspace')
  }
  return diskPaths(folder)
}

/**
 * Lets a mounted disk go on. A process that is killed while it copies a disk leaves it frozen, and then whoever writes to it, and whoever ends that one,
 * waits for ever.
 */
export async function thawDisk(folder: string): Promise<void> {
  const at = mountPoint(folder)
  if (await isMounted(at)) await thaw(at)
}

/** As a rule it is not frozen, which is told as a failure. */
async function thaw(at: string): Promise<void> {
  await diskTool('fsfreeze', ['-u', at], 'go on with a workspace').catch(() => undefined)
}

export function diskPaths(folder: string): DiskPaths {
  return { workspace: join(mountPoint(folder), 'workspace'), home: join(mountPoint(folder), 'home') }
}

export async function unmountDisk(folder: string): Promise<void> {
  const at = mountPoint(folder)
  if (!(await isMounted(at))) return
  // A guest that is just ending may hold it for a moment; lazily then: the mount goes when the last user does.
  await diskTool('umount', [at], 'unmount a workspace').catch(() =>
    diskTool('umount', ['-l', at], 'unmount a workspace'),
  )
}

export async function removeDisk(folder: string): Promise<void> {
  await unmountDisk(folder)
  await rm(folder, { recursive: true, force: true })
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
  const { bavail, blocks, ffree } = await statfs(mountPoint(folder))
  return ffree === 0 || bavail <= Math.max(blocks / 800, Math.min(256, blocks / 32))
}

/** @param path without links */
export async function isMounted(path: string): Promise<boolean> {
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  // proc(5): these four are written as a backslash and three octal digits
  const escaped = path.replace(/[ \t\n\\]/g, (one) => `\\${one.charCodeAt(0).toString(8).padStart(3, '0')}`)
  return table.includes(` ${escaped} `)
}
