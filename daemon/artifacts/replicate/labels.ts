/**
 * Names the artifacts held here in the mesh's label index, for those who look for one and know no holder. The index is public to the mesh: it names what every member
 * may know of, and nothing else. Nobody must rely on it: connected nodes are asked directly, and a holder it names answers for itself.
 */
import type { MeshNet } from '../../net/mesh-net.ts'
import type { OpenStore } from '../store/journal-store.ts'
import { pause, type Rounds } from './rounds.ts'

export interface LabelsOptions {
  readonly net: Pick<MeshNet, 'provide'>
  readonly store: Pick<OpenStore, 'get'>
  readonly rounds: Pick<Rounds, 'held'>
  readonly signal: AbortSignal
}

/** Artifacts that wait to be named; what is beyond is named after the next start. */
const MAX_WAITING = 10_000
/** After a start there is no haste, and other things to do. */
const PAUSE_MS = 10
/** Until the index is told once more when nobody in it answered, as when the first peer has only just come. */
const AGAIN_MS = 15_000

export class Labels {
  readonly #options: LabelsOptions
  /** Named since the start, or waiting for it */
  readonly #known = new Set<string>()
  readonly #waiting = new Set<string>()
  #hasBegun = false
  #isBusy = false

  constructor(options: LabelsOptions) {
    this.#options = options
  }

  /** Something about it may be new: that it is here, or who may know of it. */
  add(artifact: string): void {
    if (!this.#isPublic(artifact)) return void this.#known.delete(artifact)
    if (this.#known.has(artifact) || this.#waiting.size >= MAX_WAITING) return
    if (this.#known.size >= MAX_WAITING) this.#known.clear()
    this.#known.add(artifact)
    this.#waiting.add(artifact)
    // Before there is a peer nobody would hear of it
    if (this.#hasBegun && !this.#isBusy) void this.#drain()
  }

  /** Names all that is held, since the index forgets nodes that were gone. The first peer is there. */
  async begin(): Promise<void> {
    if (this.#hasBegun) return
    this.#hasBegun = true
    const { rounds, signal } = this.#options
    await rounds.held(async (artifact) => {
      if (!this.#isPublic(artifact)) return
      this.#known.add(artifact)
      if (!(await this.#name(artifact)) && this.#waiting.size < MAX_WAITING) this.#waiting.add(artifact)
      await pause(PAUSE_MS, signal)
    })
    await this.#drain()
  }

  async #drain(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    for (const artifact of this.#waiting) {
      this.#waiting.delete(artifact)
      if (await this.#name(artifact)) continue
      // Behind all others, so that the loop comes to it again
      this.#waiting.add(artifact)
      await pause(AGAIN_MS, this.#options.signal)
    }
    this.#isBusy = false
  }

  /** Looked at again, since it may have become private while it waited. Never rejects. @returns whether nothing is left to do */
  async #name(artifact: string): Promise<boolean> {
    const { net, signal } = this.#options
    if (signal.aborted || !this.#isPublic(artifact)) return true
    return net.provide(labelOf(artifact), signal).then(
      () => true,
      () => signal.aborted,
    )
  }

  #isPublic(artifact: string): boolean {
    return this.#options.store.get(artifact)?.settings.visibility === 'mesh'
  }
}

export function labelOf(artifact: string): string {
  return `artifact/${artifact}`
}
