/**
 * Puts entries of a content stream onto a fresh disk that nobody else writes. Nothing outside of it can be reached: a path is taken apart, and each
 * folder in it must be one that this stream made before as a folder, so no link of the stream is ever walked through and none of the host's.
 */
import { constants } from 'node:fs'
import { lchown, mkdir, open, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../../protocol/errors.ts'
import { CONTENT_FOLDERS } from '../../../../protocol/sandbox/content-header.ts'
import { notTar } from './tar-format.ts'
import type { TarItem } from './tar-reader.ts'

const DEPTH = 256

export class EntryPlacer {
  readonly #root: string
  readonly #uid: number
  readonly #folders = new Set<string>(CONTENT_FOLDERS)
  readonly #others = new Set<string>()

  /** @param root holds the folders `workspace` and `home` @param uid whose everything becomes */
  constructor(root: string, uid: number) {
    this.#root = root
    this.#uid = uid
  }

  /** @throws MeshError E_PROTOCOL for what leads elsewhere, E_DISK when it does not fit */
  async place({ entry, content }: TarItem): Promise<void> {
    const path = this.#check(entry.name)
    const at = join(this.#root, path)
    try {
      if (entry.type === 'folder') await this.#folder(path, at, entry.mode)
      else {
        if (this.#others.has(path) || this.#folders.has(path)) throw notTar('a name comes twice')
        this.#others.add(path)
        if (entry.type === 'symlink') await symlink(entry.target, at)
        else await writeNew(at, entry.mode, entry.modified, content)
      }
      await lchown(at, this.#uid, this.#uid)
    } catch (error) {
      throw placed(error)
    }
  }

  async #folder(path: string, at: string, mode: number): Promise<void> {
    if (this.#others.has(path)) throw notTar('a name comes twice')
    if (this.#folders.has(path)) return
    // Whatever its mode, what it holds must get into it: only root does this.
    await mkdir(at, { mode })
    this.#folders.add(path)
  }

  #check(name: string): string {
    const parts = name.split('/')
    if (
      parts.length > DEPTH ||
      parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0'))
    )
      throw notTar('a path leads elsewhere')
    const parent = parts.slice(0, -1).join('/')
    const top = parts.length === 1 && this.#folders.has(name)
    if (!top && !this.#folders.has(parent)) throw notTar('a path leads through what is no folder of it')
    return parts.join('/')
  }
}

async function writeNew(at: string, mode: number, modified: number, content: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(at, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
  try {
    for await (const part of content) await file.writeFile(part)
    await file.chmod(mode)
    await file.utimes(modified, modified)
  } finally {
    await file.close()
  }
}

function placed(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new MeshError('E_DISK', 'Cannot take the content: it does not fit into the workspace', { cause: error })
  if (code === 'ENAMETOOLONG' || code === 'EINVAL' || code === 'ENOENT' || code === 'EEXIST')
    return notTar('a name cannot be made', error)
  return error
}
