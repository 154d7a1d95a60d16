/** What a row of the route table is, derived from its entry in protocol/api.ts. */
import type { z } from 'zod'
import type { EventStream, RouteName, Routes, Upgrade } from '../../protocol/api.ts'
import type { TaskCaller } from '../tasks/tasks.ts'

/** Names of the `:parameters` in a path */
type ParamName<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Name | ParamName<Rest>
  : Path extends `${string}:${infer Name}`
    ? Name
    : never

/** A source of numbered events. `watch` may call back before it returns. */
export interface EventSource<T> {
  watch(listener: (id: string, event: T) => void): () => void
  /** Whether nothing comes after this one */
  isLast(event: T): boolean
  /** Rejects when the last event cannot come now, and says why. Asked once, after `watch` */
  broken?(): Promise<unknown>
}

type Answer<Reply> = Reply extends EventStream<infer T> ? EventSource<T> : Reply extends Upgrade ? never : Reply

export interface RouteRequest<R extends RouteName> {
  readonly params: Readonly<Record<ParamName<R>, string>>
  readonly query: Routes[R]['query']
  readonly body: Routes[R]['body']
  /** Subject, and the idempotency key of the request */
  readonly caller: TaskCaller
  /** `Last-Event-ID` */
  readonly lastEventId: string | undefined
  /** Aborts when the client goes away or the daemon stops waiting for its answer */
  readonly signal: AbortSignal
  /** Runs `act` once the answer has left. */
  after(act: () => void): void
}

export interface RouteRow<R extends RouteName> {
  readonly access: Routes[R]['access']
  readonly summary: string
  readonly query?: z.ZodType<Routes[R]['query']>
  /** Absent: the request may have none */
  readonly body?: z.ZodType<Routes[R]['body']>
  /** Of the answer; of each event when it is a stream */
  readonly reply: z.ZodType
  /** @default "json" */
  readonly kind?: 'json' | 'text' | 'events' | 'upgrade'
  /** @default LIMITS.apiBodyBytes */
  readonly maxBodyBytes?: number
  /** Done once for an idempotency key, by keyed-answers.ts. @default false: it knows no keys, or keeps them itself */
  readonly isKeyed?: boolean
  handle(request: RouteRequest<R>): Answer<Routes[R]['reply']> | Promise<Answer<Routes[R]['reply']>>
}

export type RouteTable = { readonly [R in RouteName]: RouteRow<R> }

/** A row without its types, as the dispatcher and the OpenAPI document see it. */
export interface AnyRow {
  readonly name: string
  readonly method: string
  readonly path: string
  readonly access: 'open' | 'read' | 'run' | 'admin'
  readonly summary: string
  readonly query: z.ZodType | undefined
  readonly body: z.ZodType | undefined
  readonly reply: z.ZodType
  readonly kind: 'json' | 'text' | 'events' | 'upgrade'
  readonly maxBodyBytes: number | undefined
  readonly isKeyed: boolean
  handle(request: AnyRequest): unknown
}

export interface AnyRequest {
  readonly params: Readonly<Record<string, string>>
  readonly query: unknown
  readonly body: unknown
  readonly caller: TaskCaller
  readonly lastEventId: string | undefined
  readonly signal: AbortSignal
  after(act: () => void): void
}
