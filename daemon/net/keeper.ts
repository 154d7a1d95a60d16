import { backoffMs } from './backoff.ts'
import type { WantedPeer } from './mesh-net.ts'
import type { Scheduler } from './scheduler.ts'

const BASE_MS = 300
const MAX_MS = 30_000
/** A peer that does not let us in closes the connection when it is already there for us: only one that lasts this long shows that it does. */
const LASTING_MS = 5_000
/** Dials under way at once: a large mesh must not be dialed in one burst. */
const MAX_DIALS = 8

export interface KeeperInit {
  readonly scheduler: Scheduler
  readonly isConnected: (peer: string) => boolean
  /** Settles when the attempt is over, whatever came of it. */
  readonly dial: (wanted: WantedPeer) => Promise<void>
  readonly random?: () => number
}

/** Stays connected to the wanted peers: dials what is missing, with jittered back-off per peer; a connection that lasted starts it anew. */
export class Keeper {
  readonly #init: KeeperInit
  readonly #wanted = new Map<string, WantedPeer>()
  /** Peers that wait for their next attempt */
  readonly #timers = new Map<string, () => void>()
  readonly #attempts = new Map<string, number>()
  /** Since when a wanted peer that was dialed in vain before is connected */
  readonly #upSince = new Map<string, number>()
  readonly #dialing = new Set<string>()
  #over = false

  constructor(init: KeeperInit) {
    this.#init = init
  }

  keep(peers: readonly WantedPeer[]): void {
    this.#wanted.clear()
    for (const wanted of peers) this.#wanted.set(wanted.peer, wanted)
    for (const peer of this.#timers.keys()) if (!this.#wanted.has(peer)) this.#drop(peer)
    for (const peer of this.#attempts.keys()) if (!this.#wanted.has(peer)) this.#forget(peer)
    this.#dialMissing()
  }

  peerUp(peer: string): void {
    if (this.#attempts.has(peer)) this.#upSince.set(peer, this.#init.scheduler.now())
    this.#drop(peer)
  }

  peerDown(peer: string): void {
    const since = this.#upSince.get(peer)
    if (since !== undefined && this.#init.scheduler.now() - since >= LASTING_MS) this.#forget(peer)
    if (this.#wanted.has(peer)) this.#later(peer)
  }

  stop(): void {
    this.#over = true
    this.#wanted.clear()
    for (const peer of [...this.#timers.keys()]) this.#drop(peer)
  }

  #dialMissing(): void {
    for (const peer of this.#wanted.keys()) {
      if (this.#dialing.size >= MAX_DIALS) return
      const idle = !this.#timers.has(peer) && !this.#dialing.has(peer) && !this.#init.isConnected(peer)
      if (idle) void this.#dial(peer)
    }
  }

  async #dial(peer: string): Promise<void> {
    const wanted = this.#wanted.get(peer)
    if (wanted === undefined) return
    this.#dialing.add(peer)
    await this.#init.dial(wanted)
    this.#dialing.delete(peer)
    if (this.#wanted.has(peer) && !this.#init.isConnected(peer)) this.#later(peer)
    this.#dialMissing()
  }

  #later(peer: string): void {
    if (this.#over || this.#timers.has(peer)) return
    const attempt = this.#attempts.get(peer) ?? 0
    this.#attempts.set(peer, attempt + 1)
    const wait = backoffMs(attempt, BASE_MS, MAX_MS, this.#init.random)
    const cancel = this.#init.scheduler.after(wait, () => {
      this.#timers.delete(peer)
      this.#dialMissing()
    })
    this.#timers.set(peer, cancel)
  }

  #forget(peer: string): void {
    this.#attempts.delete(peer)
    this.#upSince.delete(peer)
  }

  #drop(peer: string): void {
    this.#timers.get(peer)?.()
    this.#timers.delete(peer)
  }
}
