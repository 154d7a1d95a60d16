/**
 * Tasks that take an artifact as input or give one as output, laid over the task engine, which knows nothing of artifacts.
 *
 * Input: the files of one commit become part of the program's input, so the receipt's digest of the input covers artifact, commit and files.
 * Output: when the task has completed, the files it returned become one commit. The record that moves the branch names task and receipt; the commit's
 * trailers name task, receipt and the commit that was read.
 */
import { createHash } from 'node:crypto'
import type { ReceiptEnvelope, RunRequest, TaskArtifacts, TaskCommits, TaskView } from '../../../protocol/api.ts'
import { toMeshError } from '../../../protocol/errors.ts'
import type { FindArtifacts } from '../../api/artifact-services.ts'
import type { Journal } from '../../journal/journal.ts'
import type { CallerHooks, TaskCaller, Tasks } from '../../tasks/tasks.ts'
import { type FilesRow, pinKey, readFilesRow, TASK_TABLES } from './files-row.ts'
import { readTaskInput } from './task-input.ts'
import { filesOf } from './task-output.ts'

export interface ArtifactTasksParts {
  readonly tasks: Tasks
  readonly journal: Journal
  readonly artifacts: FindArtifacts
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

  async run(
    request: RunRequest,
    caller: TaskCaller,
    hooks: CallerHooks & { readonly hostFunctions?: readonly string[] } = {},
  ): Promise<TaskView> {
    const { artifacts, ...plain } = request
    if (artifacts === undefined) return this.#parts.tasks.run(plain, caller, hooks)
    const { input, row } = await this.#prepare(plain, artifacts, caller)
    const task = await this.#parts.tasks.run({ ...plain, input }, caller, hooks)
    if (this.#row(task.id) === undefined) await this.#store(task.id, row, row.output !== undefined)
    if (row.output !== undefined) this.#follow(task.id)
    return this.#shown(task)
  }

  /** Takes up outputs that were not committed when the last process ended. */
  async recover(): Promise<void> {
    for (let after: string | undefined; ; ) {
      const page = await this.#parts.journal.range(TASK_TABLES.open, after === undefined ? {} : { after })
      for (const { key } of page) this.#follow(key)
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

  receipts(id: string): ReturnType<Tasks['receipts']> {
    return this.#parts.tasks.receipts(id)
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
  ): Promise<{ input: unknown; row: FilesRow }> {
    const services = await this.#parts.artifacts()
    const { input: source, output: target } = artifacts
    // Its id, so that a name given to another artifact meanwhile does not matter; and refused now rather than when the work is done
    const output =
      target === undefined ? {} : { output: { ...target, artifact: (await services.get(target.artifact)).id } }
    if (source === undefined) return { input: request.input, row: { subject: caller.subject, ...output } }
    const pin = caller.key === undefined ? undefined : pinKey(caller.subject, caller.key)
    const pinned = pin === undefined ? undefined : this.#parts.journal.get(TASK_TABLES.pin, pin)
    const input = await readTaskInput(services, source, request.input, pinned && Buffer.from(pinned).toString('utf8'))
    const { id, commit } = input.artifact
    if (pin !== undefined && pinned === undefined) {
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
    }
  }

  #follow(id: string): void {
    if (this.#finishing.has(id)) return
    const finishing = this.#finish(id)
      .catch((error: unknown) =>
        this.#parts.note('the output of a task could not be committed', { task: id, err: error }),
      )
      .finally(() => this.#finishing.delete(id))
    this.#finishing.set(id, finishing)
  }

  async #finish(id: string): Promise<void> {
    const row = this.#row(id)
    if (row?.output === undefined || row.made !== undefined || row.refused !== undefined) return
    const task = await this.#parts.tasks.ended(id)
    const end = task.state === 'completed' ? await this.#commit(task, row) : { refused: `the task is ${task.state}` }
    await this.#store(id, { ...row, ...end }, false)
  }

  async #commit(task: TaskView, row: FilesRow): Promise<Pick<FilesRow, 'made' | 'refused'>> {
    const output = filesOf(task.output)
    if (typeof output === 'string') return { refused: output }
    const { artifact = '', branch, message } = row.output ?? {}
    const [receipt] = await this.#parts.tasks.receipts(task.id)
    const digest = receipt === undefined ? undefined : digestOf(receipt)
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
    const value = Buffer.from(JSON.stringify(row))
    const mark = { table: TASK_TABLES.open, key: id }
    await this.#parts.journal.append({
      type: 'task-files.changed',
      body: value,
      writes: [{ table: TASK_TABLES.files, key: id, value }, open ? { ...mark, value: EMPTY } : mark],
    })
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

function digestOf(receipt: ReceiptEnvelope): string {
  return createHash('sha256').update(Buffer.from(receipt.payload, 'base64')).digest('hex')
}
