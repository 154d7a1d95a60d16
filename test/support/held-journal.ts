/** A journal whose disk syncs when a test says so: what waits for it is lost in a crash, which is a new node over `disk`. */
import type {
  AppendWhen,
  Journal,
  JournalHealth,
  JournalRecord,
  NewRecord,
  RangeOptions,
} from '../../daemon/journal/journal.ts'

interface Held {
  readonly record: NewRecord
  readonly when: AppendWhen
  readonly done: PromiseWithResolvers<number>
}

export class HeldJournal implements Journal {
  /** What survives */
  readonly disk: Journal
  #held: Held[] = []

  constructor(disk: Journal) {
    this.disk = disk
  }

  /** Types of the records that wait for the disk, in order. */
  get waiting(): string[] {
    return this.#held.map(({ record }) => record.type)
  }

  /** Those of them for which a disk would be asked at once. */
  get hurried(): string[] {
    return this.#held.filter(({ when }) => when === 'now').map(({ record }) => record.type)
  }

  /** Syncs the first `count` that wait. @default all */
  async sync(count = this.#held.length): Promise<void> {
    for (const { record, done } of this.#held.splice(0, count)) done.resolve(await this.disk.append(record))
  }

  /** The disk fails: nothing that waits is stored. */
  refuse(error: Error): void {
    for (const { done } of this.#held.splice(0)) done.reject(error)
  }

  append(record: NewRecord, when: AppendWhen = 'now'): Promise<number> {
    const done = Promise.withResolvers<number>()
    this.#held.push({ record, when, done })
    return done.promise
  }

  get head(): number {
    return this.disk.head
  }

  get(table: string, key: string): Uint8Array | undefined {
    return this.disk.get(table, key)
  }

  range(table: string, options?: RangeOptions): Promise<{ key: string; value: Uint8Array }[]> {
    return this.disk.range(table, options)
  }

  keys(table: string, options?: RangeOptions): Promise<string[]> {
    return this.disk.keys(table, options)
  }

  read(from: number, limit?: number): Promise<JournalRecord[]> {
    return this.disk.read(from, limit)
  }

  health(): JournalHealth {
    return this.disk.health()
  }

  trim(before: number): Promise<void> {
    return this.disk.trim(before)
  }

  close(): Promise<void> {
    return this.disk.close()
  }
}
