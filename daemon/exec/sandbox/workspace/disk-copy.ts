/** Copies of disks. Sparse, and without a byte copied where the host's file system shares blocks. */
import { mkdir, stat } from 'node:fs/promises'
import { diskTool } from './disk-tool.ts'
import { diskBytes, imageOf, isMounted, mountPoint } from './loop-disk.ts'

/** Time a copy may take: some, and more for each byte the image takes on the host. */
export interface CopyPace {
  readonly restMs: number
  readonly bytesPerMs: number
}

/** Slower than 10 MB/s is taken for a disk that is stuck. */
const SLOWEST: CopyPace = { restMs: 60_000, bytesPerMs: 10_000 }

/**
 * Copies a disk's image while its guest is paused: what was written is brought to the image first.
 * @returns bytes it takes on the host @throws MeshError E_ENGINE
 */
export async function copyDisk(from: string, to: string, pace: CopyPace = SLOWEST): Promise<number> {
  await mkdir(to, { recursive: true, mode: 0o700 })
  const at = mountPoint(from)
  const copy = (): Promise<void> => copyImage(imageOf(from), imageOf(to), pace)
  if (await isMounted(at)) await frozen(at, copy)
  else await copy()
  return diskBytes(to)
}

export async function copyImage(from: string, to: string, { restMs, bytesPerMs }: CopyPace = SLOWEST): Promise<void> {
  const { blocks } = await stat(from)
  const withinMs = restMs + Math.ceil((blocks * 512) / bytesPerMs)
  await diskTool('cp', ['--sparse=always', '--reflink=auto', from, to], 'copy a workspace', withinMs)
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
