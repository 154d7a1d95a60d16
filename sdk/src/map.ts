/** One program over many inputs, spread over the mesh, with results in input order. */
import type { MapItem as WireItem, MapProgress, MapRequest, TaskView } from '../../protocol/api.ts'
import type { OnLog } from './channel-task.ts'
import type { Client } from './client.ts'
import { failureError, type JobFailure, ManyhandsError, protocolError } from './errors.ts'
import { Latest } from './latest.ts'
import { LIMITS } from './limits.ts'
import { type Inputs, type MapPart, mapParts } from './map-parts.ts'
import { compact, type LoadedProgram, keyOf, programInput, type TaskOptions, toJson } from './program.ts'
import { outputOf, type Tasks } from './tasks.ts'
import { cancelTask, soon, submitted } from './submitted.ts'
import { type Deferred, deferred, onAbort, unlessAborted } from './wait.ts'

export interface MapOptions extends TaskOptions {
  /** A fresh isolate for every input. @default false: inputs on one node share a warm isolate */
  readonly fresh?: boolean | undefined
  /** Inputs per piece of delegated work. @default chosen from the number of inputs and nodes */
  readonly pieceSize?: number | undefined
  /** For the whole map, milliseconds. @default none */
  readonly deadlineMs?: number | undefined
  /**
   * Idempotency key, at most 190 characters of printable ASCII. With one, inputs of a slow source are sent only when a request is full or the source ends, so that asking again sends the same.
   * @default a new random key
   */
  readonly key?: string | undefined
  readonly onProgress?: ((progress: MapProgress) => void) | undefined
  readonly onLog?: OnLog | undefined
}

export type MapItem<Output> =
  | { readonly ok: true; readonly output: Output }
  | { readonly ok: false; readonly error: JobFailure }

/** Requests of one map that run at once: enough that the nodes never idle between two. */
const PARTS_AT_ONCE = 3
/** How long a result that should be there is waited for before asking again, milliseconds */
const POLL_MS = 1000
/** After this long what a slow source gave is worked on, milliseconds */
const SOON_MS = 50
/** Longest time that a timer can be set to */
const MAX_TIMER_MS = 2 ** 31 - 1

interface Part {
  /** As last heard */
  task: TaskView
  readonly count: number
  /** Counts news: progress or the end */
  readonly news: Latest<number>
  end: TaskView | undefined
}

/**
 * Starts at once. Iterate it for the results in input order, as they come; a failed input is an item, not a throw. The results stay with the daemon until
 * they are read, so a slow reader holds one page. It throws when the map itself fails: refused, canceled, past its deadline, or its inputs or a callback
 * threw; what of it still runs is canceled by then. Leaving the loop early, or a failed input in `all()`, ends the reading and not the map: `cancel()` does.
 */
export class MapRun<Output = unknown> implements AsyncIterable<MapItem<Output>> {
  readonly #client: Client
  readonly #tasks: Tasks
  readonly #program: LoadedProgram | Promise<LoadedProgram>
  readonly #options: MapOptions
  readonly #progress = new Latest<MapProgress>({ total: 0, done: 0, failed: 0, retried: 0, byNode: {} })
  readonly #parts: Part[] = []
  readonly #progressOf = new Map<Part, MapProgress>()
  readonly #running = new Set<Promise<void>>()
  readonly #canceling: Promise<unknown>[] = []
  readonly #finished: Promise<void>
  readonly #stop = new AbortController()
  /** When the program was there; performance.now() */
  #began = 0
  #failure: { readonly error: unknown } | undefined
  #partAdded: Deferred<void> = deferred()
  #allSubmitted = false

  constructor(
    client: Client,
    tasks: Tasks,
    program: LoadedProgram | Promise<LoadedProgram>,
    inputs: Inputs,
    options: MapOptions,
  ) {
    this.#client = client
    this.#tasks = tasks
    this.#program = program
    this.#options = options
    this.#finished = this.#drive(inputs).catch((error: unknown) => this.#cancelWith(error))
    const { signal } = options
    if (signal?.aborted) this.#cancelWith(signal.reason)
    else if (signal) void this.#finished.then(onAbort(signal, () => this.#cancelWith(signal.reason)))
  }

  /** Each change, newest only; ends with the map. `total` grows while inputs are still being read. */
  get progress(): AsyncIterable<MapProgress> & { readonly value: MapProgress } {
    return this.#progress
  }

  /** Every output in input order. @throws ManyhandsError of the first input that failed, with `details.index` */
  async all(): Promise<Output[]> {
    const outputs: Output[] = []
    for await (const item of this) {
      if (!item.ok) throw failureAt(item.error, outputs.length)
      outputs.push(item.output)
    }
    return outputs
  }

