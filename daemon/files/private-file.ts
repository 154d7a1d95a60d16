/**
 * Files and folders that only this user may read or change: tokens, keys, the socket. What others could have touched is refused, not repaired:
 * its content may already be known or replaced. All checks are made on the open file, not on its name, so that nothing can be swapped in between.
 */
import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { type FileHandle, link, lstat, mkdir, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MeshError } from '../../protocol/errors.ts'
import { syncFolder, writeFresh } from './atomic-file.ts'

const OTHERS = 0o077

/**
 * Makes the folder (0700) when there is none; refuses one that is a symbolic link, another user's, or open to others.
 * @throws MeshError E_INSECURE_FILE
 */
export async function ensurePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  const found = await lstat(path)
  if (!found.isDirectory()) throw insecure(path, 'it is not a folder', 'Remove it, or choose another place')
  refuseForeign(path, found, `chmod 700 ${path}`)
}

/**
 * Reads a private file. @returns undefined when there is none
 * @throws MeshError E_INSECURE_FILE when others can read or change it, or it is not a plain file; E_TOO_LARGE
 */
export async function readPrivateFile(path: string, maxBytes: number): Promise<Buffer | undefined> {
  const file = await openNoFollow(path, constants.O_RDONLY)
  if (!file) return undefined
  try {
    const found = await file.stat()
    if (!found.isFile()) throw insecure(path, 'it is not a plain file', 'Remove it')
    refuseForeign(path, found, `chmod 600 ${path}, and replace its content: others may know it`)
    if (found.size > maxBytes)
      throw new MeshError(
        'E_TOO_LARGE',
        `Cannot read ${path}: at most ${maxBytes} bytes are wanted: found ${found.size}`,
      )
    return await file.readFile()
  } finally {
    await file.close()
  }
}

/**
 * Creates a private file that must not exist, synced. It gets its name once it is whole: neither a crash nor another process ever finds a part of a key.
 * @returns false when something of that name exists, a dangling link too
 * @throws the error of the file system
 */
export async function createPrivateFile(path: string, content: string | Uint8Array): Promise<boolean> {
  const fresh = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    await writeFresh(fresh, content)
    // Unlike renaming, this replaces nothing
    await link(fresh, path)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  } finally {
    await rm(fresh, { force: true })
  }
  await syncFolder(dirname(path))
  return true
}

async function openNoFollow(path: string, flags: number): Promise<FileHandle | undefined> {
  try {
    return await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    if (codeOf(error) === 'ELOOP') throw insecure(path, 'it is a symbolic link', 'Remove the link')
    throw error
  }
}

function refuseForeign(path: string, found: Stats, remedy: string): void {
  const uid = process.geteuid?.()
  if (uid !== undefined && found.uid !== uid)
    throw insecure(path, `it belongs to another user (uid ${found.uid})`, 'Remove it, or run the daemon as that user')
  if ((found.mode & OTHERS) !== 0)
    throw insecure(path, `others may use it (mode ${(found.mode & 0o777).toString(8)})`, remedy)
}

function insecure(path: string, why: string, hint: string): MeshError {
  return new MeshError('E_INSECURE_FILE', `Cannot trust ${path}: ${why}`, { hint })
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
