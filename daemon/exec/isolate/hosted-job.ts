import type { Module } from 'isolated-vm'
import { ERRORS } from '../../../protocol/errors.ts'
import type { JobFailure } from '../../../protocol/job.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import { resolveSpecifier } from '../../programs/resolve.ts'
import { FROM_HOST, type FrameWriter } from './frame.ts'
import { moduleSource } from './guest/boot.ts'
import { failureFromRaw, failureFromThrown, unresolvedImport } from './guest/errors.ts'
import type { GuestReply, LogLevel } from './guest/host-ops.ts'
import type { GuestIsolate, GuestOwner } from './guest-isolate.ts'
import type { HostJob } from './job-header.ts'

/** Larger sources are parsed on another thread, which costs a switch but keeps this one free. */
const SYNC_COMPILE_BYTES = 64 << 10
/** Calls that enter the isolate together. */
const BATCH = 256

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'log', 'warn', 'error']

/** Body of an `ended` frame. */
export interface JobReport {
  readonly cpuMs: number
  /** Why it ended, unless it was told to or delivered its result */
  readonly error?: JobFailure
}

export interface HostedJobContext {
  readonly out: FrameWriter
  /** Milliseconds since the epoch that do not jump */
  now(): number
  /** The job is over, its isolate can go. */
  onEnded(job: HostedJob): void
}

type Failed = { readonly failure: JobFailure }

/** One job inside the host process: loads its program into its isolate and passes calls, logs and host calls between guest and daemon. */
export class HostedJob implements GuestOwner {
  readonly id: number
  readonly guest: GuestIsolate
  readonly #job: HostJob
  readonly #session: boolean
  readonly #context: HostedJobContext
  #ended = false
  #logBytes = 0
  #hostCalls = 0
  #hostCallBytes = 0
  #timer: NodeJS.Timeout | undefined
  /** Flat arguments of the next entries */
  #calls: (number | string)[] = []
  #answers: (number | string | boolean)[] = []

  constructor(id: number, guest: GuestIsolate, job: HostJob, session: boolean, context: HostedJobContext) {
    this.id = id
    this.guest = guest
    this.#job = job
    this.#session = session
    this.#context = context
    guest.own(this)
  }

