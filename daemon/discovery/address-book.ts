/**
 * Where members were last said to be reached, over restarts. Table "address", key: node id: `AddressBookEntry`. An address is a hint: whoever answers there must prove
 * the node id, so a wrong one costs a dial and nothing else.
 */
import { manyhands } from '../../proto/gen/wire.js'
import { LIMITS } from '../../protocol/limits.ts'
import type { Journal } from '../journal/journal.ts'
import { WritePace } from '../journal/write-pace.ts'

export const DISCOVERY_RECORDS = ['node.boot', 'peer.address'] as const

export class AddressBook {
  readonly #journal: Journal
  readonly #addresses = new Map<string, readonly string[]>()
  /** Given by the operator or the invite: never replaced by what others say, so that no hostile answer can cut us off from them */
  readonly #pinned = new Map<string, readonly string[]>()
  readonly #pace: WritePace

  /** @param now monotonic milliseconds */
  constructor(journal: Journal, now: () => number) {
    this.#journal = journal
    this.#pace = new WritePace(now)
  }

  async load(): Promise<void> {
    for (const { key, value } of await this.#journal.range('address', { limit: LIMITS.members })) {
      this.#addresses.set(key, manyhands.AddressBookEntry.decode(value).addresses)
    }
  }

  pin(peer: string, addresses: readonly string[]): void {
    this.#pinned.set(peer, [...(this.#pinned.get(peer) ?? []), ...addresses].slice(0, LIMITS.addresses))
  }

  pinned(): readonly string[] {
    return [...this.#pinned.keys()]
  }

  /** Pinned ones first: they may be too old to leave no room for where it says that it is now, and that never takes more than half of theirs. */
  of(peer: string): readonly string[] {
    const pinned = this.#pinned.get(peer) ?? []
    const told = (this.#addresses.get(peer) ?? []).filter((address) => !pinned.includes(address))
    const room = Math.max(LIMITS.addresses - told.length, LIMITS.addresses / 2)
    return [...new Set([...pinned.slice(0, room), ...told])].slice(0, LIMITS.addresses)
  }

  /** What the node itself says in its card. @returns whether it is news */
  learn(peer: string, addresses: readonly string[]): boolean {
    const known = this.#addresses.get(peer) ?? []
    const next = addresses.slice(0, LIMITS.addresses)
    const isSame = known.length === next.length && next.every((address, at) => address === known[at])
    if (isSame || next.length === 0) return false
    this.#addresses.set(peer, next)
    if (this.#pace.mayWrite(peer)) this.#write(peer)
    return true
  }

  forget(peer: string): void {
    if (this.#addresses.delete(peer)) this.#write(peer)
  }

  /** Writes what had to wait. To be called now and then. */
  keep(): void {
    for (const peer of this.#pace.due()) if (this.#addresses.has(peer)) this.#write(peer)
  }

  /** Not waited for: a lost address is learned again, and the journal's health says when it fails. */
  #write(peer: string): void {
    const addresses = this.#addresses.get(peer)
    const row = { table: 'address', key: peer }
    const write = addresses
      ? { ...row, value: manyhands.AddressBookEntry.encode({ addresses: [...addresses] }).finish() }
      : row
    this.#journal
      .append({ type: 'peer.address', body: Buffer.from(peer), writes: [write] }, 'soon')
      .catch(() => undefined)
  }
}
