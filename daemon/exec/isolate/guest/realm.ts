/**
 * What the host gives to the code inside an isolate, and the calls that cross. Types only: shared by both sides.
 *
 * Guest to host: ONE synchronous function, `host(op, ...args)`. The prelude keeps it in a closure; it is never a property of anything a
 * program can reach, and it is only ever called directly (no `.call`, `.apply` or spread, which a program could have replaced).
 * Host to guest: ONE function, `enter(now, kind, ...args)`. Between two entries no guest code runs, and `now` is what every clock shows.
 */

/** Values that cross by copy. */
export type HostValue = string | number | boolean | ArrayBuffer | undefined

/** `host-ops.ts` holds the table of operations; it treats every argument as hostile. */
export type Host = (op: string, ...args: HostValue[]) => HostValue

/** One request, as JSON. */
export interface DoorRequest {
  readonly method: string
  readonly url: string
  readonly headers: readonly (readonly [string, string])[]
  /** base64 */
  readonly body?: string
  readonly redirect: string
}

export interface DoorReply {
  readonly status: number
  readonly statusText: string
  readonly url: string
  readonly redirected: boolean
  readonly headers: readonly (readonly [string, string])[]
  /** base64 */
  readonly body: string
}

/** What a library gets when it is first touched. */
export interface Realm {
  readonly host: Host
  /** Milliseconds since the epoch, fixed during a step */
  now(): number
  /** Milliseconds since the first step, fixed during a step */
  elapsed(): number
  /** Bytes after which a console line is cut */
  lineBytes(): number
  /** Registers what runs when the host's one timer is due */
  onWake(run: () => void): void
  /** Asks for one request through the door to the outside; undefined where this program has none. Never throws by itself */
  door(): ((request: DoorRequest) => Promise<DoorReply>) | undefined
  /** Marks an error as made by the runtime, so that `code` is believed when it leaves the isolate */
  brand<E extends Error>(error: E, code: string): E
}

/** A library's default export: makes the values of its globals. */
export type Library = (realm: Realm) => Readonly<Record<string, unknown>>

/** The `config` of a step of kind `begin`, as JSON. */
export interface GuestConfig {
  readonly hostFunctions: readonly string[]
  /** Longest result of one call */
  readonly outputBytes: number
  readonly logLineBytes: number
  /** Longest argument list of one host call */
  readonly hostCallBytes: number
}

/** What a failed call sends out, as JSON. `code` is set only for errors the runtime made. */
export interface RawFailure {
  readonly code?: string
  readonly name?: string
  readonly message: string
  readonly stack?: string
  readonly hint?: string
}

export type Enter = (now: number, kind: string, ...args: unknown[]) => string
