/** The kinds of records this folder writes, for the journal's reader. */
export const SANDBOX_DESK_RECORDS = ['sandbox.away', 'sandbox.home', 'sandbox.leased'] as const