  /** The tasks it was made of, once all have ended, whatever their state. @throws what kept it from being submitted */
  async tasks(): Promise<readonly TaskView[]> {
    await this.#ended()
    if (this.#failure && this.#parts.length === 0) throw this.#failure.error
    return this.#parts.map((part) => part.end ?? part.task)
  }

  /** Cancels what has not ended; iterating then throws E_CANCELED. */
  cancel(): void {
    this.#cancelWith(new ManyhandsError('E_CANCELED', 'The map was canceled'))
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<MapItem<Output>> {
    try {
      yield* this.#items()
    } catch (error) {
      // As after a run: who hears of it may close the mesh, and nothing could be canceled any more
      if (this.#failure) await soon(this.#client, this.#ended())
      throw error
    }
  }

  async *#items(): AsyncGenerator<MapItem<Output>> {
    const { locate } = await this.#program
    for (let at = 0; ; at++) {
      const part = await this.#partAt(at)
      if (!part) return
      for await (const item of this.#itemsOf(part)) {
        if (item.ok) yield { ok: true, output: item.output as Output }
        else yield { ok: false, error: locate?.(item.error) ?? item.error }
      }
    }
  }

  async #ended(): Promise<void> {
    await this.#finished
    await Promise.all(this.#canceling)
  }

  async #drive(inputs: Inputs): Promise<void> {
    const program = await this.#program
    this.#began = performance.now()
    const unwatch = this.#watchDeadline()
    try {
      await this.#submitAll(program, inputs)
      await Promise.all(this.#running)
    } finally {
      unwatch()
    }
    this.#progress.close()
  }

  async #submitAll(program: LoadedProgram, inputs: Inputs): Promise<void> {
    const key = keyOf(this.#options.key)
    // Who asks again with a key must have cut the inputs alike, whenever they came
    const soon = this.#options.key === undefined ? { ms: SOON_MS, signal: this.#stop.signal } : undefined
    const parts = mapParts(inputs, compact({ soon }))
    try {
      for (;;) {
        // A source may stand still for ever, which must not hold up a map that has failed
        const next = await unlessAborted(parts.next(), this.#stop.signal)
        if (next.done === true) break
        if (this.#running.size >= PARTS_AT_ONCE) await Promise.race(this.#running)
        this.#throwIfStopped()
        await this.#submit(program, next.value, `${key}:${this.#parts.length}`)
      }
    } finally {
      void parts.return(undefined).catch(() => undefined)
    }
    this.#allSubmitted = true
    this.#partAdded.resolve()
  }

  /** Ends the map where the daemon would not, which knows each request by itself. Gives what stops that. */
  #watchDeadline(): () => void {
    const { deadlineMs = 0, key } = this.#options
    if (!(deadlineMs >= 1 && deadlineMs <= MAX_TIMER_MS)) return () => undefined
    const timer = setTimeout(() => {
      // The daemon ends what it was told the rest of the deadline for, and keeps what that came to
      if (this.#allSubmitted && (key === undefined || this.#parts.length < 2)) return
      this.#cancelWith(new ManyhandsError('E_DEADLINE', 'The map did not end before its deadline'))
    }, deadlineMs)
    return () => clearTimeout(timer)
  }

  /** What is left of the deadline; with a key it is told as it was given, since who asks again must ask for the same. */
  #deadlineLeft(): number | undefined {
    const { deadlineMs, key } = this.#options
    if (deadlineMs === undefined || key !== undefined) return deadlineMs
    const left = deadlineMs - Math.floor(performance.now() - this.#began)
    // What is no deadline is for the daemon to refuse
    return left > 0 ? left : deadlineMs
  }

  async #submit(program: LoadedProgram, part: MapPart, key: string): Promise<void> {
    const { limits, requires, fresh, pieceSize, name } = this.#options
    const request = compact<Omit<MapRequest, 'inputs'>>({
      program: programInput(program),
      limits,
      requires,
      fresh,
      pieceSize,
      deadlineMs: this.#deadlineLeft(),
      detach: true,
      name,
    })
    // The inputs are JSON text already
    const json = `${toJson(request, 'the request').slice(0, -1)},"inputs":${part.inputs}}`
    const task = await submitted(this.#client, this.#client.call('POST /v0/maps', { json, key }), this.#stop.signal)
    const added: Part = { task, count: part.count, news: new Latest(0), end: undefined }
    this.#parts.push(added)
    if (this.#failure) this.#canceling.push(this.#cancel(added))
    const watching: Promise<void> = this.#follow(added)
      .catch((error: unknown) => this.#cancelWith(error))
      .finally(() => this.#running.delete(watching))
    this.#running.add(watching)
    this.#showProgress()
    this.#partAdded.resolve()
    this.#partAdded = deferred()
  }

  /** Until the part has ended. */
  async #follow(part: Part): Promise<void> {
    const { onLog } = this.#options
    part.end = await this.#tasks.wait(part.task.id, {
      onLog,
      signal: this.#stop.signal,
      onEvent: (event) => {
        if (event.type !== 'progress') return
        this.#progressOf.set(part, event.progress)
        this.#showProgress()
        part.news.set(event.progress.done)
      },
    })
    if (part.end.progress) this.#progressOf.set(part, part.end.progress)
    this.#showProgress()
    part.news.close()
  }

  #showProgress(): void {
    const sum = { total: 0, done: 0, failed: 0, retried: 0, byNode: {} as Record<string, number> }
    for (const part of this.#parts) {
      const one = this.#progressOf.get(part)
      sum.total += part.count
      sum.done += one?.done ?? 0
      sum.failed += one?.failed ?? 0
      sum.retried += one?.retried ?? 0
      for (const [node, count] of Object.entries(one?.byNode ?? {})) sum.byNode[node] = (sum.byNode[node] ?? 0) + count
    }
    this.#progress.set(sum)
    this.#options.onProgress?.(sum)
  }

  async #partAt(at: number): Promise<Part | undefined> {
    for (;;) {
      if (this.#failure) throw this.#failure.error
      const part = this.#parts[at]
      if (part) return part
      if (this.#allSubmitted) return undefined
      await this.#partAdded.promise
    }
  }

  async *#itemsOf(part: Part): AsyncGenerator<WireItem> {
    let limit: number = LIMITS.resultsPage
    for (let from = 0; from < part.count; ) {
      const ended = part.end
      const page = await this.#page(part, from, limit)
      limit = page.limit
      for (const item of page.items) {
        if (item === null) break
        from++
        yield item
      }
      if (page.items[0] !== null && page.items.length > 0) continue
      // Asked after its end and still not there: it never will be
      if (ended) {
        const error = endOf(ended)
        // Nobody can read past it
        this.#cancelWith(error)
        throw error
      }
      await this.#newsOf(part)
    }
  }

  /** Halves the page until it fits. */
  async #page(
    part: Part,
    from: number,
    limit: number,
  ): Promise<{ items: readonly (WireItem | null)[]; limit: number }> {
    for (let size = limit; ; size = Math.floor(size / 2)) {
      if (this.#failure) throw this.#failure.error
      try {
        const page = await this.#tasks.results(part.task.id, from, size, { signal: this.#stop.signal })
        if (page.from !== from || page.items.length > size)
          throw protocolError('Cannot read results: another page came')
        return { items: page.items, limit: size }
      } catch (error) {
        if (!(error instanceof ManyhandsError && error.code === 'E_TOO_LARGE') || size <= 1) throw error
      }
    }
  }

  async #newsOf(part: Part): Promise<void> {
    const before = part.news.value
    const timer = deferred<void>()
    const handle = setTimeout(() => timer.resolve(), POLL_MS)
    const watch = async (): Promise<void> => {
      for await (const done of part.news) if (done !== before) return
    }
    await Promise.race([watch(), timer.promise])
    clearTimeout(handle)
    if (this.#failure) throw this.#failure.error
  }

  #throwIfStopped(): void {
    if (this.#failure) throw this.#failure.error
  }

  /** Fails the map, and cancels what of it has not ended. First cause wins. */
  #cancelWith(reason: unknown): void {
    if (this.#failure) return
    this.#failure = { error: reason }
    for (const part of this.#parts) if (!part.end) this.#canceling.push(this.#cancel(part))
    this.#stop.abort(reason)
    this.#allSubmitted = true
    this.#partAdded.resolve()
    this.#progress.close()
    for (const part of this.#parts) part.news.close()
  }

  async #cancel(part: Part): Promise<void> {
    try {
      part.task = await cancelTask(this.#client, part.task.id)
    } catch {
      // What cannot be canceled ends by its own limits
    }
  }
}

function endOf(task: TaskView): unknown {
  try {
    outputOf(task)
  } catch (error) {
    return error
  }
  return protocolError('Cannot read results: the map completed without all of them')
}

function failureAt(failure: JobFailure, index: number): ManyhandsError {
  const { message, hint, code } = failureError(failure)
  return new ManyhandsError(code, `Input ${index}: ${message}`, { hint, failure, details: { index } })
}
