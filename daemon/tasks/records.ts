/** The kinds of records this folder writes, for the journal's reader: apart from the code that writes them, so that knowing them loads none of it. */
export const TASK_ENGINE_RECORDS = [
  'task.submitted',
  'task.granted',
  'task.ended',
  'task.dropped',
  'piece.ended',
  'receipt.issued',
  'tenure.bound',
] as const
