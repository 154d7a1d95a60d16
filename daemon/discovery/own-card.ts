/** This node's own card: made anew when what it says changes or grows old, with a sequence that grows over restarts. */
import type { ExecutorOffer, SignedCard } from '../../protocol/card/card.ts'
import { cardSequence, isLabel, signCard } from '../../protocol/card/card.ts'
import type { Coordinate } from '../../protocol/card/vivaldi.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { Signer } from '../../protocol/signing/signing.ts'
import type { Journal } from '../journal/journal.ts'

/** What this node can do now. */
export interface Offer {
  readonly executors: readonly ExecutorOffer[]
  /** Capability labels and labels of the node; those of the executors' kinds are added */
  readonly labels: readonly string[]
}

export interface CardFacts {
  readonly meshId: string
  readonly name: string
  readonly ttlMs: number
  readonly version: string
  readonly listEpoch: number
  readonly coordinate: Coordinate
  readonly addresses: readonly string[]
  readonly offer: Offer
}

/** Counts this start of the node durably. Table "node", key "boot": u32 BE. @throws MeshError E_STORAGE */
export async function countBoot(journal: Journal): Promise<number> {
  const row = journal.get('node', 'boot')
  const boot = (row?.length === 4 ? Buffer.from(row).readUInt32BE() : 0) + 1
  const value = Buffer.alloc(4)
  value.writeUInt32BE(boot)
  await journal.append({ type: 'node.boot', body: value, writes: [{ table: 'node', key: 'boot', value }] })
  return boot
}

export class OwnCard {
  readonly #signer: Signer
  readonly #boot: number
  #counter = 0

  /** @param boot from `countBoot` */
  constructor(signer: Signer, boot: number) {
    this.#signer = signer
    this.#boot = boot
  }

  /** @param wallMs for display */
  make(facts: CardFacts, wallMs: number): SignedCard {
    this.#counter++
    const { meshId, name, ttlMs, version, listEpoch, coordinate } = facts
    const { executors } = facts.offer
    const labels = [...new Set([...executors.map(({ kind }) => kind), ...facts.offer.labels])].filter(isLabel)
    return signCard(this.#signer, {
      nodeId: this.#signer.nodeId,
      meshId,
      name,
      sequence: cardSequence(this.#boot, this.#counter),
      ttlMs,
      issuedAtMs: wallMs,
      executors,
      labels: labels.slice(0, LIMITS.labels),
      coordinate,
      addresses: facts.addresses.slice(0, LIMITS.addresses),
      version,
      listEpoch,
    })
  }
}
