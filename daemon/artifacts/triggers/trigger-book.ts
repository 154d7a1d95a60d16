/**
 * Programs that pushes, and new and merged proposals, start. A trigger is a row of the journal; so is how far it has looked. Records are looked at one by one and in order from there, never by
 * what was told of them, so that a push that was acknowledged just before the process ended or the disk failed still starts its task, once: the task's idempotency key names artifact, trigger,
 * writer, record and ref.
 *
 * Against loops: what a task does that a trigger of the same artifact started, directly or through others, starts nothing below `MAX_DEPTH`, and never the same trigger
 * again. Against floods: a number of starts in a minute; what is above is dropped and counted.
 *
 * Tables: "trigger" artifact/name -> TriggerRow; "trigger-task" task -> what started it.
 */
import * as z from 'zod'
import type { ArtifactEvent, TriggerRequest, TriggerView } from '../../../protocol/api.ts'
import type { Attribution, RefMove } from '../../../protocol/artifact/record.ts'
import { openRecord } from '../../../protocol/artifact/record.ts'
import { MeshError, toMeshError } from '../../../protocol/errors.ts'
import type { Journal } from '../../journal/journal.ts'
import type { Tasks } from '../../tasks/tasks.ts'
import type { OpenStore } from '../store/journal-store.ts'
import { causeOf, mayTrigger, type TriggerCause } from './trigger-cause.ts'

const program = z.strictObject({
  source: z.string().exactOptional(),
  filename: z.string().exactOptional(),
  modules: z.record(z.string(), z.string()).exactOptional(),
  main: z.string().exactOptional(),
})
const triggerRow = z.strictObject({
  name: z.string(),
  on: z.enum(['push', 'proposal', 'merge']).default('push'),
  branch: z.string(),
  program,
  perMinute: z.int(),
  paths: z.array(z.string()).exactOptional(),
  /** Whose task it is: who made the trigger */
  subject: z.string(),
  createdAt: z.int(),
  started: z.int(),
  dropped: z.int(),
  lastTask: z.string().exactOptional(),
  /** By writer: sequence of the last record that was looked at */
  seen: z.record(z.string(), z.int()),
})
type TriggerRow = z.output<typeof triggerRow>

const startedBy = z.strictObject({ artifact: z.string(), triggers: z.array(z.string()) })

/** Triggers of one artifact. */
const MAX_TRIGGERS = 32
/** Tasks that may start each other in a chain. */
const MAX_DEPTH = 3
/** What could not be looked at is looked at again after this, milliseconds; sooner when something is pushed. */
const RETRY_MS = 30_000
const MINUTE_MS = 60_000
const PAGE = 100

/** The kinds of records this folder writes. */
export const TRIGGER_RECORDS = ['trigger.set', 'trigger.removed', 'trigger.looked'] as const

export interface TriggerParts {
  readonly store: OpenStore
  readonly journal: Journal
  readonly tasks: Pick<Tasks, 'run'>
  onEvent(event: ArtifactEvent): void
  note(what: string, facts: Readonly<Record<string, unknown>>): void
  /** Milliseconds since 1970, for display */
  readonly wallMs: () => number
  /** Monotonic milliseconds */
  readonly now: () => number
}

interface Push {
  readonly artifact: string
  readonly name: string
  readonly writer: string
  readonly sequence: number
  readonly moves: readonly RefMove[]
  readonly by: Attribution
}

export class TriggerBook {
  readonly #parts: TriggerParts
  /** Artifacts that have triggers: all others cost nothing */
  readonly #watched = new Set<string>()
  /** Starts of the last minute, by artifact/name */
  readonly #starts = new Map<string, number[]>()
  /** Artifacts that wait to be looked at: once, however much is pushed meanwhile */
  readonly #due = new Set<string>()
  /** Artifacts in which looking failed */
  readonly #behind = new Set<string>()
  #retry: NodeJS.Timeout | undefined
  #queue: Promise<void> = Promise.resolve()
  #closed = false
  readonly #off: () => void

