/** Bounds of the journal, each with its reason. Bytes unless the name says otherwise. */
export const JOURNAL_LIMITS = {
  /** Name of a kind of fact. */
  typeBytes: 64,
  /** Body of a record: the largest program and the largest input of one task together, with room. */
  bodyBytes: 16 << 20,
  /** Name of a table. */
  tableBytes: 32,
  /** Key of a table row. */
  keyBytes: 512,
  /** Value of a table row: as a body. */
  valueBytes: 16 << 20,
  /** Table writes of one record: one batch of inputs and what belongs to it. */
  writesPerRecord: 2048,
  /** Rows one `range`, records one `read` answers at most. */
  pageRows: 10_000,
  /** One synced batch: bounds how long those in the next one wait for it. One record above it goes alone. */
  batchBytes: 4 << 20,
  batchRecords: 4096,
  /** Records and bytes that wait for a sync before further ones are refused. */
  queueBytes: 64 << 20,
  queueRecords: 65_536,
  /** How long a record that is appended `soon` waits for others, milliseconds. */
  soonMs: 10,
  /** Shortest pause between an acknowledgement and the start of writing a mark that covers it, milliseconds (mark-keeper.ts). */
  markDelayMs: 2,
  /** First and longest pause between two attempts to come back after an I/O error, milliseconds. */
  recoverFirstMs: 50,
  recoverLastMs: 5_000,
} as const

export type JournalLimits = { readonly [Name in keyof typeof JOURNAL_LIMITS]: number }
