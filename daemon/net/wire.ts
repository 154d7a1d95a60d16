/** One control stream as its users see it: ordered bytes both ways, whatever carries them. */
export interface Wire {
  /** Whether `send` may be called: the transport took all it was given. */
  readonly writable: boolean
  /** How much of what can wait should be sent now, bytes: more would keep the rest waiting. 0: `drain` comes when there is room. */
  bulkRoom(): number
  /** Hands bytes over; they must not change afterwards. False: it is full, wait for `drain`. A dead wire swallows them. */
  send(bytes: Uint8Array): boolean
  /** Delivers what comes, also what came before. Called once. */
  attach(events: WireEvents): void
  /** Ends both directions now. */
  abort(reason: Error): void
}

export interface WireEvents {
  data(chunk: Uint8Array): void
  drain(): void
  /** Last event, exactly once. */
  closed(error: Error | undefined): void
}
