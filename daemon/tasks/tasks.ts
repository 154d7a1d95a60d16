/** What the local API and everything else in the daemon sees of the task engine. */
import type {
  Explanation,
  LimitsInput,
  MapRequest,
  MapResults,
  ReceiptEnvelope,
  RequiresInput,
  RunRequest,
  TaskEvent,
  TaskKind,
  TaskState,
  TaskView,
} from '../../protocol/api.ts'
import type { JobFailure } from '../../protocol/job.ts'
import type { LogLine, Program } from '../exec/executor.ts'

export interface TaskCaller {
  /** Who asks, for fairness and audit: "local", or a token's name */
  readonly subject: string
  /** Idempotency key: the same key and request give the same task; the same key with another request is E_KEY_REUSED */
  readonly key?: string
}

export interface CallerHooks {
  onLog?(line: LogLine & { readonly node: string }): void
  /** Serves host calls; JSON text in and out. Without it the program may name none. */
  onHostCall?(name: string, argsJson: string, signal: AbortSignal): Promise<string>
}

export interface RunHooks extends CallerHooks {
  /** What `onHostCall` serves. @default none */
  readonly hostFunctions?: readonly string[]
  /** The caller wants the end and does nothing with the task before: it may become durable with its end. @default false */
  readonly isPatient?: boolean
}

export interface SessionRequest {
  readonly program: Program
  readonly limits?: LimitsInput
  readonly requires?: RequiresInput
  readonly hostFunctions: readonly string[]
  readonly name?: string
}

export interface SessionCallbacks extends CallerHooks {
  onReply(id: number, outputJson: string): void
  onCallFailed(id: number, failure: JobFailure): void
  onEnd(task: TaskView): void
}

export interface TaskSession {
  readonly task: TaskView
  /** Never throws; the outcome comes to the callbacks. */
  call(id: number, inputJson: string): void
  finish(): void
  cancel(): void
}

export interface TaskPage {
  readonly tasks: readonly TaskView[]
  readonly next?: string
}

export interface Tasks {
  /**
   * Accepts a run: resolves once it is durable, with the task's view.
   * @throws MeshError E_BAD_REQUEST, E_SYNTAX, E_TOO_LARGE, E_KEY_REUSED, E_OVERLOADED, E_STORAGE
   */
  run(request: RunRequest, caller: TaskCaller, hooks?: RunHooks): Promise<TaskView>
  map(request: MapRequest, caller: TaskCaller): Promise<TaskView>
  /** Binds a session to the nearest able node. @throws as run, and E_NO_CANDIDATE */
  session(request: SessionRequest, caller: TaskCaller, callbacks: SessionCallbacks): Promise<TaskSession>
  /** Resolves with the task once it has ended. @throws MeshError E_NOT_FOUND */
  ended(id: string, signal?: AbortSignal): Promise<TaskView>
  get(id: string): TaskView | undefined
  list(options: { limit: number; after?: string; state?: TaskState; kind?: TaskKind }): Promise<TaskPage>
  results(id: string, from: number, limit: number): Promise<MapResults>
  explain(id: string): Promise<Explanation>
  receipts(id: string): Promise<readonly ReceiptEnvelope[]>
  cancel(id: string): Promise<TaskView>
  /**
   * Events of one task from its beginning or after `from`, each with a number that only grows; the last is "end".
   * A listener that falls behind is told so by an E_OVERLOADED end; it may resume.
   */
  watch(id: string, from: number, listener: (number: number, event: TaskEvent) => void): () => void
  /** Ids of tasks whose state changed. */
  onChange(listener: (task: TaskView) => void): () => void
}
