/** A real isolate with the guest runtime, for tests and benchmarks: what the host process does, without process, jail and limits. */
import ivm from 'isolated-vm'
import { toMeshError } from '../../../../protocol/errors.ts'
import type { JobFailure, Program } from '../../../../protocol/job.ts'
import { LIMITS } from '../../../../protocol/limits.ts'
import { linkProgram } from '../link-program.ts'
import { startModules } from '../start-module.ts'
import { bootGuest } from './boot.ts'
import { failureFromRaw, failureFromThrown, uncaughtLine } from './errors.ts'
import type { GuestPort, GuestReply } from './host-ops.ts'
import type { Enter, GuestConfig } from './realm.ts'

export interface TestOptions {
  readonly hostFunctions?: Readonly<Record<string, (...args: unknown[]) => unknown>>
  readonly config?: Partial<GuestConfig>
  /** Milliseconds since the epoch. @default the real clock */
  readonly now?: () => number
}

export type TestReply =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly failure: JobFailure }

export class TestIsolate {
  readonly logs: string[] = []
  readonly abuses: string[] = []
  readonly wakes: number[] = []
  /** Replies of each message, to see what travels together */
  readonly batches: number[] = []
  readonly isolate = new ivm.Isolate({ memoryLimit: 128 })
  readonly context = this.isolate.createContextSync()
  readonly enter: ivm.Reference<Enter> = bootGuest(this.context, this.#port(), this.isolate)
  readonly start = startModules(this.isolate, this.context, this.enter)
  readonly #program: Program
  readonly #options: TestOptions
  readonly #waiting = new Map<number, (reply: GuestReply) => void>()
  #timer: NodeJS.Timeout | undefined
  #nextId = 0
  #loaded = false
  /** Settles with the next timer or host call */
  #stepped = Promise.withResolvers<{ readonly thrown: unknown } | undefined>()

  constructor(program: Program | string, options: TestOptions = {}) {
    this.#program = typeof program === 'string' ? singleModule(program) : program
    this.#options = options
  }

  /** @returns why it does not load, or `undefined` */
  async load(): Promise<JobFailure | undefined> {
    const config: GuestConfig = {
      hostFunctions: Object.keys(this.#options.hostFunctions ?? {}),
      outputBytes: 1 << 20,
      logLineBytes: LIMITS.logLineBytes,
      hostCallBytes: 1 << 20,
      ...this.#options.config,
    }
    await this.step('begin', JSON.stringify(config))
    const failed = await linkProgram(this, this.#program)
    if (failed !== undefined) return failed.failure
    const { root } = this.start
    try {
      await root.evaluate()
      // Taken before it is asked: a step that ends while the answer is on its way may be the last
      let next = this.#stepped
      let state = await this.#enter('main', root.namespace.derefInto())
      while (state === 'pending') {
        const step = await next.promise
        if (step !== undefined) throw step.thrown
        next = this.#stepped
        state = await this.#enter('main', root.namespace.derefInto())
      }
      return state === '' ? undefined : failureFromRaw(state, this.#program)
    } catch (error) {
      return failureFromThrown(error, this.#program, 'evaluate')
    } finally {
      this.#loaded = true
    }
  }

  /** A timer or host call has ended, perhaps with what the program's loading rejected with. */
  #ended(step?: { readonly thrown: unknown }): void {
    this.#stepped.resolve(step)
    this.#stepped = Promise.withResolvers()
  }

  /** Enters; a rejected promise that nobody waits for comes out here, and belongs to the loading while that lasts. */
  async step(kind: string, ...args: unknown[]): Promise<string> {
    try {
      const answer = await this.#enter(kind, ...args)
      this.#ended()
      return answer
    } catch (thrown) {
      if (this.isolate.isDisposed) throw thrown
      if (this.#loaded) this.logs.push(`error: ${uncaughtLine(thrown, this.#program)}`)
      this.#ended({ thrown })
      return ''
    }
  }
  #enter(kind: string, ...args: unknown[]): Promise<string> {
    return this.enter.apply(undefined, [(this.#options.now ?? Date.now)(), kind, ...args] as never)
  }

  async call(input: unknown): Promise<TestReply> {
    const id = this.#nextId++
    const reply = new Promise<GuestReply>((resolve) => this.#waiting.set(id, resolve))
    await this.step('calls', id, JSON.stringify(input ?? null))
    return this.#read(await reply)
  }

  async callAll(inputs: readonly unknown[]): Promise<TestReply[]> {
    const ids = inputs.map(() => this.#nextId++)
    const replies = ids.map((id) => new Promise<GuestReply>((resolve) => this.#waiting.set(id, resolve)))
    await this.step('calls', ...ids.flatMap((id, index) => [id, JSON.stringify(inputs[index] ?? null)]))
    return (await Promise.all(replies)).map((reply) => this.#read(reply))
  }

  #read(reply: GuestReply): TestReply {
    if (!reply.ok) return { ok: false, failure: failureFromRaw(reply.raw, this.#program) }
    const value: unknown = JSON.parse(reply.text)
    return { ok: true, value }
  }

  dispose(): void {
    clearTimeout(this.#timer)
    if (!this.isolate.isDisposed) this.isolate.dispose()
  }

  #port(): GuestPort {
    return {
      log: (level, text) => this.logs.push(`${level}: ${text}`),
      abuse: (what) => this.abuses.push(what),
      results: (replies) => this.#settle(replies),
      wake: (inMs) => this.#arm(inMs),
      call: (id, name, argsJson) => {
        this.#serve(id, name, JSON.parse(argsJson) as unknown[]).catch(() => {})
      },
    }
  }
  async #serve(id: number, name: string, args: unknown[]): Promise<void> {
    try {
      const value: unknown = await this.#options.hostFunctions?.[name]?.(...args)
      await this.step('host', id, true, value === undefined ? '' : JSON.stringify(value))
    } catch (error) {
      const { code, message } = toMeshError(error)
      await this.step(
        'host',
        id,
        false,
        JSON.stringify({ code: code === 'E_INTERNAL' ? 'E_HOST_CALL' : code, message }),
      )
    }
  }
  #settle(replies: readonly GuestReply[]): void {
    this.batches.push(replies.length)
    for (const reply of replies) {
      this.#waiting.get(reply.id)?.(reply)
      this.#waiting.delete(reply.id)
    }
  }
  #arm(inMs: number): void {
    this.wakes.push(inMs)
    clearTimeout(this.#timer)
    if (inMs < 0) return
    this.#timer = setTimeout(() => {
      if (!this.isolate.isDisposed) this.step('wake').catch(() => {})
    }, inMs)
  }
}

export function singleModule(source: string, name = 'main.js'): Program {
  return { main: name, modules: [{ name, type: 'js', source }] }
}

/** Loads, calls once, disposes. */
export async function runOnce(
  program: Program | string,
  input?: unknown,
  options?: TestOptions,
): Promise<TestReply & { logs: string[] }> {
  const isolate = new TestIsolate(program, options)
  try {
    const failure = await isolate.load()
    const reply: TestReply = failure === undefined ? await isolate.call(input) : { ok: false, failure }
    return { ...reply, logs: isolate.logs }
  } finally {
    isolate.dispose()
  }
}
