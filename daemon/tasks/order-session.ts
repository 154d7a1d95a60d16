/** Serves a session order: one isolate, many calls, one receipt over all of them at the end. */
import { createHash } from 'node:crypto'
import { MeshError } from '../../protocol/errors.ts'
import { type JobFailure, NO_USAGE, type Usage } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { Executor, ExecutorSession } from '../exec/executor.ts'
import { addText } from './digest.ts'
import { failureOf, isNoFault } from './failure.ts'
import type { HandEvents, Held } from './hand-events.ts'
import type { Order, OrderResult } from './worker.ts'

export interface SessionFacts {
  readonly lost: boolean
  readonly error: JobFailure | undefined
  readonly usage: Usage
  readonly inputDigest: string
  readonly outputDigest: string
}

export interface SessionOwner {
  finished(facts: SessionFacts): OrderResult
  ended(): void
}

/** Calls that may wait for the isolate to be ready, and characters of their inputs. */
const EARLY_CALLS = 10_000
const EARLY_CHARS = 4 * LIMITS.inputBytes

export function serveSession(executor: Executor, order: Order, events: HandEvents, owner: SessionOwner): Held {
  return new OrderSession(executor, order, events, owner)
}

class OrderSession implements Held {
  readonly #events: HandEvents
  readonly #owner: SessionOwner
  readonly #abort = new AbortController()
  readonly #inputs = createHash('sha256')
  readonly #outputs = createHash('sha256')
  #session: ExecutorSession | undefined
  #early: [number, string][] = []
  #earlyChars = 0
  #open = 0
  #finishing = false
  /** The receipt is made of what came before: a call after it fails by the end of the session, which is on its way to the delegator. */
  #over = false

  constructor(executor: Executor, order: Order, events: HandEvents, owner: SessionOwner) {
    this.#events = events
    this.#owner = owner
    void this.#serve(executor, order)
  }

  call = (id: number, inputJson: string): void => {
    if (this.#over) return
    addText(this.#inputs, inputJson)
    this.#open += 1
    if (this.#session !== undefined) this.#session.call(id, inputJson)
    else if (this.#early.length < EARLY_CALLS && this.#earlyChars + inputJson.length <= EARLY_CHARS) {
      this.#early.push([id, inputJson])
      this.#earlyChars += inputJson.length
    } else this.#failed(id, { code: 'E_OVERLOADED', message: 'Too many calls wait for the session to open' })
  }

  finish = (): void => {
    this.#finishing = true
    this.#closeWhenDone()
  }

  stop = (): void => {
    this.#abort.abort(new MeshError('E_CANCELED', 'The task was canceled'))
  }

  async #serve(executor: Executor, order: Order): Promise<void> {
    const end = await this.#life(executor, order)
    for (const [id] of this.#early.splice(0)) this.#failed(id, end.error ?? GONE)
    this.#over = true
    this.#owner.ended()
    if (this.#abort.signal.aborted) return
    const result = this.#owner.finished({
      lost: end.error !== undefined && isNoFault(end.error.code),
      error: end.error,
      usage: end.usage,
      inputDigest: this.#inputs.digest('hex'),
      outputDigest: this.#outputs.digest('hex'),
    })
    this.#events.onResult(result)
  }

  async #life(executor: Executor, order: Order): Promise<{ error: JobFailure | undefined; usage: Usage }> {
    const job = {
      program: order.program,
      limits: order.limits,
      domain: order.delegator,
      hostFunctions: order.hostFunctions,
    }
    try {
      const session = await executor.open(job, {
        onLog: (line) => this.#events.onLog(line, 0),
        onHostCall: (name, args, signal) => this.#events.onHostCall(name, args, signal),
        signal: this.#abort.signal,
        onReply: (id, outcome) => (outcome.ok ? this.#replied(id, outcome.output) : this.#failed(id, outcome.error)),
      })
      this.#session = session
      this.#events.onReady()
      for (const [id, input] of this.#early.splice(0)) session.call(id, input)
      this.#closeWhenDone()
      return await session.ended
    } catch (error) {
      return { error: failureOf(error), usage: NO_USAGE }
    }
  }

  #replied(id: number, output: string): void {
    addText(this.#outputs, output)
    this.#open -= 1
    this.#events.onReply(id, output)
    this.#closeWhenDone()
  }

  #failed(id: number, error: JobFailure): void {
    addText(this.#outputs, `!${error.code}`)
    this.#open -= 1
    this.#events.onCallFailed(id, error)
    this.#closeWhenDone()
  }

  #closeWhenDone(): void {
    if (this.#finishing && this.#open === 0) this.#session?.close()
  }
}

const GONE: JobFailure = Object.freeze({
  code: 'E_EXECUTOR_LOST',
  message: 'The session ended before this call was made',
})
