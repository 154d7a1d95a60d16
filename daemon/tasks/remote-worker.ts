/** A peer as a place for tasks: the delegator's end of a task channel. */
import type { manyhands } from '../../proto/gen/wire.js'
import { isErrorCode, MeshError, toMeshError } from '../../protocol/errors.ts'
import { failureFromWire } from '../../protocol/task/job-codec.ts'
import type { MeshNet } from '../net/mesh-net.ts'
import { NOTHING_PLACED } from './local-worker.ts'
import { bindOf, resultFromWire } from './order-codec.ts'
import { OrderBudget } from './order-budget.ts'
import { TaskChannel, type TaskMessage } from './task-channel.ts'
import type { Order, OrderHooks, Placed, Worker } from './worker.ts'

export const TASK_CHANNEL = 'task'
/** What a call adds to its input, encoded; a little more than it can be */
const CALL_BYTES = 32

export class RemoteWorker implements Worker {
  readonly node: string
  readonly #net: MeshNet

  constructor(node: string, net: MeshNet) {
    this.node = node
    this.#net = net
  }

  place(order: Order, hooks: OrderHooks): Placed {
    try {
      return new RemoteOrder(this.#net, this.node, order, hooks)
    } catch (error) {
      queueMicrotask(() => hooks.onRefused(toMeshError(error)))
      return NOTHING_PLACED
    }
  }
}

class RemoteOrder implements Placed {
  readonly #channel: TaskChannel
  readonly #order: Order
  readonly #hooks: OrderHooks
  readonly #calls = new AbortController()
  readonly #decoder = new TextDecoder()
  readonly #budget: OrderBudget
  #bound = false

  constructor(net: MeshNet, node: string, order: Order, hooks: OrderHooks) {
    this.#order = order
    this.#hooks = hooks
    this.#budget = new OrderBudget(order)
    const channel = net.openChannel(node, TASK_CHANNEL, new Uint8Array(0))
    channel.onTaken(() => {
      if (!this.#bound) hooks.onTaking()
    })
    this.#channel = new TaskChannel(channel, (message) => this.#onMessage(message))
    this.#channel.send({ bind: bindOf(order, node) })
    void this.#channel.ended.then((error) => this.#onEnded(error))
  }

  renewed(number: number): void {
    this.#channel.send({ renewed: { epoch: this.#order.epoch, number } })
  }

  accepted(): void {
    // Nobody waits for it
    this.#channel.send({ accepted: true }, true)
    this.#channel.close(true)
  }

  withdraw(code: string): void {
    this.#channel.send({ withdraw: { code } })
    this.#channel.close()
  }

  call(id: number, inputJson: string): void {
    const input = Buffer.from(inputJson)
    if (this.#channel.takes(input.byteLength + CALL_BYTES)) this.#channel.send({ call: { id, input } })
    else
      this.#hooks.onCallFailed(id, { code: 'E_OVERLOADED', message: 'Too many calls wait for the node of the session' })
  }

  finish(): void {
    this.#channel.send({ finish: true })
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
    if (message.bound) {
      this.#bound = true
      return hooks.onBound()
    }
    throw new MeshError('E_PROTOCOL', 'Cannot read a task message: it is not for the delegator')
  }

  #onReply(reply: manyhands.Reply.$Properties): void {
    const id = reply.id ?? 0
    if (reply.error) this.#hooks.onCallFailed(id, failureFromWire(reply.error))
    else this.#hooks.onReply(id, this.#decoder.decode(reply.output ?? undefined))
  }

  async #serveHostCall(call: manyhands.HostCall.$Properties): Promise<void> {
    const id = call.id ?? 0
    try {
      const value = await this.#hooks.onHostCall(
        call.name ?? '',
        this.#decoder.decode(call.args ?? undefined),
        this.#calls.signal,
      )
      this.#channel.send({ hostResult: { id, value: Buffer.from(value) } })
    } catch (error) {
      const { code, message } = toMeshError(error)
      this.#channel.send({ hostResult: { id, errorCode: code, errorMessage: message } })
    }
  }

  #onEnded(error: Error | undefined): void {
    this.#calls.abort(error ?? new MeshError('E_UNREACHABLE', 'The task channel is closed'))
    const typed = error instanceof MeshError ? error : undefined
    const refused = typed !== undefined && isErrorCode(typed.code) && typed.code !== 'E_UNREACHABLE' && !this.#bound
    if (refused) this.#hooks.onRefused(typed)
    else this.#hooks.onLost(error?.message ?? 'the node closed the task channel')
  }
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
