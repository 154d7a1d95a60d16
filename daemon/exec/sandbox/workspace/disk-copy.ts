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
  if (await isMounted(at)) await frozen(at, () => copyImage(imageOf(from), imageOf(to)))
  else await copyImage(imageOf(from), imageOf(to))
  return diskBytes(to)
}

/** Meanwhile the image is consistent and stays so. */
async function frozen(at: string, job: () => Promise<void>): Promise<void> {
  try {
    await diskTool('fsfreeze', ['-f', at], 'copy a workspace')
  } catch (error) {
    // Ended for its time, it may have frozen it all the same.
    await diskTool('fsfreeze', ['-u', at], 'go on after copying a workspace').catch(() => undefined)
    throw error
  }
  try {
    await job()
  } finally {
    await diskTool('fsfreeze', ['-u', at], 'go on after copying a workspace')
  }
}

export async function copyImage(from: string, to: string): Promise<void> {
  await diskTool('cp', ['--sparse=always', '--reflink=auto', from, to], 'copy a workspace')
}
