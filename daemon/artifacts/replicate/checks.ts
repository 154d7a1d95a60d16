/**
 * Comparing with a peer what both hold: a digest for each artifact, a thousand in one request, details only of those that differ. Done on every new link and from time
 * to time, it finds whatever a lost message, a crash or a partition left behind; the asker does it for what it believes the peer holds, and both sides ask.
 */
import { type Holding, openHolding } from '../../../protocol/artifact/holding.ts'
import {
  ARTIFACT_METHODS,
  CHECK_ITEMS,
  checkAnswer,
  checkRequest,
  decodeMessage,
  encodeMessage,
} from '../../../protocol/artifact/replication-messages.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import type { MeshNet } from '../../net/mesh-net.ts'
import type { HoldingBook } from './holding-book.ts'
import type { HeldArtifacts } from './held.ts'

export interface CheckOptions {
  readonly net: MeshNet
  readonly book: HoldingBook
  readonly held: HeldArtifacts
  /** The peer holds something else than this node */
  readonly onDiffers: (holding: Holding, text: string) => void
  readonly onAbsent: (artifact: string, peer: string) => void
}

/** Holdings in one answer, bytes. */
const ANSWER_BYTES = LIMITS.frameBytes / 2

export class Checks {
  readonly #options: CheckOptions

  constructor(options: CheckOptions) {
    this.#options = options
  }

  attach(): void {
    const { net } = this.#options
    net.handle(ARTIFACT_METHODS.check, (body, { peer }) => this.#answer(body, peer))
  }

  /** Compares everything the peer is believed to hold. @returns how many were compared. @throws MeshError E_UNREACHABLE, E_TIMEOUT, E_PROTOCOL */
  async check(peer: string, signal: AbortSignal): Promise<number> {
    const { book } = this.#options
    let compared = 0
    for (let after: string | undefined; ; ) {
      const ids = await book.sharedWith(peer, after, CHECK_ITEMS)
      if (ids.length === 0) return compared
      await this.checkThese(peer, ids, signal)
      compared += ids.length
      after = ids.at(-1)
    }
  }

  /** The same for some. At most `CHECK_ITEMS`. */
  async checkThese(peer: string, ids: readonly string[], signal: AbortSignal): Promise<void> {
    const { net, held, onDiffers, onAbsent } = this.#options
    const items = ids.flatMap((id) => {
      const digest = held.digestFor(id, peer)
      return digest === undefined ? [] : [[id, digest] as const]
    })
    if (items.length === 0) return
    const bytes = await net.request(peer, ARTIFACT_METHODS.check, encodeMessage({ items }), { signal })
    const { differ, absent } = decodeMessage(checkAnswer, bytes, 'an answer to a check')
    const asked = new Set(items.map(([id]) => id))
    for (const text of differ) {
      const holding = openHolding(text)
      if (holding.holder === peer && asked.has(holding.artifact)) onDiffers(holding, text)
    }
    for (const index of absent) {
      const id = items[index]?.[0]
      if (id !== undefined) onAbsent(id, peer)
    }
  }

  /** What is not here and what is not for the peer are answered alike. */
  #answer(body: Uint8Array, peer: string): Uint8Array {
    const { held, book } = this.#options
    const { items } = decodeMessage(checkRequest, body, 'a check')
    const differ: string[] = []
    const absent: number[] = []
    let bytes = 0
    for (const [index, [id, digest]] of items.entries()) {
      const own = held.digestFor(id, peer)
      if (own === undefined) absent.push(index)
      // Also when the peer was not known to hold it: it then tells what it holds
      else if (bytes < ANSWER_BYTES && (own !== digest || !book.knows(id, peer))) {
        const text = held.holding(id)
        bytes += text.length
        differ.push(text)
      }
    }
    return encodeMessage({ differ, absent })
  }
}
