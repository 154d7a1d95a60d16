/** What other nodes say of themselves: that they hold an artifact, or hold it no more. Kept in the book, and told to the machine and to those who wait for copies. */
import { type Holding, openHolding } from '../../../protocol/artifact/holding.ts'
import type { ReplicaInput } from '../../../protocol/artifact/replication.ts'
import {
  ARTIFACT_METHODS,
  decodeMessage,
  encodeMessage,
  holdingsMessage,
} from '../../../protocol/artifact/replication-messages.ts'
import { mayKnow } from '../../../protocol/artifact/visibility.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { MeshNet } from '../../net/mesh-net.ts'
import type { ArtifactStore } from '../store/artifact-store.ts'
import type { Acknowledgements } from './acknowledgements.ts'
import type { HeldArtifacts } from './held.ts'
import type { HoldingBook } from './holding-book.ts'

export interface HearingOptions {
  readonly net: MeshNet
  readonly store: ArtifactStore
  readonly book: HoldingBook
  readonly held: HeldArtifacts
  readonly acknowledgements: Acknowledgements
  readonly input: (artifact: string, input: ReplicaInput) => void
  /** Another node stated that it holds what it says of it */
  readonly onHeld: (artifact: string, peer: string) => void
}

export class Hearing {
  readonly #options: HearingOptions

  constructor(options: HearingOptions) {
    this.#options = options
  }

  attach(): void {
    const { net } = this.#options
    net.handle(ARTIFACT_METHODS.holding, (body, { peer }) => this.#answer(body, peer))
  }

  /** @throws MeshError E_STORAGE */
  async heard(holding: Holding, text: string): Promise<void> {
    const { held, book, acknowledgements, input, onHeld } = this.#options
    const { artifact, holder: peer, heads, placed } = holding
    if (!held.isFor(artifact, peer)) return
    // The holder's word is about its own disk; that it was heard may reach ours meanwhile
    const kept = book.keep(holding, text)
    acknowledgements.heard(holding)
    input(artifact, { type: 'holding', peer, heads, placed })
    onHeld(artifact, peer)
    await kept
  }

  /** The peer holds it no more, or counts no more. */
  async gone(artifact: string, peer: string): Promise<void> {
    await this.#options.book.forget(artifact, peer)
    this.#options.input(artifact, { type: 'gone', peer })
  }

  /** Who may no longer know of it is no holder any more, whatever it keeps. */
  async keepToAudience(artifact: string): Promise<void> {
    const { store, book } = this.#options
    const view = store.get(artifact)
    if (view === undefined) return
    for (const { holding } of await book.of(artifact)) {
      if (!mayKnow(holding.holder, view.owner, view.settings)) await this.gone(artifact, holding.holder)
    }
  }

  async #answer(body: Uint8Array, peer: string): Promise<Uint8Array> {
    const { holdings } = decodeMessage(holdingsMessage, body, 'holdings')
    const unknown: number[] = []
    for (const [index, text] of holdings.entries()) {
      const holding = openHolding(text)
      if (holding.holder !== peer) throw new MeshError('E_PROTOCOL', 'Cannot take a holding: it is of another node')
      if (this.#options.held.isFor(holding.artifact, peer)) await this.heard(holding, text)
      else unknown.push(index)
    }
    return encodeMessage({ unknown })
  }
}
