/** The kinds of records this folder writes, for the journal's reader: apart from the code that writes them, so that knowing them loads none of it. */
export const SANDBOX_RECORDS = ['sandbox.kept', 'sandbox.gone'] as const
