/** Tasks of the node: to start, watch, cancel and question. */
import type {
  Explanation,
  MapResults,
  ReceiptEnvelope,
  RunOpen,
  RunRequest,
  TaskArtifacts,
  TaskEvent,
  TaskKind,
  TaskState,
  TaskView,
  UndoView,
} from '../../protocol/api.ts'
import type { CallOptions } from './call-options.ts'
import { ChannelTask, type OnLog } from './channel-task.ts'
import { type Client, fillPath } from './client.ts'
import type { DuplexSource } from './duplex.ts'
import { failureError, ManyhandsError, protocolError } from './errors.ts'
import { type EventOptions, eventStream } from './event-stream.ts'
import { type HostFunctions, HostServer } from './host-functions.ts'
import { LIMITS } from './limits.ts'
import {
  compact,
  keyOf,
  type LoadedProgram,
  type Program,
  type ProgramLoader,
  programInput,
  resolveProgram,
  type TaskOptions,
  toJson,
} from './program.ts'
import { taskEvent } from './replies.ts'
import { cancelTask, soon, submitted } from './submitted.ts'
import { unlessAborted } from './wait.ts'

export interface RunOptions extends TaskOptions {
  /** First argument of the program: any JSON value. @default undefined (the program sees null) */
  readonly input?: unknown
  /** Functions of this process that the program calls as `await env.<name>(...)`, also from another node. @default none */
  readonly host?: HostFunctions | undefined
  /** Console output of the program as it comes. @default none: kept by the daemon, see `tasks.watch` */
  readonly onLog?: OnLog | undefined
  /** Idempotency key, at most 200 characters of printable ASCII: the same key and request are one task and one answer. @default a new random key */
  readonly key?: string | undefined
  /** For the whole task over all attempts, milliseconds. @default none */
  readonly deadlineMs?: number | undefined
  /** Files of an artifact as input, and where the files of the output are committed. @default none */
  readonly artifacts?: TaskArtifacts | undefined
}

export interface TaskPageOptions extends CallOptions {
  /** At most 500. @default 50 */
  readonly limit?: number | undefined
  /** `next` of the page before. @default from the newest */
  readonly after?: string | undefined
  readonly state?: TaskState | undefined
  readonly kind?: TaskKind | undefined
}

export interface UndoOptions extends CallOptions {
  /** Only say what would be done. @default false */
  readonly dryRun?: boolean | undefined
}

export interface WaitOptions {
  readonly onLog?: OnLog | undefined
  /** Every event, the end included */
  readonly onEvent?: ((event: TaskEvent) => void) | undefined
  /** Stops the waiting, not the task. @default none */
  readonly signal?: AbortSignal | undefined
}

/** Refusals that concern the duplex and not the task */
const UNFIT: ReadonlySet<string> = new Set(['E_TOO_LARGE', 'E_OVERLOADED'])
const ENDED: ReadonlySet<TaskState> = new Set(['completed', 'failed', 'canceled', 'rejected'])
const NO_HOST = new HostServer({})

export class Tasks {
  readonly #client: Client
  readonly #duplex: DuplexSource
  readonly #load: ProgramLoader
  /** Plain runs so far */
  #runs = 0
  /** Of them, under way on the duplex */
  #framed = 0

  constructor(client: Client, duplex: DuplexSource, load: ProgramLoader) {
    this.#client = client
    this.#duplex = duplex
    this.#load = load
  }

  /** Runs to the end and gives the task whatever its state; `mesh.run()` gives its output or throws. @throws ManyhandsError when it was refused */
  async run(program: Program, options: RunOptions = {}): Promise<TaskView> {
    const loaded = await resolveProgram(program, this.#load)
    const task = await this.#toEnd(loaded, options)
    return task.error && loaded.locate ? { ...task, error: loaded.locate(task.error) } : task
  }

  /** Gives the task as soon as it is durable; it runs on without this process. Host functions cannot be served so. @throws ManyhandsError */
  async start(program: Program, options: RunOptions = {}): Promise<TaskView> {
    if (options.host !== undefined) {
      throw new ManyhandsError('E_BAD_REQUEST', 'Cannot detach a task with host functions: they live in this process', {
        hint: 'Leave out detach or host',
      })
    }
    const loaded = await resolveProgram(program, this.#load)
    return this.#detached(runRequest(loaded, options), options)
  }

  /** Newest first. */
  list(options: TaskPageOptions = {}): Promise<{ tasks: readonly TaskView[]; next?: string }> {
    const { signal, ...query } = options
    return this.#client.call('GET /v0/tasks', {
      query: compact<TaskPageOptions>(query) as Record<string, string>,
      signal,
    })
  }

