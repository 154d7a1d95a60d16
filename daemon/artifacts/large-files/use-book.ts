/**
 * Which artifacts here use large files, durably. Of the others nothing is ever looked for.
 *
 *   lfs-use   <artifact>   JSON {tips, source?}: whose history was searched for pointers, and the artifact it was forked from
 */
import * as z from 'zod'
import { MeshError } from '../../../protocol/errors.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'

const useSchema = z.strictObject({ tips: z.array(z.string()), source: z.string().optional() })
export type Use = Readonly<z.infer<typeof useSchema>>

const TABLE = 'lfs-use'
/** With more the history is searched from the start each time: the row would not be worth it. */
const MAX_TIPS = 4_096
const PAGE = 500

export class UseBook {
  readonly #journal: Journal

  constructor(journal: Journal) {
    this.#journal = journal
  }

  has(artifact: string): boolean {
    return this.#journal.get(TABLE, artifact) !== undefined
  }

  /** @returns undefined for an artifact without large files */
  get(artifact: string): Use | undefined {
    const row = this.#journal.get(TABLE, artifact)
    if (row === undefined) return undefined
    const { data, error } = useSchema.safeParse(JSON.parse(Buffer.from(row).toString('utf8')))
    if (data !== undefined) return data
    throw new MeshError('E_JOURNAL_VERSION', 'Cannot read a row of large files: another version wrote it', {
      cause: error,
    })
  }

  /** The row, to be written with what it goes with. */
  row(artifact: string, { tips, ...rest }: Use): TableWrite {
    const kept = { ...rest, tips: tips.length > MAX_TIPS ? [] : tips }
    return { table: TABLE, key: artifact, value: Buffer.from(JSON.stringify(kept)) }
  }

  /** @throws MeshError E_STORAGE */
  async begin(artifact: string, source?: string): Promise<void> {
    if (this.has(artifact)) return
    const writes = [this.row(artifact, { tips: [], ...(source === undefined ? {} : { source }) })]
    await this.#journal.append({ type: 'lfs.wanted', body: Buffer.from(artifact), writes })
  }

  async forget(artifact: string): Promise<void> {
    if (!this.has(artifact)) return
    const writes = [{ table: TABLE, key: artifact }]
    await this.#journal.append({ type: 'lfs.forgotten', body: Buffer.from(artifact), writes })
  }

  /** Artifacts with large files, in order of ids. */
  async *all(): AsyncGenerator<string> {
    for (let after: string | undefined; ; ) {
      const rows = await this.#journal.range(TABLE, { limit: PAGE, ...(after === undefined ? {} : { after }) })
      for (const { key } of rows) yield key
      after = rows.at(-1)?.key
      if (after === undefined) return
    }
  }
}
