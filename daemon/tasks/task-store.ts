/**
 * Tasks in the journal. Every method that returns a promise resolves once what it says is on disk.
 *
 * Tables: "task" id -> row; "spec" id -> what it runs, until it ends; "open" id -> empty, until it ends (what a restart must look at);
 * "key" subject/key -> task and request; "piece" id/number -> result of a piece of a map.
 */
import { manyhands } from '../../proto/gen/wire.js'
import type { TaskKind, TaskState } from '../../protocol/api.ts'
import type { Limits } from '../../protocol/job.ts'
import type { AppendWhen, Journal, TableWrite } from '../journal/journal.ts'
import type { Covers } from './intent.ts'
import { decodeRow, encodeRow, type TaskRow } from './task-row.ts'
import { decodeSpec, encodeSpec, type TaskSpec } from './task-spec.ts'

/** A request that came with an idempotency key. */
export interface KeyedRequest {
  readonly subject: string
  readonly key: string
  /** sha256 of what was asked, hex */
  readonly request: string
}

export interface KeyUse {
  readonly task: string
  /** sha256 of the request that used the key first, hex */
  readonly request: string
}

export type PieceRow = manyhands.PieceRow

const EMPTY = new Uint8Array(0)
/** Rows looked at for one page of a filtered listing before it is returned short. */
const SCAN_ROWS = 5_000
/** Bytes of rows read for one page before it is returned short: outputs may be large, and a page is held as a whole. */
const SCAN_BYTES = 32 << 20
/** Rows whose keys are read at once, between which others have their turn. */
const KEYS_AT_ONCE = 200
/** Pieces of a map dropped by one record, which holds a bounded number of writes. */
const DROPPED_AT_ONCE = 1_000

export class TaskStore {
  readonly #journal: Journal
  readonly #defaults: Limits
  /** Tasks that ended and are kept, once they were counted */
  #kept: number | undefined

  constructor(journal: Journal, defaults: Limits) {
    this.#journal = journal
    this.#defaults = defaults
  }

  /** Whether what is appended now has a chance to be stored */
  get writable(): boolean {
    return this.#journal.health().state === 'ok'
  }

  /** @param covers with `first-epoch` the record says that the first epoch may have been given, to whom is not known yet */
  submitted(row: TaskRow, spec: TaskSpec, key?: KeyedRequest, covers: Covers = 'none'): Promise<number> {
    const body = encodeRow(covers === 'first-epoch' ? { ...row, epoch: Math.max(1, row.epoch) } : row)
    const writes: TableWrite[] = [
      { table: 'task', key: row.id, value: body },
      { table: 'open', key: row.id, value: EMPTY },
    ]
    // A task that ends with its client is never taken up again: what it runs need not survive.
    if (!row.attached) writes.push({ table: 'spec', key: row.id, value: encodeSpec(spec) })
    if (key !== undefined) writes.push(keyWrite(row, key))
    return this.#journal.append({ type: 'task.submitted', body, writes })
  }

  granted(row: TaskRow, when: AppendWhen = 'now'): Promise<number> {
    const body = encodeRow(row)
    const writes = [{ table: 'task', key: row.id, value: body }]
    return this.#journal.append({ type: 'task.granted', body, writes }, when)
  }

  async ended(row: TaskRow): Promise<number> {
    const body = encodeRow(row)
    const writes: TableWrite[] = [
      { table: 'task', key: row.id, value: body },
      { table: 'open', key: row.id },
      { table: 'spec', key: row.id },
    ]
    const sequence = await this.#journal.append({ type: 'task.ended', body, writes })
    this.#add(1)
    return sequence
  }

  /** The only record of a task that ended before it was written as submitted. */
  async endedAtOnce(row: TaskRow, key?: KeyedRequest): Promise<number> {
    const body = encodeRow(row)
    const writes: TableWrite[] = [{ table: 'task', key: row.id, value: body }]
    if (key !== undefined) writes.push(keyWrite(row, key))
    const sequence = await this.#journal.append({ type: 'task.ended', body, writes })
    this.#add(1)
    return sequence
  }

  pieceEnded(row: TaskRow, piece: number, result: manyhands.PieceRow.$Properties): Promise<number> {
    const value = manyhands.PieceRow.encode(result).finish()
    const writes: TableWrite[] = [
      { table: 'piece', key: pieceKey(row.id, piece), value },
      { table: 'task', key: row.id, value: encodeRow(row) },
    ]
    return this.#journal.append({ type: 'piece.ended', body: value, writes })
  }

  get(id: string): TaskRow | undefined {
    const bytes = this.#journal.get('task', id)
    return bytes === undefined ? undefined : decodeRow(bytes)
  }

