import { MOST_WITHHELD_BYTES } from './withheld-credit.ts'

/**
 * How much of bulk streams may be on the way to a peer. What is sent on a slow link waits behind all that was sent before: behind a full window of 2 MiB a heartbeat
 * over 1 Mbit/s takes 16 seconds, and leases end. So a writer keeps no more on the way than the peer takes in `TARGET_MS`, judged by what it took while a
 * writer waited: the aim of LEDBAT (RFC 6817), with the credit of the stream as the only signal. Pure: no clock, no I/O.
 */

/** What is on the way may take so long to arrive, milliseconds. */
const TARGET_MS = 500
/** On the way at first, bytes: the link is not known yet. */
const FIRST_BYTES = 32 << 10
/** However slow the link. Half of it may be credit that the peer withholds, and with the other half a writer goes on. */
const LEAST_BYTES = 2 * MOST_WITHHELD_BYTES
/** A shorter wait says that the peer is fast, but not that it is slow: its credit comes in steps. Milliseconds */
const TELLING_MS = 50

export class BulkPace {
  readonly #most: number
  #bytes = FIRST_BYTES

  /** @param most bytes that a stream may have on the way at all */
  constructor(most: number) {
    this.#most = most
  }

  /** What may be on the way of one stream, bytes. */
  get bytes(): number {
    return this.#bytes
  }

  /** While a writer waited so long, so much arrived. */
  took(bytes: number, ms: number): void {
    const wanted = (bytes / Math.max(ms, 1)) * TARGET_MS
    if (wanted >= this.#bytes) this.#bytes = Math.min(wanted, this.#most)
    else if (ms >= TELLING_MS) this.#bytes = Math.max(wanted, this.#bytes / 2, LEAST_BYTES)
  }
}
