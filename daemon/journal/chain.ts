/**
 * Walks the records of a store from the oldest kept to the newest and stops at the first that cannot be trusted. Pure: blocks in, verdict out.
 */
import { gapError, rollbackError, versionError } from './errors.ts'
import { type ChainPoint, type DecodedRecord, decodeRecord } from './record.ts'

export interface ChainExpectation {
  /** What lies before the oldest kept record */
  readonly base: ChainPoint
  /** What must be contained: acknowledged up to here. Not before `base` */
  readonly acknowledged: ChainPoint
  /** Kinds of fact this version understands */
  readonly types: ReadonlySet<string>
}

export class ChainVerifier {
  readonly #expected: ChainExpectation
  #head: ChainPoint

  constructor(expected: ChainExpectation) {
    this.#expected = expected
    this.#head = expected.base
    if (expected.acknowledged.sequence < expected.base.sequence) {
      throw gapError(`its mark ends at record ${expected.acknowledged.sequence}, before the oldest record that is kept`)
    }
    this.#compare()
  }

  /** Last record that is sound */
  get head(): ChainPoint {
    return this.#head
  }

  /** Takes the next block. @throws MeshError E_JOURNAL_GAP or E_JOURNAL_VERSION naming the first bad sequence, E_JOURNAL_ROLLBACK */
  block(first: number, block: Uint8Array): void {
    const next = this.#head.sequence + 1
    if (first !== next) throw gapError(`a block begins with record ${first} where ${next} should follow`, next)
    if (block.length === 0) throw gapError('a block is empty', next)
    for (let at = 0; at < block.length; ) {
      const record = followingRecord(block, at, this.#head, this.#expected.types)
      this.#head = record
      if (record.sequence === this.#expected.acknowledged.sequence) this.#compare()
      at = record.end
    }
  }

  /** After the last block. @returns the head @throws MeshError E_JOURNAL_ROLLBACK when acknowledged records are missing at the end */
  end(): ChainPoint {
    const acknowledged = this.#expected.acknowledged.sequence
    const head = this.#head.sequence
    if (head < acknowledged) {
      throw rollbackError(`it ends at record ${head}, but everything up to ${acknowledged} was acknowledged`, {
        head,
        acknowledged,
      })
    }
    return { sequence: head, hash: Uint8Array.from(this.#head.hash) }
  }

  #compare(): void {
    const { acknowledged } = this.#expected
    if (this.#head.sequence !== acknowledged.sequence || equal(this.#head.hash, acknowledged.hash)) return
    throw rollbackError(`its record ${acknowledged.sequence} is not the one that was acknowledged`, {
      head: this.#head.sequence,
      acknowledged: acknowledged.sequence,
    })
  }
}

/**
 * The record at `at`, which must follow `last`.
 * @throws MeshError E_JOURNAL_GAP, E_JOURNAL_VERSION
 */
function followingRecord(block: Uint8Array, at: number, last: ChainPoint, types: ReadonlySet<string>): DecodedRecord {
  const sequence = last.sequence + 1
  const record = decodeRecord(block, at)
  switch (record.kind) {
    case 'damaged':
      throw gapError(`a record is damaged, ${record.why}`, sequence)
    case 'newer':
      throw versionError(`record ${sequence} has format version ${record.version}`, { sequence })
    case 'record':
      if (record.sequence !== sequence)
        throw gapError(`record ${record.sequence} stands where ${sequence} should`, sequence)
      if (!equal(record.previous, last.hash)) throw gapError('a record does not continue the one before it', sequence)
      if (!types.has(record.type))
        throw versionError(`record ${sequence} is of the unknown type '${record.type}'`, { sequence })
      return record
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
