/** Runs programs inside the test process, for the fake daemon: real outcomes, no isolation. */
import { createHash, randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import type { MapItem, MapRequest, ProgramInput, RunRequest, TaskEvent, TaskView } from '../../protocol/api.ts'
import type { JobFailure } from '../../protocol/job.ts'
import { NO_USAGE } from '../../protocol/job.ts'

export type Guest = (input: unknown, env: Record<string, (...args: unknown[]) => Promise<unknown>>) => unknown

export interface FakeTask {
  view: TaskView
  readonly items: (MapItem | null)[]
  readonly events: TaskEvent[]
  readonly changed: EventEmitter
}

export class FakeTasks {
  readonly all = new Map<string, FakeTask>()
  readonly #keys = new Map<string, { body: string; task: FakeTask }>()
  started = 0
  lastRequest: RunRequest | MapRequest | undefined

  /** The task of the key, or a new one; undefined when the key was used for another request. */
  submit(key: string | undefined, request: RunRequest | MapRequest): FakeTask | undefined {
    this.lastRequest = request
    const { detach: _, ...rest } = request
    const body = JSON.stringify(rest)
    const known = key === undefined ? undefined : this.#keys.get(key)
    if (known) return known.body === body ? known.task : undefined
    const task = this.add('inputs' in request ? 'map' : 'run', request.program, request.name)
    if (key !== undefined) this.#keys.set(key, { body, task })
    if ('inputs' in request) void this.#map(task, request)
    else void this.run(task, request.program, request.input, {})
    return task
  }

  add(kind: TaskView['kind'], program: ProgramInput, name?: string): FakeTask {
    const view: TaskView = {
      id: randomUUID(),
      kind,
      state: 'working',
      ...(name === undefined ? {} : { name }),
      program: createHash('sha256').update(JSON.stringify(program)).digest('hex'),
      createdAt: new Date(0).toISOString(),
      lease: { node: 'node-a', epoch: 1 },
      attempts: 1,
    }
    const task: FakeTask = { view, items: [], events: [], changed: new EventEmitter().setMaxListeners(0) }
    this.all.set(view.id, task)
    this.emit(task, { type: 'state', state: 'working', lease: { node: 'node-a', epoch: 1 } })
    return task
  }

  async run(task: FakeTask, program: ProgramInput, input: unknown, env: Parameters<Guest>[1]): Promise<void> {
    this.started++
    try {
      const guest = await load(program, (text) => this.emit(task, { type: 'log', level: 'log', text, node: 'node-a' }))
      const output: unknown = (await guest(input ?? null, env)) ?? null
      this.end(task, { state: 'completed', output: JSON.parse(JSON.stringify(output)) as unknown })
    } catch (error) {
      this.end(task, { state: 'failed', error: failureOf(error) })
    }
  }

  /** No effect on a task that has ended. */
  end(task: FakeTask, end: { state: TaskView['state']; output?: unknown; error?: JobFailure }): void {
    if (task.view.endedAt !== undefined) return
    task.view = { ...task.view, ...end, endedAt: new Date(0).toISOString(), usage: NO_USAGE }
    this.emit(task, { type: 'end', task: task.view })
  }

  async ended(task: FakeTask): Promise<TaskView> {
    while (task.view.endedAt === undefined) await new Promise((resolve) => task.changed.once('event', resolve))
    return task.view
  }

  emit(task: FakeTask, event: TaskEvent): void {
    task.events.push(event)
    task.changed.emit('event')
  }

  async #map(task: FakeTask, request: MapRequest): Promise<void> {
    this.started++
    const inputs = request.inputs
    task.items.push(...inputs.map(() => null))
    const progress = { total: inputs.length, done: 0, failed: 0, retried: 0, byNode: { 'node-a': 0 } }
    try {
      const guest = await load(request.program, () => undefined)
      for (const [index, input] of inputs.entries()) {
        if (task.view.endedAt !== undefined) return
        try {
          task.items[index] = { ok: true, output: (await guest(input, {})) ?? null }
        } catch (error) {
          task.items[index] = { ok: false, error: failureOf(error) }
          progress.failed++
        }
        progress.byNode['node-a']++
        if (++progress.done % 50 === 0) this.emit(task, { type: 'progress', progress: { ...progress } })
      }
      task.view = { ...task.view, progress }
      this.end(task, { state: 'completed' })
    } catch (error) {
      this.end(task, { state: 'failed', error: failureOf(error) })
    }
  }
}

/** Lines stay where they are, so positions are those of the source. */
export async function load(program: ProgramInput, log: (text: string) => void): Promise<Guest> {
  const name = `console_${randomUUID().replaceAll('-', '_')}`
  Object.assign(globalThis, { [name]: { log: (...parts: unknown[]) => log(parts.map(String).join(' ')) } })
  const source = program.source ?? program.modules?.[program.main ?? 'main.js'] ?? ''
  const text = `const console = globalThis.${name}; ${source}\n//# sourceURL=${program.filename ?? 'main.js'}`
  const module = (await import(`data:text/javascript,${encodeURIComponent(text)}`)) as { default: Guest }
  return module.default
}

export function failureOf(error: unknown): JobFailure {
  if (error instanceof SyntaxError) return { code: 'E_SYNTAX', message: error.message }
  if (!(error instanceof Error)) return { code: 'E_GUEST', message: String(error) }
  // The name is the end of the data: URL
  const at = /sourceURL%3D([\w.-]+):(\d+):(\d+)/.exec(error.stack ?? '')
  const where = at ? { file: at[1] ?? '', line: Number(at[2]), column: Number(at[3]) } : {}
  return {
    code: 'E_GUEST',
    message: error.message,
    name: error.name,
    ...where,
    ...(error.stack ? { stack: error.stack } : {}),
  }
}
