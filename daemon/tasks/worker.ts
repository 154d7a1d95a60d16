/**
 * The seam between a task and the place that works on it. Two implementations: this node's own hands (`local-worker.ts`) and a peer reached by a task
 * channel (`remote-worker.ts`). Both report through the same hooks, so a task does not know where it runs.
 */
import type { MeshError } from '../../protocol/errors.ts'
import type { Grade, JobFailure, Limits, LogLine, Program, Usage } from '../../protocol/job.ts'
import type { Channel } from '../net/mesh-net.ts'

export type OrderKind = 'run' | 'batch' | 'session'

/** One piece of work for one lease. Inputs are JSON texts: one for a run, many for a batch, none for a session. */
export interface Order {
  readonly task: string
  readonly epoch: number
  readonly kind: OrderKind
  readonly program: Program
  /** sha256 of the program's canonical form, hex */
  readonly digest: string
  readonly inputs: readonly string[]
  readonly limits: Limits
  readonly grade: Grade | undefined
  readonly hostFunctions: readonly string[]
  /** Batch: a fresh isolate for every input */
  readonly fresh: boolean
  /** Node that answers for the task */
  readonly delegator: string
  readonly leaseMs: number
  /** Left of the task's deadline */
  readonly deadlineMs: number | undefined
  /** Delegations already made, and through whom, delegator first */
  readonly path: readonly string[]
}

export type PieceOutcome =
  | { readonly ok: true; readonly output: string }
  | { readonly ok: false; readonly error: JobFailure }

export interface OrderResult {
  /** Unfinished through no fault of the job: another node should do it */
  readonly again: boolean
  /** JSON text of a run */
  readonly output: string | undefined
  readonly error: JobFailure | undefined
  /** Batch: one for each input, in order */
  readonly pieces: readonly PieceOutcome[]
  readonly usage: Usage
  /** DSSE envelope as JSON text; empty when `again` */
  readonly receipt: string
  /** Resolves when the receipt is durable where the work was done; nothing may be acknowledged before */
  readonly durable: Promise<unknown>
}

export interface OrderHooks {
  /** The worker has taken more of the order, which is on its way. */
  onTaking(): void
  /** The lease has begun. */
  onBound(): void
  /** No lease began. */
  onRefused(error: MeshError): void
  onLog(line: LogLine, input: number): void
  onHostCall(name: string, argsJson: string, signal: AbortSignal): Promise<string>
  /** Session: its program is loaded. */
  onReady(): void
  onReply(id: number, outputJson: string): void
  onCallFailed(id: number, failure: JobFailure): void
  /** The worker asks to keep its lease: answer with `renewed`. */
  onRenew(number: number): void
  onResult(result: OrderResult): void
  /** The worker cannot be heard any more: a suspicion, no proof. */
  onLost(reason: string): void
}

/** What the delegator can say to a worker that holds an order. All calls are harmless after its end. */
export interface Placed {
  renewed(number: number): void
  /** The result is stored. */
  accepted(): void
  /** No result is wanted any more. */
  withdraw(code: string): void
  call(id: number, inputJson: string): void
  /** Session: no more calls; answer with the result once all are done. */
  finish(): void
  /** The worker, which cannot be heard any more, comes back on this channel. @returns false when that is no longer wanted */
  resume(channel: Channel): boolean
}

export interface Worker {
  readonly node: string
  /** @param channel by which it comes back with what was placed before this process began. @default none: it is placed now */
  place(order: Order, hooks: OrderHooks, channel?: Channel): Placed
}
