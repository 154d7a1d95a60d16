/** Sandboxes in the journal. */
import { decodeSandboxRow, encodeSandboxRow, type SandboxRow } from '../../../protocol/sandbox/row.ts'
import type { Journal } from '../../journal/journal.ts'

const TABLE = 'sandbox'
const PAGE = 500

export class SandboxStore {
  readonly #journal: Journal

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** Resolves when it is on disk. @throws MeshError E_STORAGE, E_OVERLOADED */
  async keep(row: SandboxRow): Promise<void> {
    const value = encodeSandboxRow(row)
    await this.#journal.append({ type: 'sandbox.kept', body: value, writes: [{ table: TABLE, key: row.id, value }] })
  }

  async drop(id: string): Promise<void> {
    const body = new TextEncoder().encode(id)
    await this.#journal.append({ type: 'sandbox.gone', body, writes: [{ table: TABLE, key: id }] })
  }

  /** @throws MeshError E_JOURNAL_GAP */
  async all(): Promise<SandboxRow[]> {
    const rows: SandboxRow[] = []
    for (let after: string | undefined; ; ) {
      const page = await this.#journal.range(TABLE, { limit: PAGE, ...(after === undefined ? {} : { after }) })
      rows.push(...page.map(({ value }) => decodeSandboxRow(value)))
      if (page.length < PAGE) return rows
      after = page.at(-1)?.key
    }
  }
}
