/**
 * Keeps the journal at what membership decided. A decision takes effect in memory at once, so a write that fails is owed: the next one carries it, and a
 * write of nothing new tries again. What others may hear only of durable lists waits with it.
 */
import type { MembershipEffect } from '../../protocol/membership/membership.ts'
import type { Journal, TableWrite } from '../journal/journal.ts'
import { membershipRecord, type StoredMembership } from './membership-store.ts'

/** Tells others of a list. */
export type Telling = MembershipEffect & { readonly type: 'push' | 'notify' }

interface Owed {
  readonly writes: readonly TableWrite[]
  /** Oldest first */
  readonly told: readonly Telling[]
}

/** Messages that wait for a disk. Of more the oldest are dropped: whoever misses a list learns of it from the next hello. */
const MAX_TOLD = 64

export class MembershipWriter {
  readonly #journal: Journal
  readonly #meshId: string
  #durable: StoredMembership | undefined
  #owed: Owed | undefined

  /** @param durable what the journal holds of the mesh */
  constructor(journal: Journal, meshId: string, durable: StoredMembership | undefined) {
    this.#journal = journal
    this.#meshId = meshId
    this.#durable = durable
  }

  /** Whether a write failed and none since made it good. */
  get owes(): boolean {
    return this.#owed !== undefined
  }

  /** Whether the journal still holds as a member the node of this id or name. */
  holds(idOrName: string): boolean {
    const active = this.#durable?.held.active
    return active?.has(idOrName) === true || [...(active?.values() ?? [])].some(({ name }) => name === idOrName)
  }

  /**
   * Makes `next`, `writes` and whatever is owed durable in one record. Not to be called while a call is under way.
   * @returns what may be told now
   * @throws MeshError E_STORAGE, E_OVERLOADED: all of it is owed
   */
  async write(next: StoredMembership, writes: readonly TableWrite[]): Promise<readonly Telling[]> {
    const { writes: earlier = [], told = [] } = this.#owed ?? {}
    const due = [...earlier, ...writes]
    try {
      await this.#append(next, due)
    } catch (error) {
      this.#owed = { writes: due, told }
      throw error
    }
    this.#owed = undefined
    return told
  }

  /** Keeps a message until what is owed is durable. */
  hold(effect: Telling): void {
    const { writes = [], told = [] } = this.#owed ?? {}
    this.#owed = { writes, told: [...told, effect].slice(-MAX_TOLD) }
  }

  async #append(next: StoredMembership, writes: readonly TableWrite[]): Promise<void> {
    const { held, pending } = next
    if (this.#durable?.held === held && this.#durable.pending === pending && writes.length === 0) return
    const record = membershipRecord(this.#meshId, this.#durable?.held, { held, pending })
    await this.#journal.append({ ...record, writes: [...(record.writes ?? []), ...writes] })
    this.#durable = { held, pending }
  }
}
