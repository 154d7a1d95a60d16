/** One order of a peer being served: the executor's end of a task channel, with its lease. */
import type { manyhands } from '../../proto/gen/wire.js'
import { type ErrorCode, isErrorCode, MeshError, toMeshError } from '../../protocol/errors.ts'
import type { JobFailure } from '../../protocol/job.ts'
import { failureToWire } from '../../protocol/task/job-codec.ts'
import {
  startTenure,
  stepTenure,
  type Tenure,
  type TenureConfig,
  type TenureEffect,
  type TenureInput,
} from '../../protocol/task/tenure.ts'
import type { Channel } from '../net/mesh-net.ts'
import type { HandEvents, Held } from './hand-events.ts'
import { resultToWire } from './order-codec.ts'
import { TaskChannel, type TaskMessage } from './task-channel.ts'
import type { Order, OrderResult } from './worker.ts'

export interface ServedOrderOwner {
  accept(bind: manyhands.Bind.$Properties): { readonly order: Order; readonly durable: Promise<unknown> }
  take(order: Order, events: HandEvents): Held
  /** A channel in place of one that was lost; undefined when the delegator cannot be reached now. */
  resume(order: Order): Channel | undefined
  tenure(order: Order): TenureConfig
  /** @throws MeshError E_OVERLOADED when the peer has no room for so many bytes more */
  hold(bytes: number): void
  /** @param heldBytes what it held in all */
  ended(heldBytes: number): void
}

/** A channel that brings nothing of a bind for this long is closed, milliseconds. */
const BIND_WAIT_MS = 20_000
const RESUME_RETRY_MS = 500

const UNTAKEN: JobFailure = Object.freeze({
  code: 'E_OVERLOADED',
  message: 'Cannot return the result: too many wait for the caller to take them',
  hint: 'Make fewer calls with large results at once',
})

export class ServedOrder {
  readonly #owner: ServedOrderOwner
  #channel: TaskChannel
  readonly #hostCalls = new Map<number, PromiseWithResolvers<string>>()
  readonly #decoder = new TextDecoder()
  #order: Order | undefined
  #held: Held | undefined
  #tenure: Tenure | undefined
  #config: TenureConfig | undefined
  #result: OrderResult | undefined
  #timer: NodeJS.Timeout | undefined
  #nextHostCall = 1
  #heldBytes = 0
  #channelOpen = true
  #over = false

  constructor(channel: Channel, owner: ServedOrderOwner) {
    this.#owner = owner
    const binding = setTimeout(
      () => this.#refuse(new MeshError('E_TIMEOUT', 'No task came on the channel')),
      BIND_WAIT_MS,
    )
    this.#timer = binding
    const onPart = (bytes: number): void => {
      if (this.#order !== undefined || this.#over) return
      binding.refresh()
      this.#hold(bytes)
    }
    this.#channel = this.#listen(channel, onPart)
  }

  #listen(channel: Channel, onPart?: (bytes: number) => void): TaskChannel {
    const listening = new TaskChannel(channel, (message) => this.#onMessage(message), onPart)
    void listening.ended.then((error) => this.#onChannelEnded(error))
    return listening
  }

  /** What was bound; only valid after the bind. */
  get order(): { readonly delegator: string } {
    return this.#order ?? { delegator: this.#channel.peer }
  }

  get boundOrder(): Order | undefined {
    return this.#order
  }

  stop(code: ErrorCode): void {
    this.#held?.stop()
    this.#finish()
    this.#channel.abort(new MeshError(code, 'The node stopped working on the task'))
  }

  /** While the answers of earlier calls wait for the delegator to take them, no more calls are taken. */
  #onMessage(message: TaskMessage): void | Promise<void> {
    if (message.call) {
      this.#held?.call(message.call.id ?? 0, this.#decoder.decode(message.call.input ?? undefined))
      return this.#channel.roomy()
    }
    if (message.bind) return this.#onBind(message.bind)
    if (message.renewed) return this.#step({ type: 'renewed', number: message.renewed.number ?? 0 })
    if (message.hostResult) return this.#onHostResult(message.hostResult)
    if (message.finish) return this.#held?.finish()
    if (message.accepted) return this.#step({ type: 'accepted' })
    if (message.withdraw) return this.#onWithdraw()
    throw new MeshError('E_PROTOCOL', 'Cannot read a task message: it is not for the executor')
  }

  #onBind(bind: manyhands.Bind.$Properties): void {
    if (this.#order !== undefined) throw new MeshError('E_PROTOCOL', 'Cannot bind twice on one channel')
    try {
      this.#hold(Math.max(0, bytesOf(bind) - this.#heldBytes))
      const { order, durable } = this.#owner.accept(bind)
      this.#order = order
      this.#config = this.#owner.tenure(order)
      this.#held = this.#owner.take(order, this.#events(durable))
      const { state, effects } = startTenure(order.epoch, performance.now(), this.#config)
      this.#tenure = state
      // The result of a small job overtakes the moment: then both leave together
      this.#channel.send({ bound: { epoch: order.epoch, leaseMs: order.leaseMs } }, true)
      this.#act(effects)
    } catch (error) {
      this.#refuse(toMeshError(error))
    }
  }

  #hold(bytes: number): void {
    this.#owner.hold(bytes)
    this.#heldBytes += bytes
  }

  /** It goes ahead of a bind that is still on its way in parts: that one shall find no channel. */
  #onWithdraw(): void {
    if (this.#order !== undefined) return this.#step({ type: 'withdrawn' })
    this.#refuse(new MeshError('E_CANCELED', 'The task was withdrawn before it was here'))
  }

  #refuse(error: MeshError): void {
    this.#finish()
    this.#channel.abort(error)
  }

