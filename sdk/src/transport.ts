/** How requests reach a daemon. Implementations: `node/http-transport.ts` (unix socket and TCP) and `fetch-transport.ts` (browsers). */

export interface WireRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** With the query */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | undefined
  /** Which of the SDK's budgets it counts against: see LIMITS */
  readonly budget: 'short' | 'wait' | 'stream'
  /** Never on a connection that served before: for what must not be sent twice */
  readonly fresh?: boolean
  /** Ends the request and the reading of its answer; rejects with the signal's reason */
  readonly signal: AbortSignal
}

export interface WireAnswer {
  readonly status: number
  header(name: string): string | undefined
  /** Pulled: what is not read stays with the daemon. Leaving the loop early ends the connection. */
  readonly body: AsyncIterable<Uint8Array>
  /** In place of reading the body: the connection ends, whatever it still has. Safe to call again. */
  leave(): void
}

/**
 * Owns its connections. No token and no program ever leaves on a connection whose other end has not proven that it holds the token.
 * Rejects with ManyhandsError: E_NOT_RUNNING (nobody listens), E_UNPROVEN, E_UNREACHABLE (connection lost), E_PROTOCOL, E_OVERLOADED.
 */
export interface Transport {
  request(request: WireRequest): Promise<WireAnswer>
  close(): Promise<void>
}
