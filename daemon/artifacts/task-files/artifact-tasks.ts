/**
 * Tasks that take an artifact as input or give one as output, laid over the task engine, which knows nothing of artifacts.
 *
 * Input: the files of one commit become part of the program's input, so the receipt's digest of the input covers artifact, commit and files.
 * Output: when the task has completed, the files it returned become one commit. The record that moves the branch names task and receipt; the commit's
 * trailers name task, receipt and the commit that was read.
 * Both: a receipt of this node's names the commit that was read, the receipt of the work, and the commit that was made (protocol/receipt/commits-statement.ts).
 */
import type { ReceiptEnvelope, RunRequest, TaskArtifacts, TaskCommits, TaskView } from '../../../protocol/api.ts'
import { toMeshError } from '../../../protocol/errors.ts'
import type { FindArtifacts } from '../../api/artifact-services.ts'
import { receiptDigest } from '../../../protocol/receipt/receipt.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'
import type { ReceiptBook } from '../../tasks/receipt-book.ts'
import type { RunHooks, TaskCaller, Tasks } from '../../tasks/tasks.ts'
import { type FilesRow, pinKey, readFilesRow, TASK_TABLES } from './files-row.ts'
import { readTaskInput } from './task-input.ts'
import { madeBefore } from './made-before.ts'
import { filesOf } from './task-output.ts'

export interface ArtifactTasksParts {
  readonly tasks: Tasks
  readonly journal: Journal
  readonly artifacts: FindArtifacts
  readonly receipts: Pick<ReceiptBook, 'attest'>
  readonly note: (what: string, facts: Readonly<Record<string, unknown>>) => void
}

const EMPTY = new Uint8Array(0)

export class ArtifactTasks implements Tasks {
  readonly #parts: ArtifactTasksParts
  /** Ends of tasks whose output is still to be committed */
  readonly #finishing = new Map<string, Promise<void>>()

  constructor(parts: ArtifactTasksParts) {
    this.#parts = parts
  }

  async run(request: RunRequest, caller: TaskCaller, hooks: RunHooks = {}): Promise<TaskView> {
    const { artifacts, ...plain } = request
    if (artifacts === undefined) return this.#parts.tasks.run(plain, caller, hooks)
    const { input, row, isPinnedNow } = await this.#prepare(plain, artifacts, caller)
    // What is to be done with its files is stored once it is accepted: as early as can be
    const accepted = this.#parts.tasks.run({ ...plain, input }, caller, { ...hooks, isPatient: false })
    const task = await accepted.catch(async (error: unknown) => {
      // No task will ever take it along when it is dropped
      if (isPinnedNow) await this.#unpin(row).catch(() => undefined)
      throw error
    })
    const known = this.#row(task.id)
    if (known === undefined) await this.#store(task.id, row, true)
    if (known?.receipt === undefined) this.#follow(task.id)
    return this.#shown(task)
  }

  /** Takes up outputs that were not committed when the last process ended. */
  async recover(): Promise<void> {
    for (let after: string | undefined; ; ) {
      const page = await this.#parts.journal.range(TASK_TABLES.open, after === undefined ? {} : { after })
      for (const { key } of page) this.#follow(key, true)
      after = page.at(-1)?.key
      if (after === undefined) return
    }
  }

  async ended(id: string, signal?: AbortSignal): Promise<TaskView> {
    const task = await this.#parts.tasks.ended(id, signal)
    await this.#finishing.get(id)
    return this.#shown(task)
  }

  get(id: string): TaskView | undefined {
    const task = this.#parts.tasks.get(id)
    return task === undefined ? undefined : this.#shown(task)
  }

