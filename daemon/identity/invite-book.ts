/**
 * The invites this node made: who may dial with which one-time key, until when, and which were used. Table "invite", key: one-time node id. An invite counts from
 * when its record is durable, and as used from when the record that admits the joiner is: both are one record, so neither can be without the other.
 */
import { randomBytes } from 'node:crypto'
import { manyhands } from '../../proto/gen/wire.js'
import { MeshError } from '../../protocol/errors.ts'
import { isExpired, oneTimeId } from '../../protocol/membership/invite.ts'
import type { Role } from '../../protocol/membership/member-list.ts'
import type { Journal, TableWrite } from '../journal/journal.ts'

interface InviteEntry {
  readonly role: Role
  /** Wall clock */
  readonly expiresAtMs: number
  /** Node id of who joined with it; empty while open */
  readonly usedBy: string
}

/** Invites that may be open at once. */
const MAX_OPEN = 1_000

export class InviteBook {
  readonly #journal: Journal
  readonly #wallMs: () => number
  readonly #entries = new Map<string, InviteEntry>()
  /** Rows that nobody needs any more; they go with the next record */
  readonly #settled = new Set<string>()

  constructor(journal: Journal, wallMs: () => number) {
    this.#journal = journal
    this.#wallMs = wallMs
  }

  /** Reads the invites of earlier runs. */
  async load(): Promise<void> {
    for (const { key, value } of await this.#journal.range('invite', { limit: 10 * MAX_OPEN })) {
      const wire = manyhands.InviteRecord.decode(value)
      const role = wire.role === 'admin' ? 'admin' : 'member'
      this.#entries.set(key, { role, expiresAtMs: wire.expiresAtMs, usedBy: wire.usedBy })
    }
  }

  /** Whether a node may dial with this one-time id. One that was used stays for the same joiner, whose answer may have been lost, until `settled`. */
  admits(oneTime: string): boolean {
    const entry = this.#entries.get(oneTime)
    return entry !== undefined && !isExpired(entry.expiresAtMs, this.#wallMs())
  }

  /** Makes a one-time key and remembers its id durably. @throws MeshError E_RATE_LIMITED, E_STORAGE */
  async open(role: Role, ttlMs: number): Promise<{ secret: Uint8Array; oneTime: string; expiresAtMs: number }> {
    const stale = this.#expired()
    if (this.#open() >= MAX_OPEN) {
      throw new MeshError('E_RATE_LIMITED', `Cannot make an invite: ${MAX_OPEN} are open, which is the most`, {
        hint: 'Wait until some are used or expire; a short time to live helps: --ttl 10m',
      })
    }
    const secret = new Uint8Array(randomBytes(32))
    const oneTime = oneTimeId({ secret })
    const entry: InviteEntry = { role, expiresAtMs: this.#wallMs() + ttlMs, usedBy: '' }
    const settled = [...this.#settled]
    const drops = [...stale, ...settled].map((key): TableWrite => ({ table: 'invite', key }))
    await this.#journal.append({
      type: 'invite.made',
      body: Buffer.from(oneTime),
      writes: [...drops, write(oneTime, entry)],
    })
    for (const key of stale) this.#entries.delete(key)
    for (const key of settled) this.#settled.delete(key)
    this.#entries.set(oneTime, entry)
    return { secret, oneTime, expiresAtMs: entry.expiresAtMs }
  }

  /** Those that were used wait for their joiner, and are as many as members at most. */
  #open(): number {
    const now = this.#wallMs()
    return [...this.#entries.values()].filter(
      ({ usedBy, expiresAtMs }) => usedBy === '' && !isExpired(expiresAtMs, now),
    ).length
  }

  #expired(): string[] {
    const now = this.#wallMs()
    return [...this.#entries].filter(([, entry]) => isExpired(entry.expiresAtMs, now)).map(([key]) => key)
  }

  /** The role the invite gives. @throws MeshError E_INVITE unknown, expired, or used by another */
  claim(oneTime: string, nodeId: string): { role: Role; isAgain: boolean } {
    const entry = this.#entries.get(oneTime)
    if (!entry || isExpired(entry.expiresAtMs, this.#wallMs())) {
      throw new MeshError('E_INVITE', 'Cannot join: the invite is unknown or has expired', {
        hint: 'Ask for a new invite.',
      })
    }
    if (entry.usedBy !== '' && entry.usedBy !== nodeId) {
      throw new MeshError('E_INVITE', 'Cannot join: the invite was used by another node', {
        hint: 'If that was not you, ask an admin to revoke the node that used it.',
      })
    }
    return { role: entry.role, isAgain: entry.usedBy === nodeId }
  }

  /** Marks an invite as used from now on, and gives the write that makes it durable. */
  burn(oneTime: string, nodeId: string): TableWrite[] {
    const entry = this.#entries.get(oneTime)
    if (!entry) return []
    const used = { ...entry, usedBy: nodeId }
    this.#entries.set(oneTime, used)
    return [write(oneTime, used)]
  }

  /** Undoes `burn` when its record could not be written. */
  unburn(oneTime: string): void {
    const entry = this.#entries.get(oneTime)
    if (entry) this.#entries.set(oneTime, { ...entry, usedBy: '' })
  }

  /** The joiner is here with its own identity: nobody needs its invite any more. */
  settled(nodeId: string): void {
    for (const [key, entry] of this.#entries) {
      if (entry.usedBy !== nodeId) continue
      this.#entries.delete(key)
      this.#settled.add(key)
    }
  }
}

function write(oneTime: string, { role, expiresAtMs, usedBy }: InviteEntry): TableWrite {
  return { table: 'invite', key: oneTime, value: manyhands.InviteRecord.encode({ role, expiresAtMs, usedBy }).finish() }
}
