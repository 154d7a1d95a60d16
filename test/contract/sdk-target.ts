/** What the SDK's suite needs of a daemon, so that it runs on the fake of `sdk-fake.ts` and on a real one. */

export interface SdkTarget {
  /** MANYHANDS_HOME of a running daemon, with its socket and admin token */
  readonly home: string
  /** Whether it has the fault switches of the fake */
  readonly faults?: SdkFaults
  stop(): Promise<void>
}

export interface SdkFaults {
  /** Drops the connections of the next `count` requests that start work, after the work was accepted and before it is answered. */
  dropAnswers(count: number): void
  /** Ends every open connection. */
  cutConnections(): void
  /** How often programs were started. */
  started(): number
}