  get(id: string, { signal }: CallOptions = {}): Promise<TaskView> {
    return this.#client.call('GET /v0/tasks/:id', { params: { id }, signal })
  }

  /** Gives the task as it is after; ending takes a moment more, see `wait`. A task that has ended stays as it is. */
  cancel(id: string, { signal }: CallOptions = {}): Promise<TaskView> {
    return cancelTask(this.#client, id, signal)
  }

  /** Takes back, by new commits, what a task changed in artifacts of this node: all of it, or nothing and why. @throws ManyhandsError E_NOT_FOUND */
  undo(id: string, { dryRun = false, signal }: UndoOptions = {}): Promise<UndoView> {
    return this.#client.call('POST /v0/tasks/:id/undo', { params: { id }, body: dryRun ? { dryRun } : {}, signal })
  }

  /** Each candidate of each round of placement, with its score and the reason of its outcome. */
  explain(id: string, { signal }: CallOptions = {}): Promise<Explanation> {
    return this.#client.call('GET /v0/tasks/:id/explain', { params: { id }, signal })
  }

  /** Signed statements of what ran where. `verifyReceipt` checks one. */
  async receipts(id: string, { signal }: CallOptions = {}): Promise<readonly ReceiptEnvelope[]> {
    return (await this.#client.call('GET /v0/tasks/:id/receipts', { params: { id }, signal })).receipts
  }

  /**
   * Results of a map, in input order. An item is `{ok, output}` or `{ok, error}`, also where the output is JSON null; an item that is itself null is not there:
   * not yet, or never when the page is `complete`. @param limit @default 512
   */
  results(id: string, from = 0, limit: number = LIMITS.resultsPage, { signal }: CallOptions = {}): Promise<MapResults> {
    return this.#client.call('GET /v0/tasks/:id/results', { params: { id }, query: { from, limit }, signal })
  }

  /** Events of a task from its beginning; ends after its "end". Resumes when the connection is lost. */
  async *watch(id: string, options: EventOptions = {}): AsyncGenerator<TaskEvent> {
    for await (const event of eventStream(this.#client, fillPath('/v0/tasks/:id/events', { id }), taskEvent, options)) {
      yield event
      if (event.type === 'end') return
    }
  }

  /** The task once it has ended, whatever its state. */
  async wait(id: string, options: WaitOptions = {}): Promise<TaskView> {
    const events = eventStream(
      this.#client,
      fillPath('/v0/tasks/:id/events', { id }),
      taskEvent,
      compact<EventOptions>({ signal: options.signal }),
      () => this.#endOf(id, options),
    )
    for await (const event of events) {
      options.onEvent?.(event)
      if (event.type === 'log') options.onLog?.(event)
      if (event.type === 'end') return event.task
    }
    throw protocolError('Cannot wait for the task: its events ended without an end')
  }

  /** For who waits among more than there are streams for. Who wants to hear more than the end waits for a stream. */
  async #endOf(id: string, { onLog, onEvent, signal }: WaitOptions): Promise<TaskEvent | undefined> {
    if (onLog || onEvent) return undefined
    const task = await this.#client.call('GET /v0/tasks/:id', { params: { id }, signal })
    return ENDED.has(task.state) ? { type: 'end', task } : undefined
  }

  #submit(request: RunRequest, key: string, detach: boolean): Promise<TaskView> {
    return this.#client.call('POST /v0/tasks', {
      json: toJson({ ...request, detach }, 'the request'),
      key,
      waits: !detach,
    })
  }

  async #detached(request: RunRequest, { key, signal }: RunOptions): Promise<TaskView> {
    signal?.throwIfAborted()
    return submitted(this.#client, this.#submit(request, keyOf(key), true), signal)
  }

  async #toEnd(program: LoadedProgram, options: RunOptions): Promise<TaskView> {
    const request = runRequest(program, options)
    if (options.host !== undefined) return this.#withHost(request, options, new HostServer(options.host))
    // To cancel or to follow it, its id must be known before it ends
    if (options.signal === undefined && options.onLog === undefined) return this.#plain(request, options)
    const task = await this.#detached(request, options)
    try {
      return await this.wait(task.id, { onLog: options.onLog, signal: options.signal })
    } catch (error) {
      // The caller gets the signal's reason, or what its onLog threw; a cancel that fails leaves the task to its limits
      if (options.signal?.aborted || !(error instanceof ManyhandsError)) await soon(this.#client, this.cancel(task.id))
      throw error
    }
  }

  /**
   * The first run goes as a request: there is a connection for that. Who runs a second one gets the duplex, whose frames cost a fraction of a request.
   * Whatever does not work out there is asked for by a request with the same key: one task, and its one answer if it had ended.
   */
  async #plain(request: RunRequest, options: RunOptions): Promise<TaskView> {
    const key = keyOf(options.key)
    if (this.#runs++ > 0 && this.#framed < LIMITS.duplexRuns) {
      this.#framed++
      try {
        const view = await this.#framedRun({ ...request, key, hostFunctions: [] })
        if (view) return view
      } finally {
        this.#framed--
      }
    }
    return this.#submit(request, key, false)
  }

  /** Undefined when there is no duplex, it was lost, or the request or its answer is too long for it. */
  async #framedRun(open: RunOpen): Promise<TaskView | undefined> {
    const json = toJson(open, 'the request')
    if (json.length > LIMITS.duplexRunBytes) return undefined
    const duplex = await this.#duplex(undefined).catch(() => undefined)
    if (!duplex) return undefined
    try {
      const view = await new ChannelTask(duplex, { run: open, json }, { host: NO_HOST, onLog: undefined }).ended
      this.#client.heard()
      return view
    } catch (error) {
      if (this.#client.mayReturn(error) || (error instanceof ManyhandsError && UNFIT.has(error.code))) return undefined
      throw error
    }
  }

  /** Asks again with the same key when the connection is lost: one task, and its one answer if it had ended. */
  async #withHost(request: RunRequest, options: RunOptions, host: HostServer): Promise<TaskView> {
    const key = keyOf(options.key)
    const open: RunOpen = { ...request, key, hostFunctions: host.names }
    toJson(open, 'the request')
    return this.#client.repeat(() => this.#attempt(open, options, host), options.signal)
  }

  async #attempt(open: RunOpen, { signal, onLog }: RunOptions, host: HostServer): Promise<TaskView> {
    signal?.throwIfAborted()
    const task = new ChannelTask(await this.#duplex(signal), { run: open }, { host, onLog })
    try {
      return await unlessAborted(task.ended, signal)
    } catch (error) {
      if (signal?.aborted && error === signal.reason) task.cancel()
      throw error
    }
  }
}

/** The output of an ended task. @throws ManyhandsError when it did not complete */
export function outputOf(task: TaskView): unknown {
  if (task.state === 'completed') return task.output
  if (task.error) throw failureError(task.error, task.id)
  if (task.state === 'canceled') throw new ManyhandsError('E_CANCELED', 'The task was canceled', { task: task.id })
  throw protocolError(`Cannot read the output: the task is ${task.state} and says no reason`)
}

function runRequest(program: LoadedProgram, options: RunOptions): RunRequest {
  return compact<RunRequest>({
    program: programInput(program),
    input: options.input,
    limits: options.limits,
    requires: options.requires,
    deadlineMs: options.deadlineMs,
    name: options.name,
    artifacts: options.artifacts,
    detach: undefined,
  })
}
