import { type Holding, holdsAll, openHolding } from '../../../protocol/artifact/holding.ts'
import type { Contract, ReplicaTimes } from '../../../protocol/artifact/replication.ts'
import type { ArtifactView } from '../store/artifact-store.ts'
import type { KeptHolding } from './holding-book.ts'
import type { Links } from './links.ts'

export interface HolderStatus {
  readonly node: string
  readonly self: boolean
  readonly connected: boolean
  /** Newest sequence of the owner that it holds */
  readonly sequence: number
  /** Newest sequence of each writer */
  readonly sequences: Readonly<Record<string, number>>
  /** Writers it saw sign two histories */
  readonly frozen: readonly string[]
  /** Whether it holds all that this node holds, large files included */
  readonly current: boolean
  /** Large files that its commits name and that it does not hold yet */
  readonly lacks: number
  readonly placed: boolean
  /** When it said so, milliseconds since 1970 by its clock */
  readonly at: number
  /** Its signed word, a DSSE envelope as JSON text */
  readonly signed: string
}

export interface ReplicationStatus {
  readonly artifact: string
  readonly owner: string
  readonly contract: Contract
  /** `healthy`: enough holders, all named ones among them, hold everything. `catching-up`: enough hold it, some lag. `short`: copies are missing */
  readonly state: 'healthy' | 'catching-up' | 'short'
  /** This node first */
  readonly holders: readonly HolderStatus[]
  /** Nodes the contract names that do not hold it */
  readonly missing: readonly string[]
}

export interface StatusFacts {
  readonly view: ArtifactView
  readonly self: string
  /** This node's own holding */
  readonly own: string
  readonly kept: readonly KeptHolding[]
  readonly links: Links
  readonly times: ReplicaTimes
}

export function statusOf({ view, self, own, kept, links, times }: StatusFacts): ReplicationStatus {
  const mine = openHolding(own)
  const statusOfHolder = (holding: Holding, text: string): HolderStatus => ({
    node: holding.holder,
    self: holding.holder === self,
    connected: holding.holder === self || links.link(holding.holder) !== undefined,
    sequence: holding.heads.get(view.owner)?.sequence ?? 0,
    sequences: Object.fromEntries([...holding.heads].map(([writer, { sequence }]) => [writer, sequence])),
    frozen: [...holding.heads].filter(([, { frozen }]) => frozen === true).map(([writer]) => writer),
    current: holdsAll(holding, mine),
    lacks: holding.lacks ?? 0,
    placed: holding.placed,
    at: holding.at,
    signed: text,
  })
  const holders = [statusOfHolder(mine, own), ...kept.map(({ holding, text }) => statusOfHolder(holding, text))]
  const { min, max, mustInclude } = view.settings.replicas
  const present = holders.filter(({ node, connected }) => connected || links.awayMs(node) < times.graceMs)
  const missing = mustInclude.filter((node) => !present.some((holder) => holder.node === node))
  const isShort = present.length < min || missing.length > 0
  const current = present.filter(({ connected, current }) => connected && current).length
  const state = isShort
    ? 'short'
    : current >= Math.min(min, present.length) && present.every((each) => each.current)
      ? 'healthy'
      : 'catching-up'
  return { artifact: view.id, owner: view.owner, contract: { min, max, mustInclude }, state, holders, missing }
}
