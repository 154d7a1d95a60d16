/** Whether the output of a task was committed already, by what the journal knows of the refs that the task moved. */
import * as z from 'zod'
import type { Journal } from '../../journal/journal.ts'
import { TABLES } from '../store/rows.ts'
import type { FilesRow } from './files-row.ts'

const movesRow = z.object({
  moves: z.array(z.object({ ref: z.string(), new: z.string().nullable() })),
})

/** The commit that was made when the last process ended before it could note it. */
export async function madeBefore(
  journal: Pick<Journal, 'range'>,
  task: string,
  { artifact, branch }: NonNullable<FilesRow['output']>,
): Promise<FilesRow['made']> {
  const [row] = await journal.range(TABLES.task, { prefix: `${task}/${artifact}/`, limit: 1 })
  const { data } = movesRow.safeParse(row && JSON.parse(Buffer.from(row.value).toString('utf8')))
  for (const { ref, new: commit } of data?.moves ?? [])
    if (commit !== null && (branch === undefined || ref === `refs/heads/${branch}`)) return { artifact, commit, ref }
  return undefined
}
