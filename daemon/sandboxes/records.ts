/** The kinds of records this folder writes, for the journal's reader. */
export const SANDBOX_DESK_RECORDS = [
  'sandbox.artifact-given',
  'sandbox.artifact-taken',
  'sandbox.away',
  'sandbox.home',
  'sandbox.leased',
] as const