  spec(row: TaskRow): TaskSpec | undefined {
    const bytes = this.#journal.get('spec', row.id)
    return bytes === undefined ? undefined : decodeSpec(bytes, row.program, this.#defaults)
  }

  key(subject: string, key: string): KeyUse | undefined {
    const bytes = this.#journal.get('key', keyOf(subject, key))
    if (bytes === undefined) return undefined
    const { task, request } = manyhands.KeyRow.decode(bytes)
    return { task, request }
  }

  piece(id: string, piece: number): PieceRow | undefined {
    const bytes = this.#journal.get('piece', pieceKey(id, piece))
    return bytes === undefined ? undefined : manyhands.PieceRow.decode(bytes)
  }

  /** Tasks that had not ended when the journal was last written. */
  async open(): Promise<TaskRow[]> {
    const rows: TaskRow[] = []
    for (let after: string | undefined; ; ) {
      const page = await this.#journal.range('open', after === undefined ? {} : { after })
      for (const { key } of page) {
        const row = this.get(key)
        if (row !== undefined) rows.push(row)
      }
      after = page.at(-1)?.key
      if (after === undefined) return rows
    }
  }

  /** Newest first. `next` continues where the page ended. */
  async page(options: {
    readonly limit: number
    readonly after?: string
    readonly state?: TaskState
    readonly kind?: TaskKind
  }): Promise<{ rows: TaskRow[]; next?: string }> {
    const rows: TaskRow[] = []
    let { after } = options
    for (let scanned = 0, bytes = 0; scanned < SCAN_ROWS; ) {
      const limit = Math.min(KEYS_AT_ONCE, SCAN_ROWS - scanned)
      const keys = await this.#journal.keys('task', { reverse: true, limit, ...(after === undefined ? {} : { after }) })
      for (const key of keys) {
        after = key
        const value = this.#journal.get('task', key)
        // dropped since its key was read
        if (value === undefined) continue
        bytes += value.byteLength
        const row = decodeRow(value)
        const fits = (options.state ?? row.state) === row.state && (options.kind ?? row.kind) === row.kind
        if (fits) rows.push(row)
        if (rows.length === options.limit || bytes >= SCAN_BYTES) return { rows, next: key }
      }
      scanned += keys.length
      if (keys.length < limit) return { rows }
    }
    return after === undefined ? { rows } : { rows, next: after }
  }

  /** How many tasks that ended are kept. The first time it reads all there are; from then on it has counted along. */
  async kept(): Promise<number> {
    this.#kept ??= (await this.#count('task')) - (await this.#count('open'))
    return this.#kept
  }

  /** Those that ended among the next `limit` tasks, oldest first. `next` continues from there. */
  async endedAfter(after: string | undefined, limit: number): Promise<{ ids: string[]; next: string | undefined }> {
    const ids = await this.#journal.keys('task', after === undefined ? { limit } : { after, limit })
    return { ids: ids.filter((id) => this.#journal.get('open', id) === undefined), next: ids.at(-1) }
  }

  /** Drops a task that ended long ago, with its pieces. Its idempotency key stays for a while (old-rows.ts): it then says that the task is gone. @param more rows that go with it */
  async drop(id: string, more: readonly TableWrite[] = []): Promise<void> {
    const map = this.get(id)?.map
    const drop = (writes: readonly TableWrite[]): Promise<number> =>
      this.#journal.append({ type: 'task.dropped', body: Buffer.from(id), writes })
    const pieces = map === undefined ? 0 : Math.ceil(map.total / map.pieceSize)
    // Its row last: until that is gone, what a crash left of the others is found again
    for (let piece = 0; piece < pieces; piece += DROPPED_AT_ONCE) {
      const count = Math.min(DROPPED_AT_ONCE, pieces - piece)
      await drop(Array.from({ length: count }, (_, index) => ({ table: 'piece', key: pieceKey(id, piece + index) })))
    }
    await drop([{ table: 'task', key: id }, ...more])
    this.#add(-1)
  }

  async #count(table: 'task' | 'open'): Promise<number> {
    let total = 0
    for (let after: string | undefined; ; ) {
      const page = await this.#journal.keys(table, after === undefined ? {} : { after })
      total += page.length
      after = page.at(-1)
      if (after === undefined) return total
    }
  }

  #add(count: number): void {
    if (this.#kept !== undefined) this.#kept += count
  }
}

function keyWrite(row: TaskRow, key: KeyedRequest): TableWrite {
  const value = manyhands.KeyRow.encode({ task: row.id, request: key.request }).finish()
  return { table: 'key', key: keyOf(key.subject, key.key), value }
}

function keyOf(subject: string, key: string): string {
  return `${subject.length}:${subject}${key}`
}

function pieceKey(id: string, piece: number): string {
  return `${id}/${piece.toString().padStart(7, '0')}`
}