  constructor(parts: TriggerParts) {
    this.#parts = parts
    this.#off = parts.store.on((event) => {
      const { type, artifact, moves } = event
      if (!this.#watched.has(artifact)) return
      if (type === 'removed') this.#enqueue(() => this.#forget(artifact))
      else if ((type === 'moved' || type === 'adopted') && moves.some(mayTrigger)) this.#wake(artifact)
    })
  }

  /** Looks at what was pushed while nobody looked. */
  async recover(): Promise<void> {
    for (let after: string | undefined; ; ) {
      const page = await this.#parts.journal.range('trigger', after === undefined ? {} : { after })
      for (const { key } of page) this.#watched.add(artifactOf(key))
      after = page.at(-1)?.key
      if (after === undefined) break
    }
    for (const artifact of this.#watched) this.#wake(artifact)
  }

  /** @throws MeshError E_CONFLICT when the name is taken, E_OVERLOADED */
  async add(artifact: string, request: TriggerRequest, subject: string): Promise<TriggerView> {
    const rows = await this.#rows(artifact)
    if (rows.some(({ name }) => name === request.name))
      throw new MeshError('E_CONFLICT', `Cannot add the trigger: "${request.name}" is there already`, {
        hint: 'Take another name, or remove it first: manyhands artifact trigger rm',
      })
    if (rows.length >= MAX_TRIGGERS)
      throw new MeshError('E_OVERLOADED', `Cannot add the trigger: the artifact has ${MAX_TRIGGERS} already`, {
        hint: 'Remove those not in use',
      })
    const heads = this.#parts.store.heads(artifact)
    const row: TriggerRow = {
      name: request.name,
      on: request.on,
      branch: request.branch ?? '*',
      program: request.program,
      perMinute: request.perMinute ?? 10,
      ...(request.paths === undefined ? {} : { paths: [...request.paths] }),
      subject,
      createdAt: this.#parts.wallMs(),
      started: 0,
      dropped: 0,
      seen: Object.fromEntries([...heads].map(([writer, { sequence }]) => [writer, sequence])),
    }
    await this.#store('trigger.set', artifact, row)
    this.#watched.add(artifact)
    // what was pushed since its beginning was told to nobody
    this.#wake(artifact)
    return viewOf(artifact, row)
  }

  async list(artifact: string): Promise<TriggerView[]> {
    return (await this.#rows(artifact)).map((row) => viewOf(artifact, row))
  }

  /** @throws MeshError E_NOT_FOUND */
  async remove(artifact: string, name: string): Promise<TriggerView[]> {
    const key = keyOf(artifact, name)
    if (this.#parts.journal.get('trigger', key) === undefined)
      throw new MeshError('E_NOT_FOUND', `Cannot remove the trigger: the artifact has none named "${name}"`, {
        hint: 'See those there are with: manyhands artifact trigger ls <artifact>',
      })
    await this.#parts.journal.append({
      type: 'trigger.removed',
      body: Buffer.from(key),
      writes: [{ table: 'trigger', key }],
    })
    this.#starts.delete(key)
    const left = await this.list(artifact)
    if (left.length === 0) this.#watched.delete(artifact)
    return left
  }

  /** Resolves when everything that was pushed until now was looked at. */
  settled(): Promise<void> {
    return this.#queue
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#off()
    await this.#queue
    clearTimeout(this.#retry)
  }

  #wake(artifact: string): void {
    if (this.#due.has(artifact)) return
    this.#due.add(artifact)
    this.#enqueue(async () => {
      this.#due.delete(artifact)
      try {
        await this.#catchUp(artifact)
      } catch (error) {
        this.#later(artifact)
        throw error
      }
    })
  }

  #later(artifact: string): void {
    this.#behind.add(artifact)
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined
      for (const behind of this.#behind) this.#wake(behind)
      this.#behind.clear()
    }, RETRY_MS).unref()
  }

  #enqueue(act: () => Promise<void>): void {
    if (this.#closed) return
    this.#queue = this.#queue
      .then(() => (this.#closed ? undefined : act()))
      .catch((error: unknown) => this.#parts.note('a trigger failed', { err: error }))
  }

  async #catchUp(artifact: string): Promise<void> {
    const view = this.#parts.store.get(artifact)
    if (view === undefined) return this.#forget(artifact)
    const rows = await this.#rows(artifact)
    for (const [writer, head] of this.#parts.store.heads(artifact)) {
      let after = Math.min(head.sequence, ...rows.map(({ seen }) => seen[writer] ?? 0))
      while (after < head.sequence && !this.#closed) {
        const texts = await this.#parts.store.envelopes(artifact, writer, after, PAGE)
        if (texts.length === 0) break
        for (const text of texts) {
          const { sequence, moves, by } = openRecord(text).record
          await this.#look({ artifact, name: view.name, writer, sequence, moves, by })
          after = sequence
        }
      }
    }
  }

  async #look(push: Push): Promise<void> {
    for (const row of await this.#rows(push.artifact)) {
      if ((row.seen[push.writer] ?? 0) >= push.sequence) continue
      const next = { ...row, seen: { ...row.seen, [push.writer]: push.sequence } }
      for (const move of push.moves) {
        const cause = await causeOf(this.#parts.store, push.artifact, push.writer, move)
        if (cause?.on !== row.on || !matches(row.branch, cause.branch)) continue
        const started = await this.#start(push, row, cause, push.moves.indexOf(move))
        if (started === undefined) next.dropped++
        else {
          next.started++
          next.lastTask = started
        }
      }
      // Removed while its task was being started
      if (this.#parts.journal.get('trigger', keyOf(push.artifact, row.name)) === undefined) continue
      await this.#store('trigger.looked', push.artifact, next)
    }
  }

  /** @returns the task; undefined when none was started */
  async #start(push: Push, row: TriggerRow, cause: TriggerCause, index: number): Promise<string | undefined> {
    const { artifact, name } = push
    const tell = (rest: { readonly task?: string; readonly refused?: string }): void =>
      this.#parts.onEvent({ type: 'trigger', artifact, trigger: row.name, ...rest })
    const chain = this.#chainOf(push.by.task, artifact)
    const refused = loopFault(chain, row.name) ?? this.#rateFault(artifact, row)
    if (refused !== undefined) {
      tell({ refused })
      return undefined
    }
    const input = { artifact, name, ...cause.input }
    const key = `trigger/${artifact}/${row.name}/${push.writer.slice(-16)}/${push.sequence}`
    try {
      const task = await this.#parts.tasks.run(
        {
          program: row.program,
          input,
          detach: true,
          name: `trigger ${row.name}`.slice(0, 64),
          ...(row.paths === undefined || cause.rev === null
            ? {}
            : { artifacts: { input: { artifact, rev: cause.rev, paths: row.paths } } }),
        },
        { subject: row.subject, key: push.moves.length === 1 ? key : `${key}/${index}` },
      )
      await this.#remember(task.id, artifact, [...chain, row.name])
      tell({ task: task.id })
      return task.id
    } catch (thrown) {
      const error = toMeshError(thrown)
      if (error.code === 'E_STOPPING' || error.code === 'E_STORAGE') throw error
      tell({ refused: `${error.message} [${error.code}]`.slice(0, 500) })
      return undefined
    }
  }

  /** Triggers that led to the task which moved the ref, the oldest first. */
  #chainOf(task: string | undefined, artifact: string): readonly string[] {
    const bytes = task === undefined ? undefined : this.#parts.journal.get('trigger-task', task)
    if (bytes === undefined) return []
    const found = startedBy.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8'))).data
    return found?.artifact === artifact ? found.triggers : (found?.triggers.map(() => '') ?? [])
  }

  #rateFault(artifact: string, row: TriggerRow): string | undefined {
    const key = keyOf(artifact, row.name)
    const now = this.#parts.now()
    const recent = (this.#starts.get(key) ?? []).filter((at) => now - at < MINUTE_MS)
    this.#starts.set(key, recent)
    if (recent.length >= row.perMinute) return `more than ${row.perMinute} starts in a minute`
    recent.push(now)
    return undefined
  }

  async #remember(task: string, artifact: string, triggers: readonly string[]): Promise<void> {
    const value = Buffer.from(JSON.stringify({ artifact, triggers }))
    await this.#parts.journal.append({
      type: 'trigger.looked',
      body: value,
      writes: [{ table: 'trigger-task', key: task, value }],
    })
  }

  async #forget(artifact: string): Promise<void> {
    for (const { name } of await this.#rows(artifact)) await this.remove(artifact, name)
    this.#watched.delete(artifact)
  }

  async #rows(artifact: string): Promise<TriggerRow[]> {
    const rows = await this.#parts.journal.range('trigger', { prefix: `${artifact}/`, limit: MAX_TRIGGERS })
    return rows.flatMap(({ value }) => triggerRow.safeParse(JSON.parse(Buffer.from(value).toString('utf8'))).data ?? [])
  }

  async #store(type: (typeof TRIGGER_RECORDS)[number], artifact: string, row: TriggerRow): Promise<void> {
    const value = Buffer.from(JSON.stringify(row))
    const key = keyOf(artifact, row.name)
    await this.#parts.journal.append({ type, body: Buffer.from(key), writes: [{ table: 'trigger', key, value }] })
  }
}

/** Why a push by the tasks of these triggers starts nothing. */
function loopFault(chain: readonly string[], trigger: string): string | undefined {
  if (chain.includes(trigger)) return 'a loop: the push was made by a task that this trigger had started'
  return chain.length < MAX_DEPTH ? undefined : `a chain of more than ${MAX_DEPTH} triggers`
}

function matches(branch: string, name: string): boolean {
  return branch.endsWith('*') ? name.startsWith(branch.slice(0, -1)) : name === branch
}

const keyOf = (artifact: string, name: string): string => `${artifact}/${name}`
const artifactOf = (key: string): string => key.slice(0, key.indexOf('/'))

function viewOf(artifact: string, row: TriggerRow): TriggerView {
  const { name, on, branch, perMinute, paths, started, dropped, lastTask, createdAt } = row
  return {
    artifact,
    name,
    on,
    branch,
    perMinute,
    ...(paths === undefined ? {} : { paths }),
    started,
    dropped,
    ...(lastTask === undefined ? {} : { lastTask }),
    createdAt: new Date(createdAt).toISOString(),
  }
}
