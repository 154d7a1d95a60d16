/**
 * Replaces a file so that a reader, or a crash at any moment, sees the old content or the new, never a mixture:
 * write a new file beside it, sync it, rename it over the old one, sync the folder. On failure the new file is removed.
 */
import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

export interface AtomicFileOptions {
  /** Permission bits, whatever the umask. @default 0o600 */
  readonly mode?: number
}

/** Resolves once the content is on disk. @throws the error of the file system */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  options: AtomicFileOptions = {},
): Promise<void> {
  const fresh = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    await writeFresh(fresh, content, options.mode)
    await rename(fresh, path)
  } catch (error) {
    await rm(fresh, { force: true })
    throw error
  }
  await syncFolder(dirname(path))
}

/** Writes a file that must not exist, and syncs it, but not its name. */
export async function writeFresh(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(content)
    await file.chmod(mode)
    await file.sync()
  } catch (error) {
    throw named(error, path)
  } finally {
    await file.close()
  }
}

/** What fails on an open file does not say on which. */
function named(error: unknown, path: string): unknown {
  return error instanceof Error && !('path' in error) ? Object.assign(error, { path }) : error
}

/** Makes names created, renamed or removed in a folder survive a loss of power. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
