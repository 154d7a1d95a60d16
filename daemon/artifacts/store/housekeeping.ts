/** What a store does for its repositories in the background, nobody waiting for it: garbage (collector.ts) and folders that are nobody's (stray-folders.ts). */
import { MeshError } from '../../../protocol/errors.ts'
import type { Journal } from '../../journal/journal.ts'
import type { ArtifactEvent, Staging } from './artifact-store.ts'
import type { Catalog } from './catalog.ts'
import { Collector } from './collector.ts'
import { countFiles, isUnreached } from './garbage-signs.ts'
import type { Repositories } from './repositories.ts'
import type { Stagings } from './staging.ts'
import { sweepStrays } from './stray-folders.ts'
import type { Turns } from './turns.ts'

export interface HousekeepingParts {
  readonly root: string
  readonly journal: Journal
  readonly catalog: Catalog
  readonly repositories: Repositories
  readonly stagings: Stagings
  readonly turns: Turns
  /** Path of a prepared repository */
  readonly repository: (id: string) => Promise<string>
  readonly collect: (id: string, signal: AbortSignal) => Promise<unknown>
  readonly onFault: (what: string, error: unknown) => void
  /** Milliseconds since 1970 */
  readonly wallMs: () => number
}

/** After the start, milliseconds. */
const SWEEP_AFTER_MS = 60_000

export class Housekeeping {
  readonly #parts: HousekeepingParts
  readonly #collector: Collector
  readonly #stopping = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #sweeping: Promise<unknown> = Promise.resolve()

  constructor(parts: HousekeepingParts) {
    const { journal, catalog, repositories, stagings, repository, collect, onFault, wallMs } = parts
    this.#parts = parts
    this.#collector = new Collector({
      ...{ journal, collect, onFault, wallMs },
      look: async (id) => (catalog.row(id) === undefined ? undefined : countFiles(repositories.path(id))),
      staged: (id) => stagings.countOf(id),
      isLeft: async (id, tips, signal) => isUnreached(await repository(id), tips, signal),
    })
  }

  start(): void {
    this.#collector.start()
    this.#timer = setTimeout(() => {
      this.#sweeping = this.sweep().catch((error: unknown) =>
        this.#parts.onFault('folders that belong to no artifact stay until the next start', error),
      )
    }, SWEEP_AFTER_MS).unref()
  }

  /** Removes repositories of which the journal knows nothing. @returns how many */
  sweep(pauseMs?: number): Promise<number> {
    const { root, catalog, repositories, stagings, turns } = this.#parts
    const isKnown = (id: string): boolean => catalog.row(id) !== undefined
    // in its turn: one that is being taken just now is known after it, or gone
    const remove = (id: string): Promise<void> =>
      turns.run(id, async () => {
        if (!isKnown(id) && stagings.countOf(id) === 0) await repositories.clear(id)
      })
    const { signal } = this.#stopping
    return sweepStrays({ root, isKnown, remove, signal, ...(pauseMs === undefined ? {} : { pauseMs }) })
  }

  changed(event: ArtifactEvent): void {
    if (event.type !== 'created') this.#collector.changed(event)
  }

  /** A change was refused. Objects that had been taken over before the disk failed are nobody's. */
  failed(id: string, staging: Staging | undefined, error: unknown): void {
    if (staging !== undefined && error instanceof MeshError && error.code === 'E_STORAGE') this.#collector.lost(id)
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#stopping.abort()
    await Promise.all([this.#collector.close(), this.#sweeping])
  }
}
