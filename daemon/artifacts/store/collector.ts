/**
 * Collects garbage in the background: looks at artifacts that changed, once they are quiet, and at those that were left something long ago. One at a time, a
 * number of looks in a while, later again after failures. Decisions are made in collect-policy.ts.
 *
 * What is remembered over a restart is a row for each artifact that holds what no ref reaches, with the time since when (rows.ts); that an artifact has many packs
 * is seen again when it changes next.
 */
import { MeshError } from '../../../protocol/errors.ts'
import type { Journal } from '../../journal/journal.ts'
import type { ArtifactEvent } from './artifact-store.ts'
import { decideCollection, KEEP_MS, QUIET_MS, retryMs } from './collect-policy.ts'
import type { FileCounts } from './garbage-signs.ts'
import { decodeLeftRow, leftWrite, TABLES } from './rows.ts'

export interface CollectorParts {
  readonly journal: Journal
  /** Counts the files of an artifact; undefined when it is not here */
  readonly look: (id: string) => Promise<FileCounts | undefined>
  /** Quarantines that see its objects */
  readonly staged: (id: string) => number
  /** Whether a ref reaches none of some */
  readonly isLeft: (id: string, tips: readonly string[], signal: AbortSignal) => Promise<boolean>
  readonly collect: (id: string, signal: AbortSignal) => Promise<unknown>
  readonly onFault: (what: string, error: unknown) => void
  /** Milliseconds since 1970 */
  readonly wallMs: () => number
  /** Monotonic milliseconds. @default performance.now */
  readonly now?: () => number
}

/** Artifacts that wait for a look; beyond it the oldest is forgotten until it changes again. */
const MAX_WAITING = 4_096
/** Looked at in one go. */
const LOOKS = 64
/** Tips remembered of one artifact; with more it counts as left something. */
const MAX_TIPS = 64
const TICK_MS = 10_000
/** What was left long ago is looked for this often. */
const SCAN_MS = 3_600_000

interface Waiting {
  /** Of its last change */
  readonly changedAt: number
  /** Not looked at before */
  readonly notBefore: number
  /** What its refs moved away from; 'lost': objects came that nothing names */
  readonly tips: readonly string[] | 'lost'
  readonly failures: number
}

export class Collector {
  readonly #parts: CollectorParts
  readonly #now: () => number
  readonly #stopping = new AbortController()
  /** Longest unchanged first */
  readonly #waiting = new Map<string, Waiting>()
  #timer: NodeJS.Timeout | undefined
  #scanAt: number
  #working: Promise<void> | undefined

  constructor(parts: CollectorParts) {
    this.#parts = parts
    this.#now = parts.now ?? (() => performance.now())
    this.#scanAt = this.#now() + QUIET_MS
  }

  start(): void {
    this.#timer = setInterval(() => void this.tick(), TICK_MS).unref()
  }

