/**
 * The journal in memory: the same answers as the one on disk, gone with the process. For simulations, tests and nodes that keep nothing.
 */
import { closedError, storageError } from './errors.ts'
import type { Journal, JournalHealth, JournalRecord, NewRecord, RangeOptions } from './journal.ts'
import { CHAIN_START, decodeRecord, encodeBlock } from './record.ts'
import { checkKey, checkLimit, checkRecord, checkSequence, checkTable } from './validate.ts'

export class MemoryJournal implements Journal {
  readonly #types: ReadonlySet<string>
  readonly #tables = new Map<string, Table>()
  /** Records that are kept, oldest first, without gaps */
  #records: JournalRecord[] = []
  #last = CHAIN_START
  #health: JournalHealth = { state: 'ok' }
  #closed = false

  constructor(options: { readonly types: Iterable<string> }) {
    this.#types = new Set(options.types)
  }

  get head(): number {
    return this.#last.sequence
  }

  append(record: NewRecord): Promise<number> {
    try {
      this.#assertWritable()
      checkRecord(record, this.#types)
    } catch (error) {
      return Promise.reject(error)
    }
    const { block, head } = encodeBlock([record], this.#last)
    const stored = decodeRecord(block, 0)
    if (stored.kind !== 'record') return Promise.reject(storageError('the record does not read back'))
    this.#last = head
    this.#records.push({ sequence: head.sequence, type: stored.type, body: stored.body, hash: stored.hash })
    for (const { table, key, value } of record.writes ?? []) this.#table(table).write(key, value)
    return Promise.resolve(head.sequence)
  }

  get(table: string, key: string): Uint8Array | undefined {
    this.#assertOpen()
    checkTable(table)
    checkKey(key)
    return this.#tables.get(table)?.get(key)
  }

  async range(table: string, options: RangeOptions = {}): Promise<{ key: string; value: Uint8Array }[]> {
    return this.#page(table, options)
  }

  async keys(table: string, options: RangeOptions = {}): Promise<string[]> {
    return this.#page(table, options).map(({ key }) => key)
  }

  async read(from: number, limit?: number): Promise<JournalRecord[]> {
    this.#assertOpen()
    checkSequence('from', from)
    const count = checkLimit(limit)
    const start = Math.max(0, from - (this.#records[0]?.sequence ?? 0))
    return this.#records.slice(start, start + count)
  }

  health(): JournalHealth {
    return this.#health
  }

  /** Makes it refuse appends as a failing disk would; undefined ends that. For tests of those who append. */
  setFailing(reason: string | undefined): void {
    this.#health = reason === undefined ? { state: 'ok' } : { state: 'failing', since: 0, reason }
  }

  async trim(before: number): Promise<void> {
    this.#assertWritable()
    checkSequence('before', before)
    this.#records = this.#records.filter((record) => record.sequence >= before)
  }

  async close(): Promise<void> {
    this.#closed = true
  }

  #page(table: string, options: RangeOptions): { key: string; value: Uint8Array }[] {
    this.#assertOpen()
    checkTable(table)
    checkKey(options.prefix ?? '')
    checkKey(options.after ?? '')
    return this.#table(table).range(options, checkLimit(options.limit))
  }

  #table(name: string): Table {
    const table = this.#tables.get(name) ?? new Table()
    this.#tables.set(name, table)
    return table
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError()
  }

  #assertWritable(): void {
    this.#assertOpen()
    if (this.#health.state === 'failing') throw storageError(this.#health.reason)
  }
}

/** Rows in the order of their keys as UTF-8, which is not that of JavaScript strings. */
class Table {
  readonly #rows = new Map<string, Uint8Array>()
  /** Keys in order; undefined when a key came or went since */
  #sorted: { readonly text: string; readonly bytes: Buffer }[] | undefined

  get(key: string): Uint8Array | undefined {
    const value = this.#rows.get(key)
    return value === undefined ? undefined : Uint8Array.from(value)
  }

  write(key: string, value: Uint8Array | undefined): void {
    if (this.#rows.has(key) !== (value !== undefined)) this.#sorted = undefined
    if (value === undefined) this.#rows.delete(key)
    else this.#rows.set(key, Uint8Array.from(value))
  }

  range(options: RangeOptions, limit: number): { key: string; value: Uint8Array }[] {
    this.#sorted ??= [...this.#rows.keys()]
      .map((text) => ({ text, bytes: Buffer.from(text) }))
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    const { prefix = '', reverse = false } = options
    const after = options.after === undefined ? undefined : Buffer.from(options.after)
    const found: { key: string; value: Uint8Array }[] = []
    for (const { text, bytes } of reverse ? this.#sorted.toReversed() : this.#sorted) {
      if (found.length === limit) break
      const order = after === undefined ? 0 : Buffer.compare(bytes, after)
      if (after !== undefined && (reverse ? order >= 0 : order <= 0)) continue
      const value = text.startsWith(prefix) ? this.get(text) : undefined
      if (value !== undefined) found.push({ key: text, value })
    }
    return found
  }
}
