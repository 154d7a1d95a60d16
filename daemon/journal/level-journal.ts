/**
 * The journal on disk.
 *
 * Group commit. Appends wait in one queue. While no sync is running, the queue is taken at the end of the turn of the event loop, so all appends of
 * a turn share a sync; while one is running, what arrives waits for the next. A batch is one atomic LevelDB batch: a block of records
 * (record.ts) and their table writes. It is acknowledged when LevelDB has synced its log, in the order of the calls.
 * What is appended `soon` begins no batch by itself for 10 ms, and goes with the next that begins.
 *
 * What is noticed when it is lost. The chain covers every record up to the head that is found. The mark (mark.ts) says up to where
 * the store must reach. A write of the mark starts one pause after an acknowledgement, or one pause after the write under way then, whether the
 * journal is busy or idle, and runs beside the syncs; the pause is 2 ms, or four times what the last mark took if that is longer (mark-keeper.ts).
 * So if the *synced* end of the store is damaged after a crash, the loss is named whenever it reaches back further than that: the window is
 * what was acknowledged in the last (one pause + two writes of the mark) before the crash, about 3 ms where a sync takes 0.2 ms.
 * A clean `close()` leaves no window. Within the window LevelDB's own log is the only witness. Without the mark's lag each append would
 * take two syncs in a row.
 *
 * Errors. When a batch or a mark cannot be written, nothing more is acknowledged: the batch and everything queued are rejected with
 * E_STORAGE, and so is every append until the store was opened anew and verified (recovery.ts says what becomes of a rejected batch that
 * reached the disk after all). Reads go on from the old handle until the disk takes data again.
 */
import { MeshError } from '../../protocol/errors.ts'
import { failpoint } from '../failpoint.ts'
import { CommitQueue, type PendingAppend } from './commit-queue.ts'
import { closedError, storageError, unopenableError } from './errors.ts'
import type { AppendWhen, Journal, JournalHealth, JournalRecord, NewRecord, RangeOptions } from './journal.ts'
import type { LevelStore, StoreOp } from './level-store.ts'
import { JOURNAL_LIMITS, type JournalLimits } from './limits.ts'
import { MarkKeeper } from './mark-keeper.ts'
import { type Mark, MarkWriter } from './mark.ts'
import { baseOp, type OpenedStore, openStore, type StorePlace } from './open-store.ts'
import { type ChainPoint, encodeBlock } from './record.ts'
import { decodeRow, encodeRow } from './row.ts'
import { recover, type RefusedBatch, systemReason } from './recovery.ts'
import { cutAfter, readRecords } from './stored-records.ts'
import { blockKey, type KeyRange, rowKey, rowKeyText, tableRange } from './store-keys.ts'
import { checkKey, checkLimit, checkRecord, checkSequence, checkTable } from './validate.ts'

/** A sync that takes longer than this is called failing, milliseconds */
const STALLED_AFTER_MS = 5_000

export interface LevelJournalOptions extends StorePlace {
  /** Every kind of fact this version writes; a journal that holds another is refused */
  readonly types: Iterable<string>
  /** Whether a place without journal and mark becomes a new journal. Pass false once a node has had one. @default true */
  readonly create?: boolean
  readonly limits?: Partial<JournalLimits>
  /** Told each time the journal fails or comes back */
  readonly onHealth?: (health: JournalHealth) => void
  /** Told after each synced write: how many records shared it, and how long it took, seconds */
  readonly onBatch?: (records: number, seconds: number) => void
  /** Wall clock for `health().since`, milliseconds since 1970. @default Date.now */
  readonly now?: () => number
  /** Ends the opening, with its reason: a large journal is read for seconds. Of no effect once it is open */
  readonly signal?: AbortSignal | undefined
  /** Times syncs, milliseconds: a jump of the wall clock is no stalled disk. @default performance.now */
  readonly monotonic?: () => number
}

