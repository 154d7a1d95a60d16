/**
 * How long this node keeps the sandboxes of others. An owner's node says now and then that it still wants them; one that falls silent finds them asleep, and
 * after the whole lease they are removed: a lease is forgotten once that is done, and an owner that comes back before keeps its sandbox. Only time in which this node runs counts, so a host that was off removes nothing when it comes back: the rest of a
 * lease is what is stored, not a date.
 *
 * Journal table "sandbox-lease", key: id of the sandbox: u64 BE remaining milliseconds.
 */
import type { Journal } from '../journal/journal.ts'

export interface LeasesOptions {
  readonly journal: Journal
  readonly leaseMs: number
  /** Silence of an owner after which its sandboxes are put to sleep, milliseconds */
  readonly silenceMs: number
  /** Puts it to sleep. What rejects is tried again with the next tick */
  readonly onSilent: (id: string) => Promise<void>
  /** Removes it. What rejects is tried again with the next tick */
  readonly onExpired: (id: string) => Promise<void>
  /** Monotonic milliseconds. @default performance.now */
  readonly now?: () => number
}

interface Lease {
  owner: string
  remainingMs: number
  storedMs: number
  heardAt: number
  silent: boolean
  removing: boolean
}

const TABLE = 'sandbox-lease'
/** Remaining time is stored when it differs by this much: a crash gives back at most as much. */
const STORE_STEP_MS = 10 * 60_000

export class Leases {
  readonly #options: LeasesOptions
  readonly #now: () => number
  readonly #leases = new Map<string, Lease>()
  #countedAt: number

  constructor(options: LeasesOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    this.#countedAt = this.#now()
  }

  /** A sandbox found at start. */
  adopt(id: string, owner: string): void {
    const stored = this.#options.journal.get(TABLE, id)
    const remainingMs = stored?.length === 8 ? Number(Buffer.from(stored).readBigUInt64BE()) : this.#options.leaseMs
    this.#leases.set(id, {
      owner,
      remainingMs,
      storedMs: remainingMs,
      heardAt: this.#now(),
      silent: false,
      removing: false,
    })
  }

  add(id: string, owner: string): void {
    const { leaseMs } = this.#options
    const lease = { owner, remainingMs: leaseMs, storedMs: 0, heardAt: this.#now(), silent: false, removing: false }
    this.#leases.set(id, lease)
    this.#store(id, lease)
  }

  renewed(id: string): void {
    const lease = this.#leases.get(id)
    if (!lease) return
    lease.remainingMs = this.#options.leaseMs
    lease.heardAt = this.#now()
    lease.silent = false
    this.#storeIfDue(id, lease)
  }

  forget(id: string): void {
    if (!this.#leases.delete(id)) return
    void this.#write(id, undefined)
  }

  /** Those of a node. */
  of(owner: string): string[] {
    return [...this.#leases].filter(([, lease]) => lease.owner === owner).map(([id]) => id)
  }

  /** Counts the time since the last call; call it now and then. */
  tick(): void {
    const now = this.#now()
    const passed = now - this.#countedAt
    this.#countedAt = now
    for (const [id, lease] of [...this.#leases]) this.#count(id, lease, passed, now)
  }

  #count(id: string, lease: Lease, passed: number, now: number): void {
    const { silenceMs, onSilent } = this.#options
    if (now - lease.heardAt < silenceMs) return
    lease.remainingMs -= passed
    if (!lease.silent) {
      lease.silent = true
      onSilent(id).catch(() => {
        lease.silent = false
      })
    }
    if (lease.remainingMs <= 0) void this.#expire(id, lease)
    else this.#storeIfDue(id, lease)
  }

  async #expire(id: string, lease: Lease): Promise<void> {
    if (lease.removing) return
    lease.removing = true
    try {
      await this.#options.onExpired(id)
      this.forget(id)
    } catch {
      lease.removing = false
    }
  }

  #storeIfDue(id: string, lease: Lease): void {
    if (Math.abs(lease.storedMs - lease.remainingMs) >= Math.min(STORE_STEP_MS, this.#options.leaseMs / 4))
      this.#store(id, lease)
  }

  #store(id: string, lease: Lease): void {
    lease.storedMs = lease.remainingMs
    const value = Buffer.alloc(8)
    value.writeBigUInt64BE(BigInt(Math.max(0, Math.round(lease.remainingMs))))
    void this.#write(id, value)
  }

  /** A row that cannot be written now gives the owner more time, not less. */
  async #write(id: string, value: Uint8Array | undefined): Promise<void> {
    const write = { table: TABLE, key: id, ...(value === undefined ? {} : { value }) }
    await this.#options.journal
      .append({ type: 'sandbox.leased', body: Buffer.from(id), writes: [write] })
      .catch(() => undefined)
  }
}
