import { MeshError } from '../../protocol/errors.ts'
import type { NewRecord } from './journal.ts'
import { recordBytes } from './record.ts'

export interface QueueLimits {
  readonly batchBytes: number
  readonly batchRecords: number
  readonly queueBytes: number
  readonly queueRecords: number
}

/** One append that waits for its sync */
export interface PendingAppend {
  readonly record: NewRecord
  readonly bytes: number
  readonly resolve: (sequence: number) => void
  readonly reject: (error: MeshError) => void
}

/** What waits to be written, in the order of the calls; bounded in records and bytes. Decides what goes into one batch. */
export class CommitQueue {
  readonly #limits: QueueLimits
  #waiting: PendingAppend[] = []
  #bytes = 0

  constructor(limits: QueueLimits) {
    this.#limits = limits
  }

  get length(): number {
    return this.#waiting.length
  }

  /** Settles when the batch that holds the record has. Rejects with E_OVERLOADED at once when the queue is full. */
  push(record: NewRecord): Promise<number> {
    const bytes = appendBytes(record)
    // a single record larger than the whole queue still passes when nothing else waits
    const full = this.#waiting.length > 0 && this.#bytes + bytes > this.#limits.queueBytes
    if (full || this.#waiting.length >= this.#limits.queueRecords)
      return Promise.reject(overloaded(this.#waiting.length))
    this.#bytes += bytes
    return new Promise((resolve, reject) => {
      this.#waiting.push({ record, bytes, resolve, reject })
    })
  }

  /** Takes the next batch: as many as its limits allow, at least one. Empty when nothing waits. */
  take(): PendingAppend[] {
    const { batchBytes, batchRecords } = this.#limits
    let bytes = 0
    let count = 0
    for (const append of this.#waiting) {
      if (count > 0 && (count === batchRecords || bytes + append.bytes > batchBytes)) break
      bytes += append.bytes
      count += 1
    }
    this.#bytes -= bytes
    if (count < this.#waiting.length) return this.#waiting.splice(0, count)
    const all = this.#waiting
    this.#waiting = []
    return all
  }

  rejectAll(error: MeshError): void {
    const all = this.#waiting
    this.#waiting = []
    this.#bytes = 0
    for (const append of all) append.reject(error)
  }
}

function appendBytes(record: NewRecord): number {
  let bytes = recordBytes(record)
  for (const write of record.writes ?? []) bytes += write.table.length + write.key.length + (write.value?.length ?? 0)
  return bytes
}

function overloaded(waiting: number): MeshError {
  return new MeshError('E_OVERLOADED', `Cannot append the record: ${waiting} others already wait for the disk`, {
    hint: 'Try again in a moment',
    retryAfterMs: 100,
  })
}
