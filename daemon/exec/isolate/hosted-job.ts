import { ERRORS } from '../../../protocol/errors.ts'
import { type JobFailure, LINE_END_BYTES } from '../../../protocol/job.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import { FROM_HOST, type FrameWriter } from './frame.ts'
import { failureFromRaw, failureFromThrown, uncaughtLine } from './guest/errors.ts'
import type { GuestReply, LogLevel } from './guest/host-ops.ts'
import type { GuestIsolate, GuestOwner } from './guest-isolate.ts'
import type { HostJob } from './job-header.ts'
import { type Failed, linkProgram } from './link-program.ts'
import { QuickCalls } from './quick-calls.ts'

/** Calls that enter the isolate together. */
const BATCH = 256

/** What isolated-vm says of an isolate that is gone, which it may say before `isDisposed` does. */
const DISPOSED = /^Isolated? (?:is|was) (?:already )?dis?posed\b/

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
  /** Whether this job is the only one here, so that nobody waits while it holds this thread */
  isAlone(job: HostedJob): boolean
}

/** One job inside the host process: loads its program into its isolate and passes calls, logs and host calls between guest and daemon. */
export class HostedJob implements GuestOwner {
  readonly id: number
  readonly guest: GuestIsolate
  readonly #job: HostJob
  readonly #session: boolean
  readonly #context: HostedJobContext
  #ended = false
  #loaded = false
  #nextEntry = Promise.withResolvers<void>()
  #logBytes = 0
  #hostCalls = 0
  #hostCallBytes = 0
  #timer: NodeJS.Timeout | undefined
  readonly #quick = new QuickCalls()
  /** Entries on another thread that have not returned: to wait for the isolate on this thread then could be for ever */
  #elsewhere = 0
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
      // Whoever told it to end takes nothing after that.
      else if (!this.#ended) {
        this.#loaded = true
        if (this.#session) this.#context.out.send(FROM_HOST.loaded, this.id)
      }
    } catch (error) {
      this.#broke(error)
    }
  }

  async #load(): Promise<Failed | undefined> {
    const { program, hostFunctions, outputBytes, hostCallBytes } = this.#job
    const config = JSON.stringify({ hostFunctions, outputBytes, logLineBytes: LIMITS.logLineBytes, hostCallBytes })
    // no guest code has run yet, so this thread cannot be held up
    this.guest.enter.applySync(undefined, [this.#context.now(), 'begin', config])
    return (await linkProgram(this.guest, program)) ?? (await this.#evaluate())
  }

  /**
   * Evaluates the program, which calls it too if it is to run once: often the result is there before this goes on.
   * isolated-vm does not wait for a top-level await, and only an entry into the isolate can end one; so it is asked again after each.
   * An entry that fails has left a rejected promise to nobody: loading failed by it, unless the program turns out to be loaded all the same.
   */
  async #evaluate(): Promise<Failed | undefined> {
    const { root, arm } = this.guest.start
    if (!this.#session) arm(this.#context.now(), 0, this.#job.input)
    try {
      await root.evaluate()
      // Taken before it is asked: an entry that ends while the answer is on its way may be the last
      let next = this.#nextEntry
      let state = await this.#takeMain()
      while (state === 'pending') {
        await next.promise
        next = this.#nextEntry
        state = await this.#takeMain()
      }
      return state === '' ? undefined : { failure: failureFromRaw(state, this.#job.program) }
    } catch (error) {
      if (this.#ended || this.#isGone(error)) throw error
      if ((await this.#takeMain()) !== '') return { failure: failureFromThrown(error, this.#job.program, 'evaluate') }
      this.log('error', uncaughtLine(error, this.#job.program))
      return undefined
    }
  }

  /** `''` when the program is loaded, `'pending'` when it waits, else why it failed. */
  async #takeMain(): Promise<string> {
    if (this.#ended) return ''
    const namespace = this.guest.start.root.namespace.derefInto()
    return String(await this.guest.enter.apply(undefined, [this.#context.now(), 'main', namespace]))
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
    for (let at = 0; at < calls.length; at += 2 * BATCH) {
      const batch = calls.slice(at, at + 2 * BATCH)
      if (this.#mayEnterHere()) this.#enterHere('calls', batch)
      else this.#enter('calls', batch)
    }
  }

  #mayEnterHere(): boolean {
    return this.#loaded && this.#session && this.#quick.allowed && this.#elsewhere === 0 && this.#context.isAlone(this)
  }

  end(error?: JobFailure): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#timer)
    const report: JobReport = { cpuMs: this.cpuMs(), ...(error === undefined ? {} : { error }) }
    this.#context.out.send(FROM_HOST.ended, this.id, 0, 0, JSON.stringify(report))
    // A call from an isolate is not followed by the end of a turn: the answer would wait for whatever this thread does next.
    this.#context.out.flush()
    this.#context.onEnded(this)
  }

  cpuMs(): number {
    return Math.round(this.guest.cpuMs() * 1000) / 1000
  }

  #enter(kind: string, args: (number | string | boolean)[]): void {
    const before = this.guest.cpuMs()
    this.#elsewhere += 1
    this.guest.enter
      .apply(undefined, [this.#context.now(), kind, ...args])
      .finally(() => {
        this.#elsewhere -= 1
        if (!this.#ended) this.#quick.elsewhere(this.guest.cpuMs() - before)
      })
      .then(
        () => this.#entered(),
        (error: unknown) => this.#broke(error),
      )
  }

  #enterHere(kind: string, args: (number | string | boolean)[]): void {
    if (this.#ended) return
    const before = this.guest.cpuMs()
    try {
      this.guest.enter.applySync(undefined, [this.#context.now(), kind, ...args])
    } catch (error) {
      this.#broke(error)
    }
    // Its own time, not what other processes took of the core meanwhile.
    if (!this.#ended) this.#quick.here(this.guest.cpuMs() - before)
  }

  #entered(): void {
    if (this.#loaded) return
    this.#nextEntry.resolve()
    this.#nextEntry = Promise.withResolvers()
  }

  /**
   * An entry failed. Guest errors leave it that way only as a rejected promise that nobody handles: while loading, the load failed by it; later
   * the job goes on. Else V8 has ended the isolate for its memory.
   */
  #broke(error: unknown): void {
    if (this.#ended) return
    if (this.#isGone(error)) this.end({ code: 'E_MEMORY', message: ERRORS.E_MEMORY.title })
    else if (this.#loaded) this.log('error', uncaughtLine(error, this.#job.program))
    else this.end(failureFromThrown(error, this.#job.program, 'evaluate'))
  }

  #isGone(error: unknown): boolean {
    return this.guest.isolate.isDisposed || (error instanceof Error && DISPOSED.test(error.message))
  }

  // --- from the guest, on this thread while the guest waits ---------------------------------------------------------

  log(level: LogLevel, text: string): void {
    if (this.#ended) return
    this.#logBytes += Buffer.byteLength(text) + LINE_END_BYTES
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
