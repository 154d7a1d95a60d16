/**
 * What artifacts take, against what they may: in bytes and number, for the node and for each agent. An artifact's own bytes stand in its row.
 * Counters change at once, so that those who run side by side cannot both take the last room; their rows are written with the append that causes them.
 */
import { createHash } from 'node:crypto'
import { MeshError } from '../../../protocol/errors.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'
import { decodeUsageRow, encodeRow, TABLES, type UsageRow } from './rows.ts'

export interface Quotas {
  /** Bytes of one artifact. @default 1 GiB */
  readonly artifactBytes: number
  /** Bytes of all artifacts of one agent. @default 4 GiB */
  readonly agentBytes: number
  /** Number of artifacts of one agent. @default 100,000 */
  readonly agentArtifacts: number
  /** Bytes of all artifacts. @default 64 GiB */
  readonly nodeBytes: number
  /** Number of artifacts. @default 2,000,000 */
  readonly nodeArtifacts: number
}

export const DEFAULT_QUOTAS: Quotas = {
  artifactBytes: 1024 ** 3,
  agentBytes: 4 * 1024 ** 3,
  agentArtifacts: 100_000,
  nodeBytes: 64 * 1024 ** 3,
  nodeArtifacts: 2_000_000,
}

/** What to do about E_QUOTA */
export const FREE_ROOM =
  'Free room with `manyhands artifact rm` and `manyhands artifact gc`, or raise the quota in artifacts.*'

export interface Change {
  readonly agent?: string | undefined
  readonly artifacts: number
  readonly bytes: number
}

export interface Whose {
  readonly id: string
  readonly agent: string | undefined
}

interface Counter {
  artifacts: number
  bytes: number
  /** Changes whose append has not ended: as long the row is older than this */
  open: number
}

export class Usage {
  readonly #journal: Journal
  readonly #quotas: Quotas
  readonly #counters = new Map<string, Counter>()
  /** Bytes that are coming in and are not counted yet, by counter and by artifact */
  readonly #reserved = new Map<string, number>()

  constructor(journal: Journal, quotas: Quotas) {
    this.#journal = journal
    this.#quotas = quotas
  }

  /** Of the node. */
  total(): UsageRow {
    const { artifacts, bytes } = this.#read('node')
    return { artifacts, bytes }
  }

  /** Bytes that an artifact may still grow, beside what is reserved. */
  room({ id, agent }: Whose, artifactBytes: number): number {
    const { artifactBytes: most, agentBytes, nodeBytes } = this.#quotas
    const left = (key: string, bytes: number): number => bytes - (this.#reserved.get(key) ?? 0)
    const rooms = [left(id, most - artifactBytes), left('node', nodeBytes - this.#read('node').bytes)]
    if (agent !== undefined) rooms.push(left(agentKey(agent), agentBytes - this.#read(agentKey(agent)).bytes))
    return Math.max(0, Math.min(...rooms))
  }

  /** Takes room for what is coming in, without looking whether there is any. It is counted by `during`, which does not ask for it. @returns gives it back; call once */
  reserve({ id, agent }: Whose, bytes: number): () => void {
    const keys = ['node', id, ...(agent === undefined ? [] : [agentKey(agent)])]
    const change = (by: number): void => {
      for (const key of keys) {
        const now = (this.#reserved.get(key) ?? 0) + by
        if (now > 0) this.#reserved.set(key, now)
        else this.#reserved.delete(key)
      }
    }
    change(bytes)
    return () => change(-bytes)
  }

  /**
   * Counts a change while `append` runs, and takes it back when that fails. `append` gets the rows with the new numbers by a function, to be called in the
   * very turn in which it appends: then the order of rows is that of the numbers.
   * @throws MeshError E_QUOTA before `append` is called; what `append` throws
   */
  async during<T>(
    change: Change,
    artifactBytes: number,
    append: (writes: () => TableWrite[]) => Promise<T>,
  ): Promise<T> {
    this.#assertRoom(change, artifactBytes)
    return this.adjust(change, append)
  }

  /** The same without asking for room. */
  async adjust<T>(change: Change, append: (writes: () => TableWrite[]) => Promise<T>): Promise<T> {
    if (change.artifacts === 0 && change.bytes === 0) return append(() => [])
    const keys = change.agent === undefined ? ['node'] : ['node', agentKey(change.agent)]
    const counters = keys.map((key) => this.#open(key))
    for (const counter of counters) add(counter, change, 1)
    try {
      return await append(() =>
        keys.map((key, index) => ({ table: TABLES.usage, key, value: encodeRow(rowOf(counters[index])) })),
      )
    } catch (error) {
      for (const counter of counters) add(counter, change, -1)
      throw error
    } finally {
      for (const [index, counter] of counters.entries())
        if (--counter.open === 0) this.#counters.delete(keys[index] ?? '')
    }
  }

  #assertRoom({ agent, artifacts, bytes }: Change, artifactBytes: number): void {
    const { artifactBytes: most, agentBytes, agentArtifacts, nodeBytes, nodeArtifacts } = this.#quotas
    if (bytes > 0) refuseAbove('artifact', 'bytes', artifactBytes + bytes, most)
    if (agent !== undefined) {
      const used = this.#read(agentKey(agent))
      if (bytes > 0) refuseAbove('agent', 'bytes', used.bytes + bytes, agentBytes)
      if (artifacts > 0) refuseAbove('agent', 'artifacts', used.artifacts + artifacts, agentArtifacts)
    }
    const used = this.#read('node')
    if (bytes > 0) refuseAbove('node', 'bytes', used.bytes + bytes, nodeBytes)
    if (artifacts > 0) refuseAbove('node', 'artifacts', used.artifacts + artifacts, nodeArtifacts)
  }

  #open(key: string): Counter {
    const counter = this.#counters.get(key) ?? { ...this.#read(key), open: 0 }
    counter.open++
    this.#counters.set(key, counter)
    return counter
  }

  #read(key: string): UsageRow {
    const counter = this.#counters.get(key)
    if (counter !== undefined) return counter
    const row = this.#journal.get(TABLES.usage, key)
    return row === undefined ? { artifacts: 0, bytes: 0 } : decodeUsageRow(row)
  }
}

/** Hashed: an agent's name may be longer than a key */
const agentKey = (agent: string): string => `agent/${createHash('sha256').update(agent).digest('hex')}`

function rowOf(counter: Counter | undefined): UsageRow {
  return { artifacts: Math.max(0, counter?.artifacts ?? 0), bytes: Math.max(0, counter?.bytes ?? 0) }
}

function add(counter: Counter, { artifacts, bytes }: Change, sign: 1 | -1): void {
  counter.artifacts += sign * artifacts
  counter.bytes += sign * bytes
}

function refuseAbove(whose: string, what: string, wanted: number, most: number): void {
  if (wanted <= most) return
  throw new MeshError(
    'E_QUOTA',
    `Cannot store this: the ${whose} would hold ${wanted} ${what}, at most ${most} are allowed`,
    {
      hint: FREE_ROOM,
      details: { quota: `${whose}.${what}`, wanted, most },
    },
  )
}
