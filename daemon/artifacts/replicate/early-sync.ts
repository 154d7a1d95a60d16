/**
 * Has the system write a large pack to disk while the rest of it comes, so that syncing it in the end finds little left to do. It promises nothing and its failures
 * are nobody's: the store syncs what it takes (`takeObjects`).
 */
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** Synced after so many bytes more. */
const EVERY_BYTES = 16 << 20
/** What `index-pack` writes a pack to until it is whole */
const UNFINISHED = 'tmp_pack_'

export class EarlySync {
  readonly #folder: string
  readonly #syncFile: (path: string) => Promise<void>
  #passed = 0
  #syncing: Promise<void> | undefined

  /** @param objects object folder that a pack is written to */
  constructor(objects: string, syncFile = syncData) {
    this.#folder = join(objects, 'pack')
    this.#syncFile = syncFile
  }

  /** So many bytes more were given to Git. One sync at a time: where the disk is slower than the network they are fewer. */
  passed(bytes: number): void {
    this.#passed += bytes
    if (this.#passed < EVERY_BYTES || this.#syncing !== undefined) return
    this.#passed = 0
    this.#syncing = this.#sync()
      .catch(() => undefined)
      .finally(() => {
        this.#syncing = undefined
      })
  }

  async #sync(): Promise<void> {
    const name = (await readdir(this.#folder)).find((each) => each.startsWith(UNFINISHED))
    if (name !== undefined) await this.#syncFile(join(this.#folder, name))
  }
}

async function syncData(path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    await file.datasync()
  } finally {
    await file.close()
  }
}
