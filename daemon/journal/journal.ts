/**
 * The seam between everything that must survive a crash and the store. Two implementations under one suite: `level` on disk, and memory.
 *
 * A record is a fact that happened; it is never changed. Its table writes are the state derived from it; both land in one atomic, synced batch,
 * so a table row exists if and only if the record that wrote it does.
 */
export interface TableWrite {
  /** e.g. "task", "key"; fixed names, at most 32 bytes of [a-z0-9-] */
  readonly table: string
  /** Any text, at most 512 bytes; keys of one table never reach into another */
  readonly key: string
  /** Absent: delete */
  readonly value?: Uint8Array
}

export interface NewRecord {
  /** Name of the kind of fact, e.g. "task.submitted"; a reader refuses kinds it does not know */
  readonly type: string
  readonly body: Uint8Array
  readonly writes?: readonly TableWrite[]
}

export interface JournalRecord {
  /** From 1, without gaps */
  readonly sequence: number
  readonly type: string
  readonly body: Uint8Array
  /** sha256 of the record as stored, chained over the one before */
  readonly hash: Uint8Array
}

/** `soon`: may wait a few milliseconds for others to share a sync with. Nobody waits for it yet, or whoever does will append something `now` */
export type AppendWhen = 'now' | 'soon'

export interface RangeOptions {
  readonly prefix?: string
  /** Start after this key (before it when reversed) */
  readonly after?: string
  readonly reverse?: boolean
  /** @default 1000 */
  readonly limit?: number
}

export type JournalHealth =
  | { readonly state: 'ok' }
  | { readonly state: 'failing'; readonly since: number; readonly reason: string }

export interface Journal {
  /** Highest durable sequence; 0 when empty */
  readonly head: number
  /**
   * Appends; resolves once the record is on disk. Appends of one turn share one sync. Order of calls is order of sequences.
   * `body` and values must not be changed until then. @param when default now
   * @throws MeshError E_STORAGE when it cannot be made durable (nothing of it was acknowledged; may be tried again), E_OVERLOADED when too much
   * waits for the disk already, E_BAD_REQUEST or E_TOO_LARGE for a record no version would store, E_STOPPING after close
   */
  append(record: NewRecord, when?: AppendWhen): Promise<number>
  /** Reads a table row; sees writes that are acknowledged. @throws MeshError E_JOURNAL_GAP when the row is damaged */
  get(table: string, key: string): Uint8Array | undefined
  range(table: string, options?: RangeOptions): Promise<{ key: string; value: Uint8Array }[]>
  /** As `range`, the keys alone: values, which may be large, are not held. */
  keys(table: string, options?: RangeOptions): Promise<string[]>
  /** Records from a sequence on, oldest first. @param limit default 1000 */
  read(from: number, limit?: number): Promise<JournalRecord[]>
  health(): JournalHealth
  /** Drops records before `sequence`; tables stay. The chain goes on from a stored base. */
  trim(before: number): Promise<void>
  /** Syncs what is queued, then closes. @throws MeshError E_STORAGE when a later loss of the last records might go unnoticed; it is closed then too */
  close(): Promise<void>
}
