/** Copies of disks. Sparse, and without a byte copied where the host's file system shares blocks. */
import { mkdir } from 'node:fs/promises'
import { diskTool } from './disk-tool.ts'
import { diskBytes, imageOf, isMounted, mountPoint } from './loop-disk.ts'

/**
 * Copies a disk's image while its guest is paused: what was written is brought to the image first.
 * @returns bytes it takes on the host
 */
export async function copyDisk(from: string, to: string): Promise<number> {
  await mkdir(to, { recursive: true, mode: 0o700 })
  const at = mountPoint(from)
  const frozen = (await isMounted(at)) && (await freeze(at))
  try {
    await copyImage(imageOf(from), imageOf(to))
  } finally {
    if (frozen) await diskTool('fsfreeze', ['-u', at], 'go on after copying a workspace')
  }
  return diskBytes(to)
}

export async function copyImage(from: string, to: string): Promise<void> {
  await diskTool('cp', ['--sparse=always', '--reflink=auto', from, to], 'copy a workspace')
}

/** The image becomes consistent and stays so until it is thawed. */
async function freeze(at: string): Promise<boolean> {
  await diskTool('fsfreeze', ['-f', at], 'copy a workspace')
  return true
}