/**
 * Opens the journal on disk, verified from its oldest record to its newest.
 * @throws MeshError E_JOURNAL_LOST, E_JOURNAL_GAP, E_JOURNAL_ROLLBACK, E_JOURNAL_VERSION, E_JOURNAL_LOCKED, E_STORAGE
 */
export async function openLevelJournal(options: LevelJournalOptions): Promise<Journal> {
  try {
    return await openVerified(options, new Set(options.types))
  } catch (error) {
    const isStorage = error instanceof MeshError && error.code === 'E_STORAGE'
    const reason = systemReason(isStorage ? error.cause : error)
    throw reason === undefined ? error : unopenableError(options.folder, reason, error)
  }
}

async function openVerified(options: LevelJournalOptions, types: ReadonlySet<string>): Promise<Journal> {
  const opened = await openStore(options, types, { create: options.create ?? true, signal: options.signal })
  const { store, base, mark, head } = opened
  try {
    // what a trim that was cut short left
    if ((await store.blockAt(base.sequence)) !== undefined) await store.dropBlocks(base.sequence + 1)
    const writer = await MarkWriter.open(options.markFile, mark)
    if (mark.sequence < head.sequence) await writer.write(head)
    return new LevelJournal(options, types, opened, writer)
  } catch (error) {
    await store.close()
    throw error
  }
}

type State = { readonly kind: 'open' } | { readonly kind: 'failing'; readonly since: number; reason: string }

class LevelJournal implements Journal {
  readonly #options: LevelJournalOptions
  readonly #limits: JournalLimits
  readonly #types: ReadonlySet<string>
  readonly #now: () => number
  readonly #monotonic: () => number
  readonly #queue: CommitQueue
  readonly #jobs: (() => Promise<void>)[] = []
  readonly #stop = new AbortController()
  #state: State = { kind: 'open' }
  #store: LevelStore
  #mark: Mark
  #marks: MarkKeeper
  #head: ChainPoint
  /** What lies before the oldest kept record */
  #base: ChainPoint
  /** A batch that was rejected and may be on disk */
  #refused: RefusedBatch | undefined
  /** Writing now; ends when queue and jobs are empty */
  #draining: Promise<void> | undefined
  #recovering: Promise<void> | undefined
  #closing: Promise<void> | undefined
  /** When the sync under way began, on the monotonic clock */
  #syncSince: number | undefined
  #trimming = false
  /** Whether something in the queue waits for no others any more */
  #isDue = false
  /** Until what came `soon` is due by itself */
  #soon: NodeJS.Timeout | undefined

  constructor(options: LevelJournalOptions, types: ReadonlySet<string>, opened: OpenedStore, writer: MarkWriter) {
    this.#options = options
    this.#limits = { ...JOURNAL_LIMITS, ...options.limits }
    this.#types = types
    this.#now = options.now ?? Date.now
    this.#monotonic = options.monotonic ?? (() => performance.now())
    this.#queue = new CommitQueue(this.#limits)
    this.#store = opened.store
    this.#mark = opened.mark
    this.#head = opened.head
    this.#base = opened.base
    this.#marks = this.#keep(writer)
  }

  get head(): number {
    return this.#head.sequence
  }

