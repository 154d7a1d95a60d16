/** Carries out what the state machines decide; every errand ends with an input that says how it went. */
import type { Heads } from '../../../protocol/artifact/heads.ts'
import type { ReplicaEffect, ReplicaInput } from '../../../protocol/artifact/replication.ts'
import { fetchArtifact, type FetchOptions } from './ask-fetch.ts'
import type { Copies } from './copies.ts'
import type { HoldingBook } from './holding-book.ts'
import { Slots } from './slots.ts'
import type { Teller } from './teller.ts'

export interface ErrandsOptions extends FetchOptions {
  readonly book: HoldingBook
  readonly copies: Copies
  readonly teller: Teller
  /** What a peer said it holds */
  readonly theirs: (artifact: string, peer: string) => Heads | undefined
  readonly input: (artifact: string, input: ReplicaInput) => void
  readonly onFetched: (artifact: string, peer: string, records: number) => void
  readonly onFailure: (what: string, error: unknown, facts: Readonly<Record<string, unknown>>) => void
  readonly signal: AbortSignal
}

export class Errands {
  readonly #options: ErrandsOptions
  readonly #fetches = new Slots(6, 3)
  readonly #asks = new Slots(32, 8)

  constructor(options: ErrandsOptions) {
    this.#options = options
  }

  run(artifact: string, { type, peer }: ReplicaEffect): void {
    switch (type) {
      case 'tell':
        return this.#options.teller.tell(peer, artifact)
      case 'fetch':
        return this.#fetches.add(peer, () => this.#fetch(artifact, peer))
      case 'ask':
        return this.#asks.add(peer, () => this.#ask(artifact, peer))
      case 'release':
        return this.#asks.add(peer, () => this.#release(artifact, peer))
    }
  }

  async #fetch(artifact: string, peer: string): Promise<void> {
    const { theirs, signal, input, onFetched } = this.#options
    const ok = await this.#try('fetching an artifact', artifact, peer, async () => {
      const heads = theirs(artifact, peer)
      if (heads === undefined || signal.aborted) return false
      const { taken, frozen } = await fetchArtifact({ peer, artifact, theirs: heads, signal }, this.#options)
      onFetched(artifact, peer, taken)
      // None although there is news: of writers whose records are not taken. Not to be asked again at once.
      return taken + frozen.length > 0
    })
    input(artifact, { type: 'fetched', peer, ok })
  }

  async #ask(artifact: string, peer: string): Promise<void> {
    const { copies, input } = this.#options
    const accepted = await this.#try('asking for a copy', artifact, peer, async () => {
      await copies.ask(peer, artifact)
      return true
    })
    input(artifact, { type: 'asked', peer, accepted })
  }

  async #release(artifact: string, peer: string): Promise<void> {
    const { copies, book, input } = this.#options
    const done = await this.#try('giving a copy up', artifact, peer, async () => {
      await copies.release(peer, artifact)
      await book.forget(artifact, peer)
      return true
    })
    input(artifact, { type: 'released', peer, done })
  }

  async #try(what: string, artifact: string, peer: string, work: () => Promise<boolean>): Promise<boolean> {
    try {
      return await work()
    } catch (error) {
      this.#options.onFailure(what, error, { artifact, peer })
      return false
    }
  }
}
