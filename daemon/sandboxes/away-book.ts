/**
 * The sandboxes of this node that are on others, and those that came home again under another id: what the user calls by one id for life, wherever it is.
 *
 * Journal table "sandbox-away", key: the id the user knows: JSON {"node", "at", "name"?, "agent"?, "view"?}, where `at` is its id on that node and `view` what
 * was last heard.
 */
import * as z from 'zod'
import type { SandboxView } from '../../protocol/api-sandboxes.ts'
import { MeshError } from '../../protocol/errors.ts'
import { LIMITS } from '../../protocol/limits.ts'
import { sandboxView } from '../../protocol/sandbox/op.ts'
import type { Journal } from '../journal/journal.ts'

const awayRow = z.object({
  node: z.string(),
  at: z.string(),
  name: z.string().exactOptional(),
  agent: z.string().exactOptional(),
  view: sandboxView,
})

export interface AwaySandbox {
  readonly id: string
  readonly node: string
  /** Its id on that node */
  readonly at: string
  readonly name?: string
  readonly agent?: string
  /** As last heard */
  readonly view: SandboxView
}

const TABLE = 'sandbox-away'
const PAGE = 1_000

export class AwayBook {
  readonly #journal: Journal
  readonly #rows = new Map<string, AwaySandbox>()

  private constructor(journal: Journal) {
    this.#journal = journal
  }

  /** @throws MeshError E_JOURNAL_GAP */
  static async open(journal: Journal): Promise<AwayBook> {
    const book = new AwayBook(journal)
    let after: string | undefined
    for (;;) {
      const rows = await journal.range(TABLE, after === undefined ? { limit: PAGE } : { after, limit: PAGE })
      for (const { key, value } of rows) {
        const row = awayRow.safeParse(JSON.parse(Buffer.from(value).toString()))
        if (row.success) book.#rows.set(key, { id: key, ...row.data })
      }
      after = rows.at(-1)?.key
      if (rows.length < PAGE) return book
    }
  }

  all(): readonly AwaySandbox[] {
    return [...this.#rows.values()]
  }

  find(idOrName: string): AwaySandbox | undefined {
    return this.#rows.get(idOrName) ?? this.all().find(({ name }) => name === idOrName)
  }

  /** Resolves once it is durable. @throws MeshError E_STORAGE, E_OVERLOADED */
  async put(row: AwaySandbox): Promise<void> {
    if (!this.#rows.has(row.id) && this.#rows.size >= LIMITS.sandboxesAway)
      throw new MeshError(
        'E_OVERLOADED',
        `This node may have ${LIMITS.sandboxesAway} sandboxes on others, and has them`,
        { hint: 'Remove some: manyhands sandbox ls, manyhands sandbox rm <sandbox>' },
      )
    const { id, ...rest } = row
    const before = this.#rows.get(id)
    this.#rows.set(id, row)
    try {
      await this.#append(id, Buffer.from(JSON.stringify(rest)))
    } catch (error) {
      if (before) this.#rows.set(id, before)
      else this.#rows.delete(id)
      throw error
    }
  }

  /** Keeps what was heard in memory only: it is asked for again after a start. */
  heard(id: string, view: SandboxView): void {
    const row = this.#rows.get(id)
    if (row) this.#rows.set(id, { ...row, view })
  }

  async remove(id: string): Promise<void> {
    const row = this.#rows.get(id)
    if (!row) return
    this.#rows.delete(id)
    try {
      await this.#append(id, undefined)
    } catch (error) {
      this.#rows.set(id, row)
      throw error
    }
  }

  async #append(id: string, value: Uint8Array | undefined): Promise<void> {
    await this.#journal.append({
      type: value === undefined ? 'sandbox.home' : 'sandbox.away',
      body: Buffer.from(id),
      writes: [{ table: TABLE, key: id, ...(value === undefined ? {} : { value }) }],
    })
  }
}
