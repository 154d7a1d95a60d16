/**
 * What the journal knows of a task's files.
 *
 *   table             key            value
 *   task-files        task           FilesRow, JSON
 *   task-files-open   task           empty, until the output is committed or refused and the receipt of it is made: what a restart looks at
 *   task-files-pin    subject/key    commit: a request that is tried again reads the same
 *   trigger-task      task           which triggers started it (triggers/trigger-book.ts)
 */
import * as z from 'zod'
import type { Journal, TableWrite } from '../../journal/journal.ts'

export const TASK_TABLES = {
  files: 'task-files',
  open: 'task-files-open',
  pin: 'task-files-pin',
  trigger: 'trigger-task',
} as const

const commitAt = z.strictObject({ artifact: z.string(), commit: z.string() })
const filesRow = z.strictObject({
  subject: z.string(),
  input: commitAt.exactOptional(),
  output: z
    .strictObject({ artifact: z.string(), branch: z.string().exactOptional(), message: z.string().exactOptional() })
    .exactOptional(),
  made: z.strictObject({ artifact: z.string(), commit: z.string(), ref: z.string() }).exactOptional(),
  refused: z.string().exactOptional(),
  /** Of the commits it read and gave: an envelope as JSON text */
  receipt: z.string().exactOptional(),
  /** Its row among the pins */
  pin: z.string().exactOptional(),
})
export type FilesRow = z.output<typeof filesRow>

export function readFilesRow(journal: Pick<Journal, 'get'>, task: string): FilesRow | undefined {
  const bytes = journal.get(TASK_TABLES.files, task)
  if (bytes === undefined) return undefined
  return filesRow.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8'))).data
}

export const pinKey = (subject: string, key: string): string => `${subject.length}:${subject}${key}`

/** Removes all of it, with the task. What moved because of the task stays known: its records name it. */
export function artifactRowsOf(journal: Pick<Journal, 'get'>, task: string): TableWrite[] {
  const pin = readFilesRow(journal, task)?.pin
  const rows = [TASK_TABLES.files, TASK_TABLES.open, TASK_TABLES.trigger]
    .filter((table) => journal.get(table, task) !== undefined)
    .map((table) => ({ table, key: task }))
  return pin === undefined ? rows : [...rows, { table: TASK_TABLES.pin, key: pin }]
}
