/** What a removal changes in the journal: all rows of the artifact go, and one stays that says that its files and what is kept of it elsewhere are still to go. */
import type { TableWrite } from '../../journal/journal.ts'
import type { Attribution } from './artifact-store.ts'
import { bytesOf, encodeRow, headKey, leftWrite, TABLES } from './rows.ts'
import type { ArtifactState } from './state.ts'

export interface Removal {
  readonly fact: { readonly type: 'artifact.removed'; readonly body: Uint8Array }
  readonly writes: readonly TableWrite[]
  /** For the quotas */
  readonly change: { readonly agent: string | undefined; readonly artifacts: number; readonly bytes: number }
}

export function removalOf({ row }: ArtifactState, pending: readonly TableWrite[], by: Attribution): Removal {
  const { id, name, agent, writers } = row
  return {
    fact: { type: 'artifact.removed', body: encodeRow({ artifact: id, name, by }) },
    writes: [
      { table: TABLES.artifact, key: id },
      { table: TABLES.name, key: name },
      { table: TABLES.birth, key: id },
      { table: TABLES.gone, key: id, value: new Uint8Array(0) },
      { table: TABLES.offer, key: id },
      leftWrite(id, undefined),
      ...writers.map((writer) => ({ table: TABLES.head, key: headKey(id, writer) })),
      ...pending,
    ],
    change: { agent, artifacts: -1, bytes: -bytesOf(row) },
  }
}
