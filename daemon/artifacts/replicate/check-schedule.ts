/** When peers are compared with: on every new link, and from time to time while it stands. */
import type { Background } from './background.ts'
import type { Checks } from './checks.ts'
import type { Links } from './links.ts'
import { pause } from './rounds.ts'

export interface CheckScheduleOptions {
  readonly checks: Checks
  readonly links: Links
  readonly background: Background
  /** About, milliseconds */
  readonly everyMs: number
  /** Monotonic milliseconds */
  readonly now: () => number
  readonly random: () => number
}

export const CHECK_TIMEOUT_MS = 60_000
/** A peer may serve us later than we serve it, by the time of a hello. */
const RETRY_MS = 500
const TRIES = 6

export class CheckSchedule {
  readonly #options: CheckScheduleOptions
  readonly #dueAt = new Map<string, number>()

  constructor(options: CheckScheduleOptions) {
    this.#options = options
  }

  /** Compares with the peer now, and again in a while. */
  begin(peer: string): void {
    const { everyMs, now, random, background } = this.#options
    this.#dueAt.set(peer, now() + everyMs * (0.75 + random() / 2))
    background.run(() => this.#check(peer))
  }

  forget(peer: string): void {
    this.#dueAt.delete(peer)
  }

  tick(): void {
    const now = this.#options.now()
    for (const [peer, at] of this.#dueAt) if (at <= now) this.begin(peer)
  }

  /** Until it is done, or the link is another one. */
  async #check(peer: string): Promise<void> {
    const { checks, links, background } = this.#options
    const { signal } = background
    const link = links.link(peer)
    for (let tries = 1; link !== undefined && link === links.link(peer); tries++) {
      try {
        await checks.check(peer, AbortSignal.any([signal, AbortSignal.timeout(CHECK_TIMEOUT_MS)]))
        return
      } catch (error) {
        if (tries === TRIES || signal.aborted) throw error
        await pause(RETRY_MS * tries, signal)
      }
    }
  }
}
