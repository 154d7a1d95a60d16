/** Runs one program over the inputs of a batch, in order of results if not of work. */
import { addUsage, type JobFailure, NO_USAGE, type Usage } from '../../protocol/job.ts'
import { LIMITS } from '../../protocol/limits.ts'
import type { Executor, JobSpec } from '../exec/executor.ts'
import type { HandEvents } from './hand-events.ts'
import type { Order, PieceOutcome } from './worker.ts'

export interface BatchOutcome {
  readonly pieces: readonly PieceOutcome[]
  readonly usage: Usage
}

/** Fresh isolates of one batch at work at once: the next is being prepared while one runs. */
const FRESH_AT_ONCE = 2

/**
 * Warm: one isolate serves all inputs. When a limit ends it, the inputs without an answer are run alone, so that
 * only the guilty one fails. Fresh: an isolate for every input.
 */
export async function runBatch(
  executor: Executor,
  job: JobSpec,
  order: Order,
  events: HandEvents,
  signal: AbortSignal,
): Promise<BatchOutcome> {
  const batch = new Batch(executor, job, order.inputs, events, signal)
  if (!order.fresh) await batch.runWarm()
  await batch.runAlone()
  return batch.outcome()
}

class Batch {
  readonly #executor: Executor
  readonly #job: JobSpec
  readonly #inputs: readonly string[]
  readonly #events: HandEvents
  readonly #signal: AbortSignal
  readonly #pieces: (PieceOutcome | undefined)[]
  #resultBytes = 0
  #usage: Usage = NO_USAGE

  constructor(executor: Executor, job: JobSpec, inputs: readonly string[], events: HandEvents, signal: AbortSignal) {
    this.#executor = executor
    this.#job = job
    this.#inputs = inputs
    this.#events = events
    this.#signal = signal
    this.#pieces = Array.from({ length: inputs.length })
  }

  outcome(): BatchOutcome {
    const pieces = this.#pieces.map((piece) => piece ?? { ok: false as const, error: CANCELED })
    return { pieces, usage: { ...this.#usage, calls: this.#inputs.length } }
  }

  async runWarm(): Promise<void> {
    let left = this.#inputs.length
    const answered = Promise.withResolvers<void>()
    const settle = (index: number, piece: PieceOutcome): void => {
      if (this.#pieces[index] !== undefined) return
      this.#keep(index, piece)
      left -= 1
      if (left === 0) answered.resolve()
    }
    const session = await this.#executor
      .open(this.#job, {
        onLog: (line) => this.#events.onLog(line, 0),
        onHostCall: (name, args, signal) => this.#events.onHostCall(name, args, signal),
        signal: this.#signal,
        onReply: (index, outcome) => {
          if (outcome.ok || !endsTheIsolate(outcome.error)) settle(index, outcome)
        },
      })
      .catch(() => undefined)
    // A program that does not load fails alike for every input: running them alone tells each why.
    if (session === undefined) return
    this.#inputs.forEach((input, index) => session.call(index, input))
    await Promise.race([answered.promise, session.ended])
    session.close()
    this.#add((await session.ended).usage)
  }

  /** What has no answer yet. */
  async runAlone(): Promise<void> {
    const open = [...this.#inputs.keys()].filter((index) => this.#pieces[index] === undefined)
    const lane = async (): Promise<void> => {
      for (let index = open.shift(); index !== undefined && !this.#signal.aborted; index = open.shift()) {
        const outcome = await this.#runOne(index)
        this.#keep(index, outcome.ok ? { ok: true, output: outcome.output } : { ok: false, error: outcome.error })
        this.#add(outcome.usage)
      }
    }
    await Promise.all(Array.from({ length: FRESH_AT_ONCE }, lane))
  }

  /** What no longer fits into the result of the batch fails alone: without this the whole batch could not be sent, and would be run again. */
  #keep(index: number, piece: PieceOutcome): void {
    const bytes = Buffer.byteLength(piece.ok ? piece.output : JSON.stringify(piece.error))
    const fits = this.#resultBytes + bytes <= LIMITS.batchResultBytes
    if (fits) this.#resultBytes += bytes
    this.#pieces[index] = fits ? piece : { ok: false, error: TOO_MUCH }
  }

  #runOne(index: number): ReturnType<Executor['run']> {
    return this.#executor.run(this.#job, this.#inputs[index] ?? 'null', {
      onLog: (line) => this.#events.onLog(line, index),
      onHostCall: (name, args, signal) => this.#events.onHostCall(name, args, signal),
      signal: this.#signal,
    })
  }

  #add(usage: Usage): void {
    this.#usage = addUsage(this.#usage, usage)
  }
}

const TOO_MUCH: JobFailure = Object.freeze({
  code: 'E_OUTPUT',
  message: `The results of one piece of the map have more than ${LIMITS.batchResultBytes >> 20} MiB together`,
  hint: 'Make pieces smaller (pieceSize, --piece-size), or return less.',
})

const CANCELED: JobFailure = Object.freeze({ code: 'E_CANCELED', message: 'The task was canceled' })

/** Failures of the isolate rather than of the call: they hit every call in it, guilty or not. */
function endsTheIsolate(error: JobFailure): boolean {
  switch (error.code) {
    case 'E_DEADLINE':
    case 'E_CPU':
    case 'E_MEMORY':
    case 'E_LOG_BUDGET':
    case 'E_CALL_BUDGET':
    case 'E_EXECUTOR_LOST':
      return true
    default:
      return false
  }
}