  async start(): Promise<void> {
    try {
      const failed = await this.#load()
      if (failed !== undefined) this.end(failed.failure)
      else if (this.#session) this.#context.out.send(FROM_HOST.loaded, this.id)
    } catch (error) {
      this.#broke(error)
    }
  }

  async #load(): Promise<Failed | undefined> {
    const { program, hostFunctions, outputBytes, hostCallBytes } = this.#job
    const config = JSON.stringify({ hostFunctions, outputBytes, logLineBytes: LIMITS.logLineBytes, hostCallBytes })
    // no guest code has run yet, so this thread cannot be held up
    this.guest.enter.applySync(undefined, [this.#context.now(), 'begin', config])
    const linked = await this.#link()
    if (!('namespace' in linked)) return linked
    try {
      await linked.evaluate({ promise: true })
    } catch (error) {
      if (this.guest.isolate.isDisposed) throw error
      return { failure: failureFromThrown(error, program, 'evaluate') }
    }
    return this.#main(linked)
  }

  async #main(main: Module): Promise<Failed | undefined> {
    const call = this.#session ? [] : [0, this.#job.input]
    const raw: unknown = await this.guest.enter.apply(undefined, [
      this.#context.now(),
      'main',
      main.namespace.derefInto(),
      ...call,
    ])
    return typeof raw === 'string' && raw !== '' ? { failure: failureFromRaw(raw, this.#job.program) } : undefined
  }

  /** Compiles all modules and links them; a specifier finds only modules of the program. */
  async #link(): Promise<Module | Failed> {
    const { program } = this.#job
    const modules = new Map<string, Module>()
    const names = new Map<Module, string>()
    for (const module of program.modules) {
      try {
        const source = moduleSource(module)
        const options = { filename: module.name }
        const { isolate } = this.guest
        const small = source.length <= SYNC_COMPILE_BYTES
        const compiled = small
          ? isolate.compileModuleSync(source, options)
          : await isolate.compileModule(source, options)
        modules.set(module.name, compiled)
        names.set(compiled, module.name)
      } catch (error) {
        if (this.guest.isolate.isDisposed) throw error
        return { failure: failureFromThrown(error, program, 'compile') }
      }
    }
    const main = modules.get(program.main)
    if (main === undefined) return { failure: noMain(program.main) }
    let missing: JobFailure | undefined
    try {
      main.instantiateSync(this.guest.context, (specifier, referrer) => {
        const from = names.get(referrer) ?? program.main
        const found = modules.get(resolveSpecifier(specifier, from) ?? '')
        if (found !== undefined) return found
        missing ??= unresolvedImport(specifier, from, program)
        throw new Error('unresolved')
      })
    } catch (error) {
      if (this.guest.isolate.isDisposed) throw error
      return { failure: missing ?? failureFromThrown(error, program, 'link') }
    }
    return main
  }

  // --- from the daemon ---------------------------------------------------------------------------------------------

  request(id: number, input: string): void {
    this.#calls.push(id, input)
  }

  answer(id: number, ok: boolean, json: string): void {
    this.#answers.push(id, ok, json)
  }

  /** Takes everything that arrived in one chunk into the isolate. */
  flush(): void {
    if (this.#answers.length > 0) this.#enter('host', this.#answers.splice(0))
    if (this.#calls.length === 0) return
    const calls = this.#calls
    this.#calls = []
    for (let at = 0; at < calls.length; at += 2 * BATCH) this.#enter('calls', calls.slice(at, at + 2 * BATCH))
  }

  end(error?: JobFailure): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#timer)
    const report: JobReport = { cpuMs: this.cpuMs(), ...(error === undefined ? {} : { error }) }
    this.#context.out.send(FROM_HOST.ended, this.id, 0, 0, JSON.stringify(report))
    this.#context.onEnded(this)
  }

  cpuMs(): number {
    return Math.round(this.guest.cpuMs() * 1000) / 1000
  }

  #enter(kind: string, args: (number | string | boolean)[]): void {
    this.guest.enter
      .apply(undefined, [this.#context.now(), kind, ...args])
      .catch((error: unknown) => this.#broke(error))
  }

  /** An entry failed although guest errors never leave it that way: the isolate was ended by its memory limit, or something is wrong here. */
  #broke(error: unknown): void {
    if (this.#ended) return
    const message = error instanceof Error ? error.message : ''
    if (this.guest.isolate.isDisposed || message.includes('Array buffer allocation failed')) {
      this.end({ code: 'E_MEMORY', message: ERRORS.E_MEMORY.title })
    } else this.abuse(`entry failed: ${message}`)
  }

  // --- from the guest, on this thread while the guest waits ---------------------------------------------------------

  log(level: LogLevel, text: string): void {
    if (this.#ended) return
    this.#logBytes += Buffer.byteLength(text)
    if (this.#logBytes > this.#job.logBytes) return this.#over('E_LOG_BUDGET')
    this.#context.out.send(FROM_HOST.log, this.id, 0, LEVELS.indexOf(level), text)
  }

  /** Credit: a guest gets no further than its budget, as it waits for each of these calls. */
  call(id: number, name: string, argsJson: string): void {
    if (this.#ended) return
    const index = this.#job.hostFunctions.indexOf(name)
    if (index < 0) return this.abuse(`host function ${name}`)
    this.#hostCalls += 1
    this.#hostCallBytes += Buffer.byteLength(argsJson)
    if (this.#hostCalls > this.#job.hostCalls || this.#hostCallBytes > this.#job.hostCallBytes)
      return this.#over('E_CALL_BUDGET')
    this.#context.out.send(FROM_HOST.hostCall, this.id, id, index, argsJson)
  }

  results(replies: readonly GuestReply[]): void {
    if (this.#ended) return
    for (const reply of replies) {
      if (reply.ok) this.#context.out.send(FROM_HOST.reply, this.id, reply.id, 1, reply.text)
      else
        this.#context.out.send(
          FROM_HOST.reply,
          this.id,
          reply.id,
          0,
          JSON.stringify(failureFromRaw(reply.raw, this.#job.program)),
        )
    }
    if (!this.#session) this.end()
  }

  wake(inMs: number): void {
    clearTimeout(this.#timer)
    if (inMs >= 0 && !this.#ended) this.#timer = setTimeout(() => this.#enter('wake', []), inMs)
  }

  abuse(what: string): void {
    if (!this.#ended) this.#context.out.send(FROM_HOST.lost, this.id, 0, 1, what)
  }

  lost(reason: string): void {
    if (!this.#ended) this.#context.out.send(FROM_HOST.lost, this.id, 0, 0, reason)
  }

  #over(code: 'E_LOG_BUDGET' | 'E_CALL_BUDGET'): void {
    this.end({ code, message: ERRORS[code].title })
  }
}

function noMain(name: string): JobFailure {
  return { code: 'E_IMPORT', message: `The main module is not part of the program: ${name}` }
}