  /** Something happened to an artifact. */
  changed({ artifact, type, moves }: Pick<ArtifactEvent, 'artifact' | 'type' | 'moves'>): void {
    if (type === 'removed') return void this.#waiting.delete(artifact)
    this.#wait(
      artifact,
      moves.flatMap((move) => move.old ?? []),
    )
  }

  /** Objects came into its repository, and what should have named them did not. */
  lost(artifact: string): void {
    this.#wait(artifact, 'lost')
  }

  /** Looks at what is due, unless it does so already. Never rejects. */
  tick(): Promise<void> {
    this.#working ??= this.#work()
      .catch((error: unknown) => this.#fault('garbage of artifacts could not be looked for', error))
      .finally(() => {
        this.#working = undefined
      })
    return this.#working
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#stopping.abort(new MeshError('E_STOPPING', 'The daemon is shutting down'))
    await this.#working
  }

  #wait(id: string, tips: Waiting['tips']): void {
    const known = this.#waiting.get(id)
    const now = this.#now()
    this.#put(id, {
      changedAt: now,
      notBefore: Math.max(known?.notBefore ?? 0, now + QUIET_MS),
      tips: joined(known?.tips ?? [], tips),
      failures: known?.failures ?? 0,
    })
  }

  #put(id: string, waiting: Waiting): void {
    this.#waiting.delete(id)
    this.#waiting.set(id, waiting)
    const oldest = this.#waiting.size > MAX_WAITING ? this.#waiting.keys().next() : undefined
    if (oldest !== undefined && !oldest.done) this.#waiting.delete(oldest.value)
  }

  async #work(): Promise<void> {
    const now = this.#now()
    if (now >= this.#scanAt) {
      this.#scanAt = now + SCAN_MS
      await this.#scan()
    }
    const due = [...this.#waiting].filter(([, { notBefore }]) => notBefore <= now).slice(0, LOOKS)
    for (const [id, waiting] of due) {
      if (this.#stopping.signal.aborted) return
      // changed again since: its turn comes later
      if (this.#waiting.get(id) === waiting) await this.#consider(id, waiting)
    }
  }

  /** Finds what was left long ago. */
  async #scan(): Promise<void> {
    const { journal, wallMs } = this.#parts
    for (let after: string | undefined; !this.#stopping.signal.aborted; ) {
      const rows = await journal.range(TABLES.left, { limit: 200, ...(after === undefined ? {} : { after }) })
      for (const { key, value } of rows) {
        if (this.#waiting.size >= MAX_WAITING) return
        if (wallMs() - decodeLeftRow(value).since < KEEP_MS || this.#waiting.has(key)) continue
        this.#waiting.set(key, { changedAt: -Infinity, notBefore: 0, tips: [], failures: 0 })
      }
      after = rows.at(-1)?.key
      if (rows.length < 200) return
    }
  }

  async #consider(id: string, waiting: Waiting): Promise<void> {
    const { look, staged, collect, wallMs } = this.#parts
    const { signal } = this.#stopping
    this.#waiting.delete(id)
    try {
      const files = await look(id)
      if (files === undefined) return
      const leftSince = await this.#leftSince(id, waiting.tips)
      const quietMs = this.#now() - waiting.changedAt
      const decision = decideCollection({ ...files, leftSince, staged: staged(id), quietMs }, wallMs())
      if (decision.type === 'collect') await collect(id, signal)
      else if (decision.type === 'later') this.#again(id, waiting, decision.inMs, waiting.failures)
    } catch (error) {
      const code = error instanceof MeshError ? error.code : undefined
      if (code === 'E_NOT_FOUND') return
      // objects began to come in just now
      if (code === 'E_CONFLICT') return this.#again(id, waiting, QUIET_MS, waiting.failures)
      const failures = waiting.failures + 1
      this.#again(id, waiting, retryMs(failures), failures)
      this.#fault('garbage of an artifact could not be collected yet', error)
    }
  }

  #again(id: string, waiting: Waiting, inMs: number, failures: number): void {
    const newer = this.#waiting.get(id)
    // It may have changed while it was looked at: what was asked before is still to be answered
    const tips = newer === undefined ? waiting.tips : joined(waiting.tips, newer.tips)
    this.#put(id, { ...(newer ?? waiting), tips, failures, notBefore: this.#now() + inMs })
  }

  /** Since when it holds what no ref reaches: as the row says, or from now on. */
  async #leftSince(id: string, tips: Waiting['tips']): Promise<number | undefined> {
    const { journal, isLeft, wallMs } = this.#parts
    const row = journal.get(TABLES.left, id)
    if (row !== undefined) return decodeLeftRow(row).since
    if (tips.length === 0) return undefined
    if (tips !== 'lost' && !(await isLeft(id, tips, this.#stopping.signal))) return undefined
    const since = wallMs()
    await journal.append({ type: 'artifact.settled', body: Buffer.from(id), writes: [leftWrite(id, since)] })
    return since
  }

  #fault(what: string, error: unknown): void {
    if (!this.#stopping.signal.aborted) this.#parts.onFault(what, error)
  }
}

function joined(earlier: Waiting['tips'], later: Waiting['tips']): Waiting['tips'] {
  if (earlier === 'lost' || later === 'lost' || earlier.length + later.length > MAX_TIPS) return 'lost'
  return [...earlier, ...later]
}
