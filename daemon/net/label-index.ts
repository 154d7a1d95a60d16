import { createHash } from 'node:crypto'
import type { ContentRouting } from '@libp2p/interface'
import { MeshError } from '../../protocol/errors.ts'

/** sha2-256 in the multicodec table */
const SHA2_256 = 0x12
/** "raw" in the multicodec table */
const RAW = 0x55
/** Answers of the index for one label: what it says is a hint, so more would not make it better. */
const MAX_PROVIDERS = 64

/** Who offers what, by label, in the mesh's own Kademlia table. Anybody in it may lie: an answer is a peer to ask, nothing more. */
export class LabelIndex {
  readonly #routing: ContentRouting

  constructor(routing: ContentRouting) {
    this.#routing = routing
  }

  async provide(label: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#routing.provide(await labelCid(label), { signal })
    } catch (cause) {
      if (!signal.aborted)
        throw new MeshError('E_UNREACHABLE', 'Announcing a label: no peer of the index answered', { cause })
      throw new MeshError('E_TIMEOUT', 'Announcing a label: the index did not answer in time', { cause })
    }
  }

  /** Ends when the index has said all it knows, at the signal, or when enough were named. */
  async *find(label: string, signal: AbortSignal): AsyncGenerator<string> {
    const named = new Set<string>()
    try {
      for await (const provider of this.#routing.findProviders(await labelCid(label), { signal })) {
        const peer = provider.id.toString()
        if (named.has(peer)) continue
        named.add(peer)
        yield peer
        if (named.size >= MAX_PROVIDERS) return
      }
    } catch {
      // a hint that does not come is no failure
    }
  }
}

async function labelCid(label: string) {
  const [{ CID }, { create }] = await Promise.all([import('multiformats/cid'), import('multiformats/hashes/digest')])
  return CID.createV1(RAW, create(SHA2_256, createHash('sha256').update(`manyhands/label/${label}`).digest()))
}
