/** Tells peers that there are large files here: what is to be told to one is gathered for a moment, and one message to it is under way at a time. */
import { FILES_METHOD, FILES_PER_NOTICE } from '../../../protocol/artifact/file-messages.ts'
import { encodeMessage } from '../../../protocol/artifact/replication-messages.ts'
import type { MeshNet } from '../../net/mesh-net.ts'

const GATHER_MS = 100
/** A peer may serve us later than we serve it, by the time of a hello: pauses grow by this */
const RETRY_MS = 500
const TRIES = 6

export class Notices {
  readonly #net: Pick<MeshNet, 'request'>
  readonly #due = new Map<string, Set<string>>()
  readonly #timers = new Map<string, NodeJS.Timeout>()
  #closed = false

  constructor(net: Pick<MeshNet, 'request'>) {
    this.#net = net
  }

  /** What cannot be told in several tries is told when the peer is linked again. */
  tell(peer: string, artifact: string): void {
    if (this.#closed) return
    this.#due.set(peer, (this.#due.get(peer) ?? new Set()).add(artifact))
    if (!this.#timers.has(peer)) this.#later(peer, 1)
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#timers.values()) clearTimeout(timer)
    this.#due.clear()
  }

  #later(peer: string, attempt: number): void {
    const ms = GATHER_MS + RETRY_MS * (attempt - 1)
    this.#timers.set(peer, setTimeout(() => void this.#drain(peer, attempt), ms).unref())
  }

  /** Never rejects. */
  async #drain(peer: string, attempt: number): Promise<void> {
    const due = this.#due.get(peer) ?? new Set()
    const artifacts = [...due].slice(0, FILES_PER_NOTICE)
    for (const artifact of artifacts) due.delete(artifact)
    let next = 1
    try {
      await this.#net.request(peer, FILES_METHOD, encodeMessage({ artifacts }))
    } catch {
      next = attempt + 1
      for (const artifact of artifacts) due.add(artifact)
    }
    if (!this.#closed && due.size > 0 && next <= TRIES) return this.#later(peer, next)
    this.#due.delete(peer)
    this.#timers.delete(peer)
  }
}
