/** A writer's records, read back from the commits they stand in. */
import { openRecord, type SealedRecord } from '../../../protocol/artifact/record.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { gitOutput } from '../store/git-process.ts'
import type { ObjectReader } from '../store/object-reader.ts'
import { readRecordCommit } from './record-commit.ts'

/** Steps that are walked one by one; further back Git is asked to skip. */
const WALK = 64

export interface ChainEnd {
  readonly sequence: number
  /** Commit of the newest record */
  readonly commit: string
}

export class RecordChain {
  readonly #reader: ObjectReader

  constructor(reader: ObjectReader) {
    this.#reader = reader
  }

  /** Envelopes with a sequence above `after`, oldest first, at most `limit`. @throws MeshError E_STORAGE when one is missing or not a record */
  async range(repository: string, end: ChainEnd, after: number, limit: number): Promise<string[]> {
    const last = Math.min(end.sequence, after + limit)
    if (last <= after) return []
    const texts: string[] = []
    let commit: string | null = await this.commitAt(repository, end, last)
    for (let sequence = last; sequence > after && commit !== null; sequence--) {
      const link = await this.#link(repository, commit)
      texts.push(link.text)
      commit = link.parent
    }
    return texts.reverse()
  }

  async at(repository: string, end: ChainEnd, sequence: number): Promise<SealedRecord | undefined> {
    if (sequence < 1 || sequence > end.sequence) return undefined
    const link = await this.#link(repository, await this.commitAt(repository, end, sequence))
    return openRecord(link.text)
  }

  /** The envelope in one commit. */
  async text(repository: string, commit: string): Promise<string> {
    return (await this.#link(repository, commit)).text
  }

  /** Commit of an earlier record of the chain that ends there. */
  async commitAt(repository: string, end: ChainEnd, sequence: number): Promise<string> {
    const back = end.sequence - sequence
    let { commit } = end
    if (back > WALK) {
      const args = ['rev-list', '--first-parent', `--skip=${back}`, '--max-count=1', '--end-of-options', commit]
      return (await gitOutput({ args, repository, foreign: false })).toString('utf8').trim()
    }
    for (let step = 0; step < back; step++) {
      const { parent } = await this.#link(repository, commit)
      if (parent === null) throw damaged()
      commit = parent
    }
    return commit
  }

  async #link(repository: string, commit: string) {
    const object = await this.#reader.read(repository, commit)
    const link = object?.type === 'commit' ? readRecordCommit(object.content) : undefined
    if (link === undefined) throw damaged()
    return link
  }
}

function damaged(): MeshError {
  return new MeshError('E_STORAGE', 'Cannot read the records of an artifact: one is missing from its repository', {
    hint: 'Fetch the artifact again from another holder.',
  })
}
