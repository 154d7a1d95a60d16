/** A peer as a place for tasks: the delegator's end of a task channel. */
import type { manyhands } from '../../proto/gen/wire.js'
import { isErrorCode, MeshError, toMeshError } from '../../protocol/errors.ts'
import { failureFromWire } from '../../protocol/task/job-codec.ts'
import type { Channel, MeshNet } from '../net/mesh-net.ts'
import { NOTHING_PLACED } from './local-worker.ts'
import { bindOf, resultFromWire } from './order-codec.ts'
import { OrderBudget } from './order-budget.ts'
import { TaskChannel, type TaskMessage } from './task-channel.ts'
import type { Order, OrderHooks, Placed, Worker } from './worker.ts'

export const TASK_CHANNEL = 'task'
/** Takes the place of a task channel that was cut off; the executor opens it. */
export const RESUME_CHANNEL = 'resume'
/** What a call adds to its input, encoded; a little more than it can be */
const CALL_BYTES = 32

export class RemoteWorker implements Worker {
  readonly node: string
  readonly #net: MeshNet

  constructor(node: string, net: MeshNet) {
    this.node = node
    this.#net = net
  }

  place(order: Order, hooks: OrderHooks, resumed?: Channel): Placed {
    try {
      const placed = new RemoteOrder(order, hooks)
      if (resumed === undefined)
        placed.bind(this.node, this.#net.openChannel(this.node, TASK_CHANNEL, new Uint8Array(0)))
      else placed.resume(resumed)
      return placed
    } catch (error) {
      queueMicrotask(() => hooks.onRefused(toMeshError(error)))
      return NOTHING_PLACED
    }
  }
}

class RemoteOrder implements Placed {
  readonly #order: Order
  readonly #hooks: OrderHooks
  readonly #decoder = new TextDecoder()
  readonly #budget: OrderBudget
  #channel: TaskChannel | undefined
  #calls = new AbortController()
  #bound = false
  /** Ended by a side that is there: no other channel takes its place */
  #over = false

  constructor(order: Order, hooks: OrderHooks) {
    this.#order = order
    this.#hooks = hooks
    this.#budget = new OrderBudget(order)
  }

  bind(node: string, channel: Channel): void {
    channel.onTaken(() => {
      if (!this.#bound) this.#hooks.onTaking()
    })
    this.#attach(channel).send({ bind: bindOf(this.#order, node) })
  }

  /** What the order may log and ask is counted on: a node that resumes gets no more of it. */
  resume(channel: Channel): boolean {
    if (this.#over) return false
    const before = this.#channel
    this.#attach(channel)
    before?.abort(new MeshError('E_UNREACHABLE', 'Another channel takes the place of this one'))
    this.#onBound()
    return true
  }

  #attach(channel: Channel): TaskChannel {
    const attached = new TaskChannel(channel, (message) => this.#onMessage(message))
    const calls = new AbortController()
    this.#channel = attached
    this.#calls = calls
    void attached.ended.then((error) => {
      calls.abort(error ?? new MeshError('E_UNREACHABLE', 'The task channel is closed'))
      if (this.#channel === attached) this.#onEnded(error)
    })
    return attached
  }

  renewed(number: number): void {
    this.#channel?.send({ renewed: { epoch: this.#order.epoch, number } })
  }

  accepted(): void {
    this.#over = true
    // Nobody waits for it
    this.#channel?.send({ accepted: true }, true)
    this.#channel?.close(true)
  }

  withdraw(code: string): void {
    this.#over = true
    this.#channel?.send({ withdraw: { code } })
    this.#channel?.closeNow()
  }

  call(id: number, inputJson: string): void {
    const input = Buffer.from(inputJson)
    if (this.#channel?.takes(input.byteLength + CALL_BYTES)) this.#channel.send({ call: { id, input } })
    else
      this.#hooks.onCallFailed(id, { code: 'E_OVERLOADED', message: 'Too many calls wait for the node of the session' })
  }

  finish(): void {
    this.#channel?.send({ finish: true })
  }

  #onMessage(message: TaskMessage): void {
    const hooks = this.#hooks
    if (message.reply) return this.#onReply(message.reply)
    if (message.renew) return hooks.onRenew(message.renew.number ?? 0)
    if (message.log) {
      const { level, text, piece } = message.log
      this.#budget.log(text ?? '')
      return hooks.onLog({ level: levelOf(level), text: text ?? '' }, piece ?? 0)
    }
    if (message.hostCall) {
      this.#budget.hostCall(message.hostCall.args?.byteLength ?? 0)
      return void this.#serveHostCall(message.hostCall)
    }
    if (message.result) return hooks.onResult(resultFromWire(message.result))
    if (message.ready) return hooks.onReady()
    if (message.bound) return this.#onBound()
    throw new MeshError('E_PROTOCOL', 'Cannot read a task message: it is not for the delegator')
  }

  #onBound(): void {
    this.#bound = true
    this.#hooks.onBound()
  }

  #onReply(reply: manyhands.Reply.$Properties): void {
    const id = reply.id ?? 0
    if (reply.error) this.#hooks.onCallFailed(id, failureFromWire(reply.error))
    else this.#hooks.onReply(id, this.#decoder.decode(reply.output ?? undefined))
  }

  async #serveHostCall(call: manyhands.HostCall.$Properties): Promise<void> {
    const id = call.id ?? 0
    const channel = this.#channel
    try {
      const value = await this.#hooks.onHostCall(
        call.name ?? '',
        this.#decoder.decode(call.args ?? undefined),
        this.#calls.signal,
      )
      const bytes = Buffer.from(value)
      if (channel?.takes(bytes.byteLength) === false) throw untaken(call.name ?? '')
      channel?.send({ hostResult: { id, value: bytes } })
    } catch (error) {
      const { code, message } = toMeshError(error)
      channel?.send({ hostResult: { id, errorCode: code, errorMessage: message } })
    }
  }

  #onEnded(error: Error | undefined): void {
    const typed = error instanceof MeshError ? error : undefined
    this.#over ||= typed?.code !== 'E_UNREACHABLE'
    const refused = typed !== undefined && isErrorCode(typed.code) && typed.code !== 'E_UNREACHABLE' && !this.#bound
    if (refused) this.#hooks.onRefused(typed)
    else this.#hooks.onLost(error?.message ?? 'the node closed the task channel')
  }
}

function untaken(name: string): MeshError {
  return new MeshError('E_OVERLOADED', `Cannot answer the call of "${name}": too much waits for the node that made it`)
}

type Level = Parameters<OrderHooks['onLog']>[0]['level']

function levelOf(level: string | null | undefined): Level {
  switch (level) {
    case 'debug':
    case 'info':
    case 'warn':
    case 'error':
      return level
    default:
      return 'log'
  }
}