  #events(durable: Promise<unknown>): HandEvents {
    return {
      onLog: ({ level, text }, piece) => this.#channel.send({ log: { level, text, piece } }),
      onHostCall: (name, args, signal) => this.#callHost(name, args, signal),
      onReady: () => this.#channel.send({ ready: true }),
      onReply: (id, output) => this.#reply(id, Buffer.from(output)),
      onCallFailed: (id, error) => this.#callFailed(id, error),
      onResult: (result) => void this.#onResult(result, durable),
    }
  }

  /** One call fails rather than the whole session. */
  #reply(id: number, output: Uint8Array): void {
    if (this.#channel.takes(output.byteLength)) this.#channel.send({ reply: { id, output } })
    else this.#callFailed(id, UNTAKEN)
  }

  #callFailed(id: number, error: JobFailure): void {
    this.#channel.send({ reply: { id, error: failureToWire(error) } })
  }

  /** A result leaves only once the bind that led to it and its receipt are on disk. */
  async #onResult(result: OrderResult, durable: Promise<unknown>): Promise<void> {
    try {
      await Promise.all([durable, result.durable])
      this.#result = result
      this.#step({ type: 'finished' })
    } catch (error) {
      this.#refuse(toMeshError(error))
    }
  }

  #callHost(name: string, args: string, signal: AbortSignal): Promise<string> {
    if (!this.#channelOpen)
      return Promise.reject(new MeshError('E_CALLER_GONE', 'The delegating node cannot be reached'))
    const bytes = Buffer.from(args)
    if (!this.#channel.takes(bytes.byteLength))
      return Promise.reject(
        new MeshError('E_OVERLOADED', `Cannot call "${name}": too much waits for the caller's node`),
      )
    const id = this.#nextHostCall++
    const pending = Promise.withResolvers<string>()
    this.#hostCalls.set(id, pending)
    const onAbort = (): void => pending.reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    this.#channel.send({ hostCall: { id, name, args: bytes } })
    return pending.promise.finally(() => {
      this.#hostCalls.delete(id)
      // The signal lives as long as the job, and would keep the answers of all its calls
      signal.removeEventListener('abort', onAbort)
    })
  }

  #onHostResult(answer: manyhands.HostResult.$Properties): void {
    const pending = this.#hostCalls.get(answer.id ?? 0)
    if (pending === undefined) return
    if (answer.errorCode) {
      const code = isErrorCode(answer.errorCode) ? answer.errorCode : 'E_HOST_CALL'
      pending.reject(new MeshError(code, answer.errorMessage ?? ''))
    } else {
      pending.resolve(this.#decoder.decode(answer.value ?? undefined))
    }
  }

  #step(input: TenureInput): void {
    if (this.#tenure === undefined || this.#config === undefined) return
    const { state, effects } = stepTenure(this.#tenure, input, performance.now(), this.#config)
    this.#tenure = state
    this.#act(effects)
  }

  #act(effects: readonly TenureEffect[]): void {
    for (const effect of effects) {
      switch (effect.type) {
        case 'renew':
          this.#channel.send({ renew: { epoch: this.#order?.epoch ?? 0, number: effect.number } })
          break
        case 'offer-result':
          this.#offerResult()
          break
        case 'stop':
          this.#held?.stop()
          break
        case 'forget':
          this.#finish()
          this.#channel.closeNow()
          break
        case 'wake':
          this.#wakeAt(effect.at)
          break
      }
    }
  }

  #wakeAt(at: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#step({ type: 'tick' }), Math.max(1, at - performance.now()))
  }

  #offerResult(): void {
    if (this.#order === undefined || this.#result === undefined) return
    if (this.#channelOpen) this.#channel.send({ result: resultToWire(this.#order, this.#result) })
  }

  /** Tries until the lease is over (T2, T3): the tenure's end makes `#over` true. */
  async #resume(order: Order): Promise<void> {
    while (!this.#over) {
      await new Promise((resolve) => setTimeout(resolve, RESUME_RETRY_MS))
      const channel = this.#over ? undefined : this.#owner.resume(order)
      if (channel === undefined) continue
      this.#channel = this.#listen(channel)
      this.#channelOpen = true
      return this.#offerResult()
    }
  }

  #onChannelEnded(error: Error | undefined): void {
    this.#channelOpen = false
    for (const pending of this.#hostCalls.values())
      pending.reject(new MeshError('E_CALLER_GONE', 'The delegating node cannot be reached'))
    if (this.#order === undefined) return this.#finish()
    // The work goes on: the lease decides (T2). A session has nobody left to serve.
    const isOver = error instanceof MeshError && error.code === 'E_STALE_LEASE'
    if (isOver || this.#order.kind === 'session') this.#step({ type: 'withdrawn' })
    else void this.#resume(this.#order)
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.#owner.ended(this.#heldBytes)
  }
}

function bytesOf({ program, inputs }: manyhands.Bind.$Properties): number {
  const sources = (program?.modules ?? []).reduce((sum, { source }) => sum + (source?.length ?? 0), 0)
  return (inputs ?? []).reduce((sum, { byteLength }) => sum + byteLength, sources)
}
