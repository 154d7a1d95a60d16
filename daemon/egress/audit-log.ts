/**
 * Every decision of the door, one line of JSON each: in a file that is moved aside when it is full, so that two of them are kept; the latest in memory; and live to
 * whoever listens. Texts in it come from guests: they are data, bounded and escaped.
 */
import type { LogSink } from '../observe/log-file.ts'
import type { AuditEntry, AuditLog } from './egress.ts'

const KEPT = 1_000

export class AuditTrail implements AuditLog {
  readonly #sink: LogSink
  readonly #recent: AuditEntry[] = []
  readonly #listeners = new Set<(entry: AuditEntry) => void>()
  #sequence = 0

  constructor(sink: LogSink) {
    this.#sink = sink
  }

  add(entry: Omit<AuditEntry, 'sequence'>): void {
    const full: AuditEntry = { sequence: ++this.#sequence, ...entry }
    this.#recent.push(full)
    if (this.#recent.length > 2 * KEPT) this.#recent.splice(0, this.#recent.length - KEPT)
    this.#sink.write(`${JSON.stringify(full)}\n`)
    for (const listener of this.#listeners) listener(full)
  }

  recent(limit = 100): readonly AuditEntry[] {
    return this.#recent.slice(-Math.min(Math.max(limit, 1), KEPT))
  }

  on(listener: (entry: AuditEntry) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  close(): void {
    this.#listeners.clear()
    this.#sink.close()
  }
}
