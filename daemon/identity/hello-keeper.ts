/**
 * What hellos say besides membership: which run of a process is speaking, and how far each side's journal had come. A peer that once heard of sequence N from us
 * shows, when ours now ends before N, that our journal was rolled back. Table "peer", key: node id: u64 BE, the highest sequence heard from it.
 */
import { randomBytes } from 'node:crypto'
import type { Journal } from '../journal/journal.ts'
import { WritePace } from '../journal/write-pace.ts'

export interface HelloInfo {
  readonly instance: number
  readonly journalHigh: number
  readonly yourJournalHigh: number
}

export interface Alarm {
  readonly what: string
  readonly detail: string
}

/** Earlier runs of one peer that are remembered. */
const MAX_INSTANCES = 8

export class HelloKeeper {
  readonly #journal: Journal
  readonly #instance = randomBytes(6).readUIntBE(0, 6)
  readonly #heard = new Map<string, number>()
  /** Runs of each peer, the one that spoke last at the end */
  readonly #instances = new Map<string, number[]>()
  readonly #pace: WritePace

  /** @param now monotonic milliseconds */
  constructor(journal: Journal, now: () => number) {
    this.#journal = journal
    this.#pace = new WritePace(now)
  }

  async load(): Promise<void> {
    for (const { key, value } of await this.#journal.range('peer', { limit: 10_000 })) {
      if (value.length === 8) this.#heard.set(key, Number(Buffer.from(value).readBigUInt64BE()))
    }
  }

  /** For a hello to `peer`. */
  about(peer: string): HelloInfo {
    return { instance: this.#instance, journalHigh: this.#journal.head, yourJournalHigh: this.#heard.get(peer) ?? 0 }
  }

  heard(peer: string, hello: HelloInfo): Alarm[] {
    const alarms: Alarm[] = []
    if (hello.yourJournalHigh > this.#journal.head) {
      const detail = `${peer} heard of our record ${hello.yourJournalHigh}, and our journal ends at ${this.#journal.head}`
      alarms.push({ what: 'journal-rollback', detail })
    }
    const known = this.#heard.get(peer) ?? 0
    if (hello.journalHigh < known) {
      const detail = `${peer} told of its record ${known} before, and now its journal ends at ${hello.journalHigh}`
      alarms.push({ what: 'peer-journal-rollback', detail })
    }
    if (hello.journalHigh > known) {
      this.#heard.set(peer, hello.journalHigh)
      if (this.#pace.mayWrite(peer)) this.#write(peer, hello.journalHigh)
    }
    if (this.#isDoubled(peer, hello.instance)) {
      alarms.push({ what: 'two-instances', detail: `Two running processes use the identity of ${peer}` })
    }
    return alarms
  }

  /** Writes what had to wait. To be called now and then. */
  keep(): void {
    for (const peer of this.#pace.due()) this.#write(peer, this.#heard.get(peer) ?? 0)
  }

  #write(peer: string, high: number): void {
    const value = Buffer.alloc(8)
    value.writeBigUInt64BE(BigInt(high))
    // A lost write only forgets a number that the next hello brings again; the journal's own health says that it fails.
    this.#journal
      .append({ type: 'peer.heard', body: value, writes: [{ table: 'peer', key: peer, value }] })
      .catch(() => undefined)
  }

  /** A run that speaks again after a later one did: both are alive. */
  #isDoubled(peer: string, instance: number): boolean {
    const runs = this.#instances.get(peer) ?? []
    if (runs.at(-1) === instance) return false
    const isBack = runs.includes(instance)
    this.#instances.set(peer, [...runs.filter((run) => run !== instance), instance].slice(-MAX_INSTANCES))
    return isBack
  }
}
