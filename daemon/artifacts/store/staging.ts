/** Quarantines: where objects from outside are unpacked and checked before they may enter a repository. Bounded in number. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../protocol/errors.ts'
import type { Staging } from './artifact-store.ts'
import { bytesBelow, makeSkeleton, writeAlternates } from './repository-files.ts'

/** Quarantines at once on this node. */
const MAX_STAGED = 128

export class Stagings {
  readonly #newFolder: () => Promise<string>
  readonly #open = new Map<string, number>()
  #count = 0

  constructor(newFolder: () => Promise<string>) {
    this.#newFolder = newFolder
  }

  /** Quarantines that see an artifact's objects now. */
  countOf(id: string): number {
    return this.#open.get(id) ?? 0
  }

  /** @param repository whose objects it sees; undefined: none @throws MeshError E_OVERLOADED */
  async open(id: string, repository: string | undefined, defaultBranch: string): Promise<Staging> {
    if (this.#count >= MAX_STAGED) {
      throw new MeshError('E_OVERLOADED', `Cannot take objects now: ${MAX_STAGED} transfers are under way`, {
        retryAfterMs: 1_000,
      })
    }
    this.#change(id, 1)
    let path: string | undefined
    try {
      path = await this.#newFolder()
      await makeSkeleton(path, defaultBranch)
      if (repository !== undefined) await writeAlternates(path, join(repository, 'objects'))
      return this.#staging(id, path)
    } catch (error) {
      this.#change(id, -1)
      if (path !== undefined) await rm(path, { recursive: true, force: true })
      throw error
    }
  }

  #staging(id: string, path: string): Staging {
    const objects = join(path, 'objects')
    let discarded: Promise<void> | undefined
    const discard = async (): Promise<void> => {
      try {
        await rm(path, { recursive: true, force: true })
      } finally {
        this.#change(id, -1)
      }
    }
    return {
      artifact: id,
      path,
      objects,
      bytes: () => bytesBelow(objects),
      discard: () => (discarded ??= discard()),
    }
  }

  #change(id: string, by: 1 | -1): void {
    this.#count += by
    const count = this.countOf(id) + by
    if (count === 0) this.#open.delete(id)
    else this.#open.set(id, count)
  }
}
