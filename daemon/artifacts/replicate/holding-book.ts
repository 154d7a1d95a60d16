/**
 * Who holds what, durably: the newest holding of each other node for each artifact held here, by artifact and by node, so that nothing of it need be in memory.
 *
 *   artifact-holding   <artifact>/<node>   the holding as it came, signed
 *   artifact-shared    <node>/<artifact>   empty: the same by node
 *   artifact-placed    <artifact>          empty: this node holds its copy because it was asked to
 */
import { type Holding, openHolding } from '../../../protocol/artifact/holding.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'

export const REPLICATION_RECORDS = ['artifact.holding', 'artifact.placed', 'artifact.forgotten'] as const

export interface KeptHolding {
  readonly holding: Holding
  /** As the holder signed it */
  readonly text: string
}

const EMPTY = new Uint8Array()
/** Other holders of one artifact that are looked at; a contract names fewer. */
const MAX_HOLDERS = 1_000

export class HoldingBook {
  readonly #journal: Journal

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** @throws MeshError E_STORAGE */
  async keep({ artifact, holder }: Holding, text: string): Promise<void> {
    const body = Buffer.from(JSON.stringify({ artifact, holder }))
    const writes: TableWrite[] = [
      { table: 'artifact-holding', key: `${artifact}/${holder}`, value: Buffer.from(text) },
      { table: 'artifact-shared', key: `${holder}/${artifact}`, value: EMPTY },
    ]
    await this.#journal.append({ type: 'artifact.holding', body, writes })
  }

  async forget(artifact: string, holder: string): Promise<void> {
    if (!this.knows(artifact, holder)) return
    const body = Buffer.from(JSON.stringify({ artifact, holder }))
    await this.#journal.append({ type: 'artifact.forgotten', body, writes: forgetting(artifact, holder) })
  }

  /** Of an artifact that is not here any more. @throws MeshError E_STORAGE */
  async forgetAll(artifact: string): Promise<void> {
    const body = Buffer.from(JSON.stringify({ artifact }))
    const kept = await this.of(artifact)
    if (kept.length === 0 && !this.isPlaced(artifact)) return
    const writes: TableWrite[] = kept.flatMap(({ holding }) => forgetting(artifact, holding.holder))
    await this.#journal.append({
      type: 'artifact.forgotten',
      body,
      writes: [...writes, { table: 'artifact-placed', key: artifact }],
    })
  }

  knows(artifact: string, holder: string): boolean {
    return this.#journal.get('artifact-holding', `${artifact}/${holder}`) !== undefined
  }

  get(artifact: string, holder: string): Holding | undefined {
    const value = this.#journal.get('artifact-holding', `${artifact}/${holder}`)
    return value && openHolding(Buffer.from(value).toString())
  }

  async of(artifact: string): Promise<KeptHolding[]> {
    const rows = await this.#journal.range('artifact-holding', { prefix: `${artifact}/`, limit: MAX_HOLDERS })
    return rows.map(({ value }) => {
      const text = Buffer.from(value).toString()
      return { holding: openHolding(text), text }
    })
  }

  /** Artifacts the node is known to hold, in order of ids. */
  async sharedWith(node: string, after: string | undefined, limit: number): Promise<string[]> {
    const from = after === undefined ? {} : { after: `${node}/${after}` }
    const rows = await this.#journal.range('artifact-shared', { prefix: `${node}/`, ...from, limit })
    return rows.map(({ key }) => key.slice(node.length + 1))
  }

  isPlaced(artifact: string): boolean {
    return this.#journal.get('artifact-placed', artifact) !== undefined
  }

  /** Says whether this node holds its copy because it was asked to; otherwise somebody here wants it. */
  async setPlaced(artifact: string, placed: boolean): Promise<void> {
    if (this.isPlaced(artifact) === placed) return
    const writes = [{ table: 'artifact-placed', key: artifact, ...(placed ? { value: EMPTY } : {}) }]
    const body = Buffer.from(JSON.stringify({ artifact, placed }))
    await this.#journal.append({ type: 'artifact.placed', body, writes })
  }
}

function forgetting(artifact: string, holder: string): TableWrite[] {
  return [
    { table: 'artifact-holding', key: `${artifact}/${holder}` },
    { table: 'artifact-shared', key: `${holder}/${artifact}` },
  ]
}
