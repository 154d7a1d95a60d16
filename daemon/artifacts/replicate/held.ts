/** What this node holds, as others may see it. */
import type { Stated } from '../../../protocol/artifact/give-up.ts'
import { headsDigest, type Heads } from '../../../protocol/artifact/heads.ts'
import { sealHolding } from '../../../protocol/artifact/holding.ts'
import type { ArtifactSettings } from '../../../protocol/artifact/settings.ts'
import { mayKnow } from '../../../protocol/artifact/visibility.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { Signer } from '../../../protocol/signing/signing.ts'
import type { ArtifactStore } from '../store/artifact-store.ts'
import type { HoldingBook } from './holding-book.ts'

export interface HeldOptions {
  readonly store: ArtifactStore
  readonly book: HoldingBook
  readonly signer: Signer
  readonly isMember: (node: string) => boolean
  /** Large files that are not here yet; undefined where there are none at all */
  readonly lacks: (artifact: string) => number | undefined
  /** For display. @default Date.now */
  readonly wallMs?: () => number
}

interface Summary {
  readonly owner: string
  readonly settings: ArtifactSettings
  readonly digest: string
}

/** About half a kilobyte each. The oldest goes first. */
const MAX_SUMMARIES = 16_384

export class HeldArtifacts {
  readonly #options: HeldOptions
  readonly #summaries = new Map<string, Summary>()

  constructor(options: HeldOptions) {
    this.#options = options
  }

  has(artifact: string): boolean {
    return this.#options.store.get(artifact)?.id === artifact
  }

  /** Whether it is held here and the peer may know of it. */
  isFor(artifact: string, peer: string): boolean {
    const { store, isMember } = this.#options
    const view = store.get(artifact)
    return view?.id === artifact && isMember(peer) && mayKnow(peer, view.owner, view.settings)
  }

  /** @throws MeshError E_NOT_FOUND: the one answer for what is not here and what is not for the peer */
  requireFor(artifact: string, peer: string): void {
    if (!this.isFor(artifact, peer)) throw new MeshError('E_NOT_FOUND', 'There is no such artifact here')
  }

  heads(artifact: string): Heads {
    const heads = [...this.#options.store.heads(artifact)]
    return new Map(
      heads.map(([writer, { sequence, digest, frozen }]) => [
        writer,
        { sequence, digest, frozen: frozen !== undefined },
      ]),
    )
  }

  /** Digest of what is held, if the peer may know of it. Remembered until `changed`, since checks ask for the same thousands again and again. */
  digestFor(artifact: string, peer: string): string | undefined {
    const known = this.#summaries.get(artifact) ?? this.#summarise(artifact)
    if (known === undefined || !this.#options.isMember(peer) || !mayKnow(peer, known.owner, known.settings))
      return undefined
    return known.digest
  }

  /** What was remembered of an artifact no longer holds. */
  changed(artifact: string): void {
    this.#summaries.delete(artifact)
  }

  #summarise(artifact: string): Summary | undefined {
    const view = this.#options.store.get(artifact)
    if (view?.id !== artifact) return undefined
    const { owner, settings } = view
    const summary = { owner, settings, digest: headsDigest(this.heads(artifact)) }
    const [oldest] = this.#summaries.size < MAX_SUMMARIES ? [] : this.#summaries.keys()
    if (oldest !== undefined) this.#summaries.delete(oldest)
    this.#summaries.set(artifact, summary)
    return summary
  }

  /** What is here now. */
  stated(artifact: string): Stated {
    const lacks = this.#options.lacks(artifact)
    return { heads: this.heads(artifact), ...(lacks === undefined ? {} : { lacks }) }
  }

  /** The same, signed. */
  holding(artifact: string): string {
    const { signer, book, wallMs = Date.now } = this.#options
    return sealHolding(signer, { artifact, ...this.stated(artifact), placed: book.isPlaced(artifact), at: wallMs() })
  }
}
