/**
 * A session: bound once, called many times. Inputs and outputs are passed on as text, unparsed. Calls may be sent before the session is open; they wait.
 * What waits for an answer is bounded by `budget`, shared by the sessions of a connection: beyond it a call fails at once with E_OVERLOADED.
 */
import { DUPLEX, type SessionOpen } from '../../../protocol/api.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { JobFailure } from '../../../protocol/job.ts'
import { payloadId } from '../../../protocol/duplex-frame.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import type { TaskSession } from '../../tasks/tasks.ts'
import type { ApiServices } from '../services.ts'
import type { CallBudget } from './call-budget.ts'
import type { Channel, ChannelOutput } from './channel.ts'
import { HostCalls } from './host-calls.ts'

const { type } = DUPLEX

/** One call fails rather than everything on the connection */
const UNTAKEN: JobFailure = Object.freeze({
  code: 'E_OVERLOADED',
  message: 'Cannot return the result: the client does not take the results before it',
  hint: 'Make fewer calls with large results at once, or take what comes sooner',
})

export function openSession(
  open: SessionOpen,
  subject: string,
  services: ApiServices,
  out: ChannelOutput,
  budget: CallBudget,
): Channel {
  return new SessionChannel(open, subject, services, out, budget)
}

class SessionChannel implements Channel {
  readonly #out: ChannelOutput
  readonly #budget: CallBudget
  readonly #calls: HostCalls
  /** Bytes of input of each call without an answer */
  readonly #open = new Map<number, number>()
  #session: TaskSession | undefined
  /** Calls that came before the session was open, in order; the budget bounds them */
  #early: { readonly id: number; readonly input: string }[] = []
  #finished = false
  #canceled = false

  constructor(open: SessionOpen, subject: string, services: ApiServices, out: ChannelOutput, budget: CallBudget) {
    this.#out = out
    this.#budget = budget
    this.#calls = new HostCalls(out.wire, out.id)
    void this.#start(open, subject, services)
  }

  onFrame(frame: number, bytes: Buffer, start: number, end: number): void {
    switch (frame) {
      case type.call:
        return this.#call(payloadId(bytes, start, end), bytes, start + 4, end)
      case type.hostResult:
        return this.#calls.result(payloadId(bytes, start, end), bytes.toString('utf8', start + 4, end))
      case type.hostFailed:
        return this.#calls.failed(payloadId(bytes, start, end), bytes.subarray(start + 4, end))
      case type.finish:
        this.#finished = true
        return this.#session?.finish()
      case type.cancel:
        this.#canceled = true
        return this.#session?.cancel()
      default:
        throw new MeshError('E_PROTOCOL', `Cannot use a frame of type ${frame} on a session`)
    }
  }

  abandon(error: MeshError): void {
    this.#out.drop()
    this.#close(error)
    this.#canceled = true
    this.#session?.cancel()
  }

  async #start(open: SessionOpen, subject: string, services: ApiServices): Promise<void> {
    const { program, hostFunctions = [], ...rest } = open
    try {
      const session = await services.tasks.session(
        { ...rest, program: await services.compile(program), hostFunctions },
        { subject },
        {
          onReply: (id, outputJson) => this.#reply(id, outputJson),
          onCallFailed: (id, failure) => this.#fail(id, failure),
          onLog: (line) => this.#out.log(line),
          onHostCall: (name, argsJson, signal) => this.#calls.call(name, argsJson, signal),
          onEnd: (task) => {
            this.#out.end(task)
            this.#close(new MeshError('E_CALLER_GONE', 'The session has ended'))
          },
        },
      )
      this.#session = session
      const { task } = session
      this.#out.json(type.opened, { task: task.id, ...(task.lease === undefined ? {} : { lease: task.lease }) })
      for (const { id, input } of this.#early) session.call(id, input)
      this.#early = []
      if (this.#canceled) session.cancel()
      else if (this.#finished) session.finish()
    } catch (error) {
      this.#out.problem(error)
      this.#close(new MeshError('E_CALLER_GONE', 'The session did not open'))
    }
  }

  #call(id: number, bytes: Buffer, start: number, end: number): void {
    if (this.#out.closed) return
    const size = end - start
    if (this.#open.has(id)) throw new MeshError('E_PROTOCOL', `Cannot make call ${id}: a call of that id is open`)
    if (size > LIMITS.inputBytes)
      return this.#refuse(id, {
        code: 'E_TOO_LARGE',
        message: `Cannot make the call: its input may be ${LIMITS.inputBytes} bytes: received ${size}`,
      })
    if (!this.#budget.take(size))
      return this.#refuse(id, {
        code: 'E_OVERLOADED',
        message: 'Cannot make the call: too many wait for an answer',
        hint: 'Await earlier calls before making more',
      })
    this.#open.set(id, size)
    const input = bytes.toString('utf8', start, end)
    if (this.#session) this.#session.call(id, input)
    else this.#early.push({ id, input })
  }

  #reply(id: number, outputJson: string): void {
    if (!this.#settle(id) || this.#out.closed) return
    if (!this.#out.wire.hasRoom(outputJson)) return this.#refuse(id, UNTAKEN)
    try {
      this.#out.wire.idText(this.#out.id, type.reply, id, outputJson)
    } catch {
      this.#refuse(id, {
        code: 'E_OUTPUT',
        message: `Cannot return the result: a frame holds at most ${DUPLEX.maxFrameBytes} bytes`,
      })
    }
  }

  #fail(id: number, failure: JobFailure): void {
    if (this.#settle(id)) this.#refuse(id, failure)
  }

  #refuse(id: number, failure: JobFailure): void {
    if (!this.#out.closed) this.#out.wire.idText(this.#out.id, type.callFailed, id, JSON.stringify(failure))
  }

  #settle(id: number): boolean {
    const size = this.#open.get(id)
    if (size === undefined) return false
    this.#open.delete(id)
    this.#budget.give(size)
    return true
  }

  #close(error: MeshError): void {
    this.#calls.close(error)
    for (const id of [...this.#open.keys()]) this.#settle(id)
    this.#early = []
  }
}
