/** The artifacts of this node, as the journal's tables have them. Keeps the state of those used last and nothing of the others. */
import { isArtifactId } from '../../../protocol/artifact/genesis.ts'
import { isArtifactName } from '../../../protocol/artifact/settings.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'
import { type ArtifactRow, decodeArtifactRow, decodeHeadRow, encodeRow, headKey, type HeadRow, TABLES } from './rows.ts'
import type { ArtifactState } from './state.ts'

const MAX_KEPT = 256

export class Catalog {
  readonly #journal: Journal
  readonly #kept = new Map<string, ArtifactState>()

  constructor(journal: Journal) {
    this.#journal = journal
  }

  idOf(idOrName: string): string | undefined {
    if (isArtifactId(idOrName)) return idOrName
    if (!isArtifactName(idOrName)) return undefined
    const row = this.#journal.get(TABLES.name, idOrName)
    return row === undefined ? undefined : Buffer.from(row).toString('utf8')
  }

  row(id: string): ArtifactRow | undefined {
    const kept = this.#kept.get(id)
    if (kept !== undefined) return kept.row
    const row = isArtifactId(id) ? this.#journal.get(TABLES.artifact, id) : undefined
    return row === undefined ? undefined : decodeArtifactRow(row)
  }

  state(id: string): ArtifactState | undefined {
    const kept = this.#kept.get(id)
    if (kept !== undefined) {
      this.#keep(kept)
      return kept
    }
    const row = this.row(id)
    if (row === undefined) return undefined
    const heads = new Map<string, HeadRow>()
    for (const writer of row.writers) {
      const bytes = this.#journal.get(TABLES.head, headKey(id, writer))
      if (bytes !== undefined) heads.set(writer, decodeHeadRow(bytes))
    }
    const state = { row, heads }
    this.#keep(state)
    return state
  }

  /** After the append that wrote it. */
  put(state: ArtifactState): void {
    this.#keep(state)
  }

  drop(id: string): void {
    this.#kept.delete(id)
  }

  /** Names and ids in order of names. */
  async names(prefix: string, after: string | undefined, limit: number): Promise<{ name: string; id: string }[]> {
    const page = await this.#journal.range(TABLES.name, { prefix, limit, ...(after === undefined ? {} : { after }) })
    return page.map(({ key, value }) => ({ name: key, id: Buffer.from(value).toString('utf8') }))
  }

  async ids(after: string | undefined, limit: number): Promise<string[]> {
    const page = await this.#journal.range(TABLES.artifact, { limit, ...(after === undefined ? {} : { after }) })
    return page.map(({ key }) => key)
  }

  #keep(state: ArtifactState): void {
    this.#kept.delete(state.row.id)
    this.#kept.set(state.row.id, state)
    if (this.#kept.size <= MAX_KEPT) return
    const oldest = this.#kept.keys().next()
    if (!oldest.done) this.#kept.delete(oldest.value)
  }
}

/** Rows that make `next` of `before`: those of heads only where they changed. */
export function stateWrites(before: ArtifactState | undefined, next: ArtifactState): TableWrite[] {
  const { id } = next.row
  const writes: TableWrite[] = [{ table: TABLES.artifact, key: id, value: encodeRow(next.row) }]
  for (const [writer, head] of next.heads) {
    if (before?.heads.get(writer) === head) continue
    writes.push({ table: TABLES.head, key: headKey(id, writer), value: encodeRow(head) })
  }
  if (before?.row.name !== next.row.name) {
    if (before !== undefined) writes.push({ table: TABLES.name, key: before.row.name })
    writes.push({ table: TABLES.name, key: next.row.name, value: Buffer.from(id) })
  }
  return writes
}
