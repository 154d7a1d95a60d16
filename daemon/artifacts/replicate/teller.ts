import {
  ARTIFACT_METHODS,
  decodeMessage,
  encodeMessage,
  HOLDINGS_PER_MESSAGE,
  holdingsAnswer,
} from '../../../protocol/artifact/replication-messages.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import type { MeshNet } from '../../net/mesh-net.ts'

export interface TellerOptions {
  readonly net: MeshNet
  /** What is held now, signed; undefined when it is no longer, or is not for this peer */
  readonly holding: (artifact: string, peer: string) => string | undefined
  readonly onTold: (artifact: string, peer: string, told: 'known' | 'unknown' | 'lost') => void
}

/** Bytes of one message; a frame holds it with room to spare. */
const MESSAGE_BYTES = LIMITS.frameBytes - (64 << 10)

/** Tells peers what is held: at most one message to a peer is under way, and what changes meanwhile goes with the next, once, as it is then. */
export class Teller {
  readonly #options: TellerOptions
  readonly #due = new Map<string, Set<string>>()
  readonly #busy = new Set<string>()

  constructor(options: TellerOptions) {
    this.#options = options
  }

  tell(peer: string, artifact: string): void {
    const due = this.#due.get(peer) ?? new Set()
    this.#due.set(peer, due.add(artifact))
    if (this.#busy.has(peer)) return
    this.#busy.add(peer)
    setImmediate(() => void this.#drain(peer))
  }

  async #drain(peer: string): Promise<void> {
    for (let due = this.#due.get(peer); due !== undefined && due.size > 0; due = this.#due.get(peer)) {
      await this.#send(peer, this.#take(peer, due))
    }
    this.#due.delete(peer)
    this.#busy.delete(peer)
  }

  #take(peer: string, due: Set<string>): [artifact: string, text: string][] {
    const batch: [string, string][] = []
    let bytes = 0
    for (const artifact of due) {
      const text = this.#options.holding(artifact, peer)
      bytes += text?.length ?? 0
      if (batch.length === HOLDINGS_PER_MESSAGE || (bytes > MESSAGE_BYTES && batch.length > 0)) break
      due.delete(artifact)
      if (text !== undefined) batch.push([artifact, text])
    }
    return batch
  }

  async #send(peer: string, batch: readonly [artifact: string, text: string][]): Promise<void> {
    const { net, onTold } = this.#options
    if (batch.length === 0) return
    try {
      const body = encodeMessage({ holdings: batch.map(([, text]) => text) })
      const answer = await net.request(peer, ARTIFACT_METHODS.holding, body)
      const { unknown } = decodeMessage(holdingsAnswer, answer, 'an answer to holdings')
      for (const [index, [artifact]] of batch.entries()) {
        onTold(artifact, peer, unknown.includes(index) ? 'unknown' : 'known')
      }
    } catch {
      for (const [artifact] of batch) onTold(artifact, peer, 'lost')
    }
  }
}