  async list(options: Parameters<Tasks['list']>[0]): ReturnType<Tasks['list']> {
    const page = await this.#parts.tasks.list(options)
    return { ...page, tasks: page.tasks.map((task) => this.#shown(task)) }
  }

  /** The end of a task that gives an artifact is told once its commit is made. */
  watch(id: string, from: number, listener: Parameters<Tasks['watch']>[2]): () => void {
    let open = true
    const stop = this.#parts.tasks.watch(id, from, (number, event) => {
      if (event.type !== 'end') return listener(number, event)
      const tell = (): void => {
        if (open) listener(number, { type: 'end', task: this.#shown(event.task) })
      }
      const finishing = this.#finishing.get(id)
      if (finishing === undefined) tell()
      else void finishing.then(tell)
    })
    return () => {
      open = false
      stop()
    }
  }

  map(...args: Parameters<Tasks['map']>): ReturnType<Tasks['map']> {
    return this.#parts.tasks.map(...args)
  }

  session(...args: Parameters<Tasks['session']>): ReturnType<Tasks['session']> {
    return this.#parts.tasks.session(...args)
  }

  results(...args: Parameters<Tasks['results']>): ReturnType<Tasks['results']> {
    return this.#parts.tasks.results(...args)
  }

  explain(id: string): ReturnType<Tasks['explain']> {
    return this.#parts.tasks.explain(id)
  }

  async receipts(id: string): ReturnType<Tasks['receipts']> {
    const receipts = await this.#parts.tasks.receipts(id)
    const envelope = this.#row(id)?.receipt
    return envelope === undefined ? receipts : [...receipts, JSON.parse(envelope) as ReceiptEnvelope]
  }

  async cancel(id: string): Promise<TaskView> {
    return this.#shown(await this.#parts.tasks.cancel(id))
  }

  onChange(listener: (task: TaskView) => void): () => void {
    return this.#parts.tasks.onChange(listener)
  }

  async #prepare(
    request: RunRequest,
    artifacts: TaskArtifacts,
    caller: TaskCaller,
  ): Promise<{ input: unknown; row: FilesRow; isPinnedNow: boolean }> {
    const services = await this.#parts.artifacts()
    const { input: source, output: target } = artifacts
    // Its id, so that a name given to another artifact meanwhile does not matter; and refused now rather than when the work is done
    const output =
      target === undefined ? {} : { output: { ...target, artifact: (await services.get(target.artifact)).id } }
    if (source === undefined)
      return { input: request.input, row: { subject: caller.subject, ...output }, isPinnedNow: false }
    const pin = caller.key === undefined ? undefined : pinKey(caller.subject, caller.key)
    const pinned = pin === undefined ? undefined : this.#parts.journal.get(TASK_TABLES.pin, pin)
    const input = await readTaskInput(services, source, request.input, pinned && Buffer.from(pinned).toString('utf8'))
    const { id, commit } = input.artifact
    const isPinnedNow = pin !== undefined && pinned === undefined
    if (isPinnedNow) {
      const value = Buffer.from(commit)
      await this.#parts.journal.append({
        type: 'task-files.pinned',
        body: value,
        writes: [{ table: TASK_TABLES.pin, key: pin, value }],
      })
    }
    return {
      input,
      row: {
        subject: caller.subject,
        input: { artifact: id, commit },
        ...output,
        ...(pin === undefined ? {} : { pin }),
      },
      isPinnedNow,
    }
  }

  async #unpin({ pin }: FilesRow): Promise<void> {
    if (pin === undefined) return
    const writes = [{ table: TASK_TABLES.pin, key: pin }]
    await this.#parts.journal.append({ type: 'task-files.pinned', body: EMPTY, writes })
  }

  /** @param again the last process may have ended in the middle of it */
  #follow(id: string, again = false): void {
    if (this.#finishing.has(id)) return
    const finishing = this.#finish(id, again)
      .catch((error: unknown) =>
        this.#parts.note('the output of a task could not be committed', { task: id, err: error }),
      )
      .finally(() => this.#finishing.delete(id))
    this.#finishing.set(id, finishing)
  }

  async #finish(id: string, again: boolean): Promise<void> {
    const row = this.#row(id)
    if (row === undefined || row.receipt !== undefined) return
    const task = await this.#parts.tasks.ended(id)
    const [receipt] = await this.#parts.tasks.receipts(id)
    const work = receipt === undefined ? undefined : receiptDigest(receipt)
    const ended = { ...row, ...(await this.#end(task, row, work, again)) }
    const { input, made } = ended
    // Work that never began has no receipt, and neither have commits that do not exist
    if (work === undefined || (input ?? made) === undefined) return this.#store(id, ended, false)
    const facts = { task: id, work, ...(input && { input }), ...(made && { output: made }) }
    await this.#parts.receipts.attest(facts, (envelope) => rowWrites(id, { ...ended, receipt: envelope }, false))
  }

  async #end(
    task: TaskView,
    row: FilesRow,
    work: string | undefined,
    again: boolean,
  ): Promise<Pick<FilesRow, 'made' | 'refused'>> {
    if (row.output === undefined || row.made !== undefined || row.refused !== undefined) return {}
    if (task.state !== 'completed') return { refused: `the task is ${task.state}` }
    const made = again ? await madeBefore(this.#parts.journal, task.id, row.output) : undefined
    return made === undefined ? this.#commit(task, row, work) : { made }
  }

  async #commit(
    task: TaskView,
    row: FilesRow,
    digest: string | undefined,
  ): Promise<Pick<FilesRow, 'made' | 'refused'>> {
    const output = filesOf(task.output)
    if (typeof output === 'string') return { refused: output }
    const { artifact = '', branch, message } = row.output ?? {}
    const trailers = [
      `Task: ${task.id}`,
      ...(digest === undefined ? [] : [`Receipt: ${digest}`]),
      ...(row.input === undefined ? [] : [`Input: ${row.input.artifact}@${row.input.commit}`]),
    ]
    const title = message ?? output.message ?? `Result of task ${task.name ?? task.id}`
    try {
      const services = await this.#parts.artifacts()
      const made = await services.commitFor(
        artifact,
        {
          files: output.files,
          message: `${title.trimEnd()}\n\n${trailers.join('\n')}\n`,
          ...(branch === undefined ? {} : { branch }),
        },
        { subject: row.subject, task: task.id, ...(digest === undefined ? {} : { receipt: digest }) },
      )
      return { made: { artifact, commit: made.commit, ref: made.ref } }
    } catch (thrown) {
      const error = toMeshError(thrown)
      // What may go away by itself is tried again at the next start
      if (error.code === 'E_STOPPING' || error.code === 'E_STORAGE') throw error
      return { refused: `${error.message} [${error.code}]`.slice(0, 500) }
    }
  }

  #row(id: string): FilesRow | undefined {
    return readFilesRow(this.#parts.journal, id)
  }

  async #store(id: string, row: FilesRow, open: boolean): Promise<void> {
    const body = Buffer.from(JSON.stringify(row))
    await this.#parts.journal.append({ type: 'task-files.changed', body, writes: rowWrites(id, row, open) })
  }

  #shown(task: TaskView): TaskView {
    const row = this.#row(task.id)
    if (row === undefined) return task
    const commits: TaskCommits = {
      ...(row.input === undefined ? {} : { input: row.input }),
      ...(row.made === undefined ? {} : { output: row.made }),
      ...(row.refused === undefined ? {} : { refused: row.refused }),
    }
    return { ...task, commits }
  }
}

/** The kinds of records this folder writes. */
export const TASK_FILES_RECORDS = ['task-files.pinned', 'task-files.changed'] as const

function rowWrites(id: string, row: FilesRow, open: boolean): TableWrite[] {
  const mark = { table: TASK_TABLES.open, key: id }
  const value = Buffer.from(JSON.stringify(row))
  const files = { table: TASK_TABLES.files, key: id, value }
  if (!open) return [files, mark]
  const { pin, input } = row
  // Again: a request with the same key, that was refused meanwhile, took it away
  const pinned = pin && input ? [{ table: TASK_TABLES.pin, key: pin, value: Buffer.from(input.commit) }] : []
  return [files, { ...mark, value: EMPTY }, ...pinned]
}
