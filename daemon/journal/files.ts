import { open, readdir, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'

/** Written and removed to see whether a disk takes data again */
const PROBE_NAME = 'probe.tmp'
const PROBE_BYTES = 64 << 10
/** Space that opening a store takes beyond a copy of its log: a new list of files and the ends of the tables */
const OPEN_RESERVE_BYTES = 1 << 20

/**
 * Resolves when the disk of a store takes and syncs data and has room for opening the store, which copies its log into a table.
 * @throws what the system said, or an Error with code ENOSPC
 */
export async function probeDisk(folder: string): Promise<void> {
  const space = await statfs(folder)
  const wanted = (await logBytes(folder)) + OPEN_RESERVE_BYTES
  if (space.bavail * space.bsize < wanted)
    throw Object.assign(new Error('too little space is free'), { code: 'ENOSPC' })
  const path = join(folder, PROBE_NAME)
  try {
    const file = await open(path, 'w', 0o600)
    try {
      await file.writeFile(Buffer.alloc(PROBE_BYTES, 1))
      await file.datasync()
    } finally {
      await file.close()
    }
  } finally {
    await rm(path, { force: true })
  }
}

async function logBytes(folder: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(folder)) {
    if (name.endsWith('.log')) bytes += (await stat(join(folder, name))).size
  }
  return bytes
}
