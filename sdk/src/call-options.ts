/** What every call takes last. */
export interface CallOptions {
  /** Ends the waiting: the call rejects with its reason. @default none: 30 seconds end a call, or longer where it says so */
  readonly signal?: AbortSignal | undefined
}
