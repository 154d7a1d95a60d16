/** A program bound once to the nearest able node and called thousands of times over one connection. */
import type { SessionOpen, TaskView } from '../../protocol/api.ts'
import { ChannelTask, type OnLog } from './channel-task.ts'
import { type Duplex, FRAME } from './duplex.ts'
import { failureError, type JobFailure, ManyhandsError, protocolError } from './errors.ts'
import { type HostFunctions, HostServer } from './host-functions.ts'
import { LIMITS } from './limits.ts'
import { compact, type LoadedProgram, programInput, type TaskOptions, toJson } from './program.ts'
import { jobFailure } from './replies.ts'
import { decodeText, parseJson } from './shape.ts'
import { onAbort, unlessAborted } from './wait.ts'

export interface SessionOptions extends TaskOptions {
  /** Functions of this process that the program calls as `await env.<name>(...)`. @default none */
  readonly host?: HostFunctions | undefined
  /** Console output of the program as it comes. @default none */
  readonly onLog?: OnLog | undefined
}

interface Waiter {
  readonly resolve: (output: unknown) => void
  readonly reject: (error: unknown) => void
}

/**
 * Calls may overlap; each runs on its own in the same isolate, so module state lasts from call to call. Calls made in one turn leave as one write.
 * A call that fails fails alone; the end of the session fails all that are open.
 */
export class Session<Input = unknown, Output = unknown> {
  readonly #task: ChannelTask
  readonly #waiting = new Map<number, Waiter>()
  readonly #locate: (failure: JobFailure) => JobFailure
  #taskId = ''
  #nextId = 1
  #over: Error | undefined

  private constructor(duplex: Duplex, program: LoadedProgram, options: SessionOptions) {
    const host = new HostServer(options.host ?? {})
    this.#locate = program.locate ?? ((failure) => failure)
    const open = compact<SessionOpen>({
      program: programInput(program),
      limits: options.limits,
      requires: options.requires,
      hostFunctions: host.names,
      name: options.name,
    })
    this.#task = new ChannelTask(
      duplex,
      { session: open },
      {
        host,
        onLog: options.onLog,
        onReply: (type, id, text) => this.#onReply(type, id, text),
        onEnd: (task, error) => this.#onEnd(task, error),
      },
    )
  }

  /** @throws ManyhandsError E_NO_CANDIDATE, E_SYNTAX, E_IMPORT and all that a daemon refuses with; or the signal's reason */
  static async open<Input, Output>(
    duplex: Duplex,
    program: LoadedProgram,
    options: SessionOptions,
  ): Promise<Session<Input, Output>> {
    const { signal } = options
    signal?.throwIfAborted()
    const session = new Session<Input, Output>(duplex, program, options)
    if (signal) {
      const forget = onAbort(signal, () => {
        session.#task.cancel()
        session.#onEnd(undefined, canceled(signal))
      })
      session.#task.ended.then(forget, forget)
    }
    try {
      session.#taskId = await unlessAborted(session.#task.opened, signal)
    } catch (error) {
      signal?.throwIfAborted()
      throw error instanceof ManyhandsError && error.failure ? failureError(session.#locate(error.failure)) : error
    }
    signal?.throwIfAborted()
    return session
  }

  /** Id of its task. */
  get id(): string {
    return this.#taskId
  }

  /** The task once it has ended, whatever its state. Rejects when the connection was lost. */
  get ended(): Promise<TaskView> {
    return this.#task.ended
  }

  /**
   * Calls the program. Rejects with ManyhandsError: the program's failure, E_OVERLOADED with 16,384 calls or 64 MiB of inputs open on all
   * sessions of the mesh, or when results are not taken, or the end of the session.
   */
  call(input: Input): Promise<Output> {
    return new Promise<unknown>((resolve, reject) => {
      if (this.#over) return reject(this.#over)
      if (this.#waiting.size >= LIMITS.sessionCalls) return reject(tooMany())
      const id = this.#nextId
      // A throw rejects this promise
      this.#task.channel.sendWithId(FRAME.call, id, input === undefined ? 'null' : toJson(input, 'the input'))
      this.#nextId = id === 0xffff_ffff ? 1 : id + 1
      this.#waiting.set(id, { resolve, reject })
    }) as Promise<Output>
  }

  /** No more calls: those open are answered, then the task completes. Safe to call again. @throws ManyhandsError when the connection was lost before */
  async close(): Promise<TaskView> {
    if (!this.#over) {
      this.#over = new ManyhandsError('E_CONFLICT', 'Cannot call: the session was closed', {
        hint: 'Open a new one with mesh.session()',
      })
      this.#task.channel.send(FRAME.finish, '')
    }
    return this.#task.ended
  }

  /** Ends it at once; open calls reject with E_CANCELED. */
  cancel(): void {
    this.#task.cancel()
    this.#onEnd(undefined, new ManyhandsError('E_CANCELED', 'The session was canceled', { task: this.#taskId }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What the calls did not report is no fault of leaving the block
    await this.close().catch(() => undefined)
  }

  #onReply(type: number, id: number, text: string): void {
    const waiter = this.#waiting.get(id)
    // Unknown only after a cancel here, when answers may still be on their way
    if (!waiter) return
    this.#waiting.delete(id)
    try {
      if (type === FRAME.reply) return waiter.resolve(parseJson(text, 'an output'))
      waiter.reject(failureError(this.#locate(decodeText(jobFailure, text, 'a failure')), this.#taskId))
    } catch (error) {
      // Written by the node that runs the session, which may lie: that ends this call and no other
      waiter.reject(error)
    }
  }

  #onEnd(task: TaskView | undefined, error: Error | undefined): void {
    const reason = error ?? (task?.error ? failureError(this.#locate(task.error), task.id) : ended(task))
    this.#over = reason
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const waiter of waiting) waiter.reject(reason)
  }
}

function ended(task: TaskView | undefined): ManyhandsError {
  if (task?.state === 'canceled') return new ManyhandsError('E_CANCELED', 'The session was canceled', { task: task.id })
  if (task?.state === 'completed')
    return new ManyhandsError('E_CONFLICT', 'Cannot call: the session has ended', {
      hint: 'Open a new one with mesh.session()',
      task: task.id,
    })
  return protocolError('The session ended without a reason')
}

function canceled(signal: AbortSignal): ManyhandsError {
  return new ManyhandsError('E_CANCELED', 'The session was canceled', { cause: signal.reason })
}

function tooMany(): ManyhandsError {
  return new ManyhandsError('E_OVERLOADED', `Cannot call: ${LIMITS.sessionCalls} calls wait for an answer`, {
    hint: 'Await some before making more',
    retryAfterMs: 10,
  })
}
