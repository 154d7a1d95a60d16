/**
 * What large files an artifact's commits name and are not here: searched, counted, collected.
 *
 * `lacks` never says less than is missing: others give up their copies by it. It counts the rows that say "wanted", and says at least one wherever rows may be missing:
 * when what is held is not what was searched last. That is told by the heads and by no event, so it holds from the moment a record is adopted, while Git walks, after a
 * search that failed, and after a start, when nothing was searched. A file that is lost adds one until it is in the count.
 *
 * A search and a collection of one artifact never run at once. Each decides by what is in the repository and writes minutes later: a collection would drop what a search
 * found meanwhile, and since its commits count as searched then, nothing would ever want it again.
 */
import { headsDigest } from '../../../protocol/artifact/heads.ts'
import type { LfsStore } from '../git-door/lfs-store.ts'
import type { ArtifactStore } from '../store/artifact-store.ts'
import { Turns } from '../store/turns.ts'
import { allPointers, pointersBetween } from './pointers.ts'
import type { UseBook } from './use-book.ts'

export interface WantedParts {
  readonly store: ArtifactStore
  readonly files: LfsStore
  readonly book: UseBook
}

interface Count {
  readonly wanted: number
  /** `#losses` when it began */
  readonly losses: number
}

export class Wanted {
  readonly #parts: WantedParts
  readonly #turns = new Turns()
  /** By artifact, the heads whose commits were searched and counted last */
  readonly #searched = new Map<string, string>()
  readonly #counts = new Map<string, Count>()
  /** Files that were lost here since the start */
  readonly #losses = new Map<string, number>()

  constructor(parts: WantedParts) {
    this.#parts = parts
  }

  /** Undefined for an artifact of which no large file was seen. */
  lacks(artifact: string): number | undefined {
    const { store, book } = this.#parts
    if (!book.has(artifact) || store.get(artifact) === undefined) return undefined
    const { wanted, losses } = this.#counts.get(artifact) ?? { wanted: 0, losses: 0 }
    const known = wanted + this.#lossesOf(artifact) - losses
    return this.isSearched(artifact) ? known : Math.max(1, known)
  }

  /** Whether everything that is held now was looked at. @throws MeshError E_NOT_FOUND */
  isSearched(artifact: string): boolean {
    return this.#searched.get(artifact) === headsDigest(this.#parts.store.heads(artifact))
  }

  /** A file that was here is wanted again; its row says so already. */
  lost(artifact: string): void {
    this.#losses.set(artifact, this.#lossesOf(artifact) + 1)
  }

  /**
   * Looks at what was not searched yet. @returns whether more may be wanted now than was asked for
   * @throws MeshError E_TIMEOUT, E_TOO_LARGE, E_GIT_MISSING, E_NOT_FOUND, E_STORAGE; the reason of `signal`
   */
  async search(artifact: string, signal: AbortSignal): Promise<boolean> {
    if (this.isSearched(artifact)) return false
    return this.#turns.run(artifact, () => this.#search(artifact, signal), signal)
  }

  /** Counts what is still wanted. */
  async count(artifact: string): Promise<void> {
    const { files } = this.#parts
    const losses = this.#lossesOf(artifact)
    let wanted = 0
    for (let page = await files.list(artifact, 'wanted'); page.length > 0; ) {
      wanted += page.length
      page = await files.list(artifact, 'wanted', page.at(-1)?.oid)
    }
    this.#counts.set(artifact, { wanted, losses })
  }

  /** Drops what nothing in the repository names; files only when they are older than `keepMs`. @throws as `search` */
  async collect(artifact: string, keepMs: number, signal: AbortSignal): Promise<void> {
    const { store, files, book } = this.#parts
    if (!book.has(artifact)) return
    const collect = async (): Promise<void> => {
      const before = Date.now() - keepMs
      const pointers = await allPointers(await store.repository(artifact), signal)
      const named = new Set(pointers.map(({ oid }) => oid))
      await files.sweep(artifact, (oid) => named.has(oid), before)
      await this.count(artifact)
    }
    await this.#turns.run(artifact, collect, signal)
  }

  forget(artifact: string): void {
    this.#searched.delete(artifact)
    this.#counts.delete(artifact)
    this.#losses.delete(artifact)
  }

  async #search(artifact: string, signal: AbortSignal): Promise<boolean> {
    const { store, files, book } = this.#parts
    const use = book.get(artifact)
    if (use === undefined) return false
    let isMore = !this.#searched.has(artifact)
    // What moves from here on makes other heads
    const heads = headsDigest(store.heads(artifact))
    const tips = tipsOf(store, artifact)
    if (tips.join() !== use.tips.join()) {
      const repository = await store.repository(artifact)
      const named = await pointersBetween(repository, { tips, known: use.tips }, signal)
      if (store.get(artifact) === undefined) return false
      const wanted = await files.want(artifact, named, [book.row(artifact, { ...use, tips })])
      isMore ||= wanted > 0
    }
    await this.count(artifact)
    this.#searched.set(artifact, heads)
    return isMore
  }

  #lossesOf(artifact: string): number {
    return this.#losses.get(artifact) ?? 0
  }
}

function tipsOf(store: ArtifactStore, artifact: string): string[] {
  const views = [null, ...store.heads(artifact).keys()].map((as) => store.refs(artifact, { as }))
  return [...new Set(views.flatMap((refs) => [...refs.values()]))].sort()
}
