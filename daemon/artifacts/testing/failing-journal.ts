/** A journal in memory that takes nothing more after a record of one type, until it is mended: what is to follow on that record does not. */
import { storageError } from '../../journal/errors.ts'
import type { NewRecord } from '../../journal/journal.ts'
import { MemoryJournal } from '../../journal/memory-journal.ts'

export class FailingJournal extends MemoryJournal {
  readonly #last: string
  #fails = false

  constructor(types: Iterable<string>, last: string) {
    super({ types })
    this.#last = last
  }

  mend(): void {
    this.#fails = false
  }

  override append(record: NewRecord): Promise<number> {
    if (this.#fails) return Promise.reject(storageError('it takes nothing more'))
    if (record.type === this.#last) this.#fails = true
    return super.append(record)
  }
}
