/** Garbage collection of one repository: everything reachable in one pack, the rest dropped. Nobody may be staging objects for it meanwhile. */
import { gitOutput } from './git-process.ts'
import type { ObjectReader } from './object-reader.ts'
import { bytesBelow } from './repository-files.ts'

const WALL_MS = 600_000

export async function collectGarbage(
  path: string,
  reader: ObjectReader,
): Promise<{ bytesBefore: number; bytesAfter: number }> {
  const bytesBefore = await bytesBelow(`${path}/objects`)
  await reader.drop(path)
  const limits = { wallMs: WALL_MS }
  // without -l and with no alternates: what is reachable is here; unreachable objects are not kept
  await gitOutput({ args: ['repack', '-a', '-d', '-q'], repository: path, foreign: false, limits })
  await gitOutput({ args: ['prune', '--expire=now'], repository: path, foreign: false, limits })
  await reader.drop(path)
  return { bytesBefore, bytesAfter: await bytesBelow(`${path}/objects`) }
}