  append(record: NewRecord, when: AppendWhen = 'now'): Promise<number> {
    try {
      this.#assertWritable()
      checkRecord(record, this.#types)
    } catch (error) {
      return Promise.reject(error)
    }
    const appended = this.#queue.push(record)
    if (when === 'now') this.#writeQueue()
    else this.#soon ??= setTimeout(() => this.#writeQueue(), this.#limits.soonMs)
    return appended
  }

  get(table: string, key: string): Uint8Array | undefined {
    this.#assertReadable()
    checkTable(table)
    checkKey(key)
    const storeKey = rowKey(table, key)
    const row = this.#store.get(storeKey)
    return row === undefined ? undefined : decodeRow(storeKey, row)
  }

  async range(table: string, options: RangeOptions = {}): Promise<{ key: string; value: Uint8Array }[]> {
    const { range, page } = this.#page(table, options)
    const rows: { key: string; value: Uint8Array }[] = []
    for await (const [key, row] of this.#store.entries(range, page))
      rows.push({ key: rowKeyText(table, key), value: decodeRow(key, row) })
    return rows
  }

  async keys(table: string, options: RangeOptions = {}): Promise<string[]> {
    const { range, page } = this.#page(table, options)
    return (await this.#store.keys(range, page)).map((key) => rowKeyText(table, key))
  }

  async read(from: number, limit?: number): Promise<JournalRecord[]> {
    this.#assertReadable()
    checkSequence('from', from)
    // blocks before the base may still be there while a trim is under way
    const first = Math.max(from, this.#base.sequence + 1)
    return readRecords(this.#store, { from: first, to: this.#head.sequence, limit: checkLimit(limit) })
  }

  health(): JournalHealth {
    if (this.#state.kind === 'failing')
      return { state: 'failing', since: this.#state.since, reason: this.#state.reason }
    const stalledMs = this.#syncSince === undefined ? 0 : this.#monotonic() - this.#syncSince
    if (stalledMs <= STALLED_AFTER_MS) return { state: 'ok' }
    return { state: 'failing', since: Math.round(this.#now() - stalledMs), reason: 'the disk does not answer' }
  }

  async trim(before: number): Promise<void> {
    this.#assertWritable()
    checkSequence('before', before)
    if (this.#trimming) throw storageError('records are being dropped already')
    this.#trimming = true
    try {
      await this.#exclusive(() => this.#trim(before))
    } finally {
      this.#trimming = false
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#stop.abort()
    this.#writeQueue()
    while (this.#draining !== undefined) await this.#draining
    await this.#recovering
    try {
      failpoint('journal.before-close')
      if (this.#state.kind === 'open') await this.#marks.flush()
    } catch (error) {
      throw storageError('its mark does not cover the last records', error)
    } finally {
      try {
        await this.#marks.close()
      } finally {
        await this.#store.close()
      }
    }
  }

  #writeQueue(): void {
    clearTimeout(this.#soon)
    this.#soon = undefined
    this.#isDue = this.#queue.length > 0
    this.#wake()
  }

  /** Starts writing at the end of this turn, unless it goes on already. */
  #wake(): void {
    this.#draining ??= this.#drain().finally(() => {
      this.#draining = undefined
      // appended after the last look at the queue
      if (this.#isDue || this.#jobs.length > 0) this.#wake()
    })
  }

  /** Writes batches and runs jobs one after another until none is left. Never rejects. */
  async #drain(): Promise<void> {
    for (;;) {
      // lets those who were just answered append again, so that they share the next sync
      await endOfTurn()
      const job = this.#jobs.shift()
      if (job !== undefined) await job()
      else if (this.#isDue) await this.#commit(this.#take())
      else return
    }
  }

  /** The next batch. What came `soon` goes with the others. */
  #take(): PendingAppend[] {
    const batch = this.#queue.take()
    this.#isDue = this.#queue.length > 0
    return batch
  }

  async #commit(batch: readonly PendingAppend[]): Promise<void> {
    const first = this.#head.sequence + 1
    const facts = batch.map((append) => append.record)
    const { block, head } = encodeBlock(facts, this.#head)
    const rows = facts.flatMap(rowOps)
    const startedAt = performance.now()
    try {
      failpoint('journal.before-batch')
      this.#syncSince = this.#monotonic()
      await this.#store.write([{ type: 'put', key: blockKey(first), value: block }, ...rows])
      failpoint('journal.after-batch')
    } catch (error) {
      this.#fail(error, { first, head, rows: rows.map((op) => op.key) })
      const refused = this.#storageError()
      for (const append of batch) append.reject(refused)
      return
    } finally {
      this.#syncSince = undefined
    }
    this.#head = head
    for (const [index, append] of batch.entries()) append.resolve(first + index)
    this.#options.onBatch?.(batch.length, (performance.now() - startedAt) / 1000)
    this.#marks.note(head)
  }

  async #trim(before: number): Promise<void> {
    this.#assertSound()
    const last = Math.min(before - 1, this.#head.sequence)
    if (last <= this.#base.sequence) return
    const cut = await cutAfter(this.#store, last)
    const base = { sequence: last, hash: cut.hash }
    try {
      // the mark must not fall behind the base
      await this.#marks.flush()
      await this.#store.write([baseOp(base), ...cut.ops])
      this.#base = base
      failpoint('journal.trim.after-base')
      await this.#store.dropBlocks(last + 1)
    } catch (error) {
      this.#fail(error)
      throw this.#storageError()
    }
  }

  /** Runs between two batches. */
  #exclusive(work: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#jobs.push(() => work().then(resolve, reject))
      this.#wake()
    })
  }

  /** Stops acknowledging and begins to recover. @param refused a batch that is rejected but may be on disk */
  #fail(error: unknown, refused?: RefusedBatch): void {
    if (this.#state.kind === 'open') {
      this.#state = { kind: 'failing', since: this.#now(), reason: systemReason(error) ?? 'the store refused a write' }
      this.#options.onHealth?.(this.health())
    }
    this.#queue.rejectAll(this.#storageError(error))
    this.#isDue = false
    this.#refused ??= refused
    if (this.#closing === undefined) this.#recovering ??= this.#recover()
  }

  /** Never rejects. */
  async #recover(): Promise<void> {
    // a batch under way when a mark failed is still answered by its own outcome
    while (this.#draining !== undefined) await this.#draining
    const outcome = await recover({
      place: this.#options,
      types: this.#types,
      store: this.#store,
      mark: this.#mark,
      acknowledged: this.#head,
      refused: this.#refused,
      pauseMs: { first: this.#limits.recoverFirstMs, last: this.#limits.recoverLastMs },
      signal: this.#stop.signal,
      onReason: (reason) => {
        if (this.#state.kind === 'failing') this.#state.reason = reason
      },
    })
    this.#recovering = undefined
    if (outcome === undefined) return
    await this.#marks.close().catch(() => {})
    this.#store = outcome.store
    this.#mark = outcome.mark
    this.#base = outcome.base
    this.#refused = undefined
    this.#marks = this.#keep(outcome.writer)
    this.#state = { kind: 'open' }
    this.#options.onHealth?.(this.health())
  }

  #keep(writer: MarkWriter): MarkKeeper {
    return new MarkKeeper(writer, { delayMs: this.#limits.markDelayMs, onFault: (error) => this.#fail(error) })
  }

  /** What a page of a table's rows is in the store. */
  #page(table: string, options: RangeOptions): { range: KeyRange; page: { reverse: boolean; limit: number } } {
    this.#assertReadable()
    checkTable(table)
    checkKey(options.prefix ?? '')
    checkKey(options.after ?? '')
    const page = { reverse: options.reverse ?? false, limit: checkLimit(options.limit) }
    return { range: tableRange(table, options), page }
  }

  #assertWritable(): void {
    this.#assertReadable()
    this.#assertSound()
  }

  #assertSound(): void {
    if (this.#state.kind === 'failing') throw this.#storageError()
  }

  #assertReadable(): void {
    if (this.#closing !== undefined) throw closedError()
  }

  #storageError(cause?: unknown): ReturnType<typeof storageError> {
    return storageError(this.#state.kind === 'failing' ? this.#state.reason : 'its disk failed', cause)
  }
}

function rowOps(record: NewRecord): StoreOp[] {
  return (record.writes ?? []).map(({ table, key, value }) => {
    const storeKey = rowKey(table, key)
    return value === undefined
      ? { type: 'del', key: storeKey }
      : { type: 'put', key: storeKey, value: encodeRow(storeKey, value) }
  })
}

function endOfTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
