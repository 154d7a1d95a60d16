/**
 * A task engine in memory for tests of the API. What a program "does" is its source text: "echo" returns its input, "fail" fails, "wait" goes on until it is
 * canceled, "host" calls the host function named by its input with the arguments [1], "log" logs a line and returns.
 */
import type { ProgramInput, TaskEvent, TaskKind, TaskView } from '../../../protocol/api.ts'
import { MeshError, toMeshError } from '../../../protocol/errors.ts'
import type { CallerHooks, SessionCallbacks, TaskCaller, Tasks, TaskSession } from '../../tasks/tasks.ts'

interface Entry {
  view: TaskView
  readonly events: TaskEvent[]
  readonly listeners: Set<(number: number, event: TaskEvent) => void>
  readonly done: PromiseWithResolvers<TaskView>
  readonly stop: AbortController
}

export interface FakeTasks extends Tasks {
  readonly callers: TaskCaller[]
  /** Adds an event to a task. */
  emit(id: string, event: TaskEvent): void
  watchers(id: string): number
}

export function createFakeTasks(): FakeTasks {
  const entries = new Map<string, Entry>()
  const byKey = new Map<string, string>()
  const callers: TaskCaller[] = []
  let number = 0

  const find = (id: string): Entry => {
    const entry = entries.get(id)
    if (!entry) throw new MeshError('E_NOT_FOUND', `no task ${id}`)
    return entry
  }
  const emit = (id: string, event: TaskEvent): void => {
    const entry = find(id)
    entry.events.push(event)
    for (const listener of [...entry.listeners]) listener(entry.events.length, event)
  }
  const accept = (kind: TaskKind, name?: string): Entry => {
    const id = `t${++number}`
    const view: TaskView = {
      id,
      kind,
      state: 'working',
      ...(name === undefined ? {} : { name }),
      program: '00',
      createdAt: '2026-01-01T00:00:00Z',
      attempts: 1,
      lease: { node: 'n1', epoch: 1 },
    }
    const entry: Entry = {
      view,
      events: [],
      listeners: new Set(),
      done: Promise.withResolvers(),
      stop: new AbortController(),
    }
    entries.set(id, entry)
    emit(id, { type: 'state', state: 'working' })
    return entry
  }
  const end = (entry: Entry, change: Partial<TaskView>): TaskView => {
    if (entry.view.state !== 'working') return entry.view
    entry.view = { ...entry.view, state: 'completed', endedAt: '2026-01-01T00:00:01Z', ...change }
    emit(entry.view.id, { type: 'end', task: entry.view })
    entry.done.resolve(entry.view)
    return entry.view
  }
  const failed = (error: unknown): Partial<TaskView> => {
    const { code, message } = toMeshError(error)
    return { state: 'failed', error: { code, message } }
  }
  const perform = async (
    entry: Entry,
    source: string,
    input: unknown,
    hooks: CallerHooks | undefined,
  ): Promise<unknown> => {
    switch (source) {
      case 'echo':
        return input
      case 'large':
        return LARGE
      case 'fail':
        throw new MeshError('E_GUEST', 'the guest threw')
      case 'log':
        hooks?.onLog?.({ level: 'info', text: 'a line', node: 'n1' })
        return null
      case 'host': {
        if (!hooks?.onHostCall) throw new MeshError('E_HOST_CALL', 'no host functions')
        return JSON.parse(await hooks.onHostCall(String(input), '[1]', entry.stop.signal)) as unknown
      }
      default:
        return new Promise(() => undefined)
    }
  }
  const start = (entry: Entry, request: { program: ProgramInput; input?: unknown }, hooks?: CallerHooks): TaskView => {
    const source = request.program.source ?? ''
    if (source === 'syntax') {
      throw new MeshError('E_SYNTAX', 'does not parse', {
        details: { failure: { code: 'E_SYNTAX', message: 'does not parse', line: 3 } },
      })
    }
    if (source === 'crash') throw new TypeError('secret inner detail at /etc/secret')
    perform(entry, source, request.input, hooks).then(
      (output) => end(entry, { output }),
      (error: unknown) => end(entry, failed(error)),
    )
    return entry.view
  }

  return {
    callers,
    emit,
    watchers: (id) => find(id).listeners.size,
    async run(request, caller, hooks) {
      callers.push(caller)
      const known = caller.key === undefined ? undefined : byKey.get(caller.key)
      if (known !== undefined) return find(known).view
      const entry = accept('run', request.name)
      if (caller.key !== undefined) byKey.set(caller.key, entry.view.id)
      return start(entry, request, hooks)
    },
    async map(request, caller) {
      callers.push(caller)
      const entry = accept('map', request.name)
      return end(entry, {
        progress: { total: request.inputs.length, done: request.inputs.length, failed: 0, retried: 0, byNode: {} },
      })
    },
    async session(request, caller, callbacks) {
      callers.push(caller)
      return startSession(accept('session', request.name), request.program.modules[0]?.source ?? '', callbacks, end)
    },
    ended(id, signal) {
      const { done, view } = find(id)
      if (view.state !== 'working') return Promise.resolve(view)
      if (!signal) return done.promise
      return new Promise((resolve, reject) => {
        const onAbort = (): void => reject(signal.reason)
        if (signal.aborted) return onAbort()
        signal.addEventListener('abort', onAbort, { once: true })
        void done.promise.then((task) => {
          signal.removeEventListener('abort', onAbort)
          resolve(task)
        })
      })
    },
    get: (id) => entries.get(id)?.view,
    list: async ({ limit }) => ({ tasks: [...entries.values()].slice(0, limit).map(({ view }) => view) }),
    results: async (_id, from) => ({ from, items: [{ ok: true, output: 1 }], complete: true }),
    explain: async (id) => ({ task: id, rounds: [] }),
    receipts: async () => [],
    async cancel(id) {
      const entry = find(id)
      entry.stop.abort(new MeshError('E_CANCELED', 'canceled'))
      return end(entry, { state: 'canceled' })
    },
    watch(id, from, listener) {
      const { events, listeners } = find(id)
      for (const [index, event] of events.entries()) if (index + 1 > from) listener(index + 1, event)
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    onChange: () => () => undefined,
  }
}

const LARGE = 'x'.repeat(1 << 20)

function startSession(
  entry: Entry,
  source: string,
  callbacks: SessionCallbacks,
  end: (entry: Entry, change: Partial<TaskView>) => TaskView,
): TaskSession {
  const over = (change: Partial<TaskView>): void => {
    entry.stop.abort(new MeshError('E_CANCELED', 'over'))
    callbacks.onEnd(end(entry, change))
  }
  return {
    task: entry.view,
    call(id, inputJson) {
      if (source === 'wait') return
      if (source === 'large') return callbacks.onReply(id, JSON.stringify(LARGE))
      if (source === 'fail') return callbacks.onCallFailed(id, { code: 'E_GUEST', message: 'the guest threw' })
      if (source !== 'host') return callbacks.onReply(id, inputJson)
      callbacks.onHostCall?.(String(JSON.parse(inputJson)), '[1]', entry.stop.signal).then(
        (result) => callbacks.onReply(id, result),
        (error: unknown) => callbacks.onCallFailed(id, { code: toMeshError(error).code, message: 'failed' }),
      )
    },
    finish: () => over({}),
    cancel: () => over({ state: 'canceled' }),
  }
}
