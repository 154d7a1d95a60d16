import type { SealedRecord } from '../../../protocol/artifact/record.ts'
import { RECORD_BYTES_PER_FETCH, RECORDS_PER_FETCH } from './record-stream.ts'

/** What is kept in memory of several streams, before what they brought is taken. The store takes as many at once. */
const RECORDS_GATHERED = 65_536
const RECORD_BYTES_GATHERED = 64 << 20

/** A record that may be taken, or that proves an equivocation, with its text as it came. */
export interface Taken {
  readonly sealed: SealedRecord
  readonly proves: boolean
}

/**
 * The records that the streams of one fetch have brought. A history that is longer than a stream carries comes over several, and only the last one is asked
 * for objects: what records named on the way, a branch that was deleted since, may be nowhere any more.
 */
export class Gathered {
  readonly taken: Taken[] = []
  /** Of each writer, once something was taken */
  readonly sequences = new Map<string, number>()
  #characters = 0

  add(found: readonly Taken[]): void {
    for (const one of found) {
      const { record, text } = one.sealed
      this.taken.push(one)
      this.#characters += text.length
      if (!one.proves) this.sequences.set(record.writer, record.sequence)
    }
  }

  /** For what one more stream may bring */
  get hasRoom(): boolean {
    return (
      this.taken.length + RECORDS_PER_FETCH <= RECORDS_GATHERED &&
      this.#characters + RECORD_BYTES_PER_FETCH <= RECORD_BYTES_GATHERED
    )
  }
}
