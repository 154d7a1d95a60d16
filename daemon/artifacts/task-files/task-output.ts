/** The files a program gives back, to be committed. Whatever a program returns is foreign: it is checked, never trusted. */
import * as z from 'zod'
import type { FileChange } from '../../../protocol/api.ts'
import { LIMITS } from '../../../protocol/limits.ts'

const text = z.string().refine((each) => each.isWellFormed(), 'it holds half of a surrogate pair')
const content = z.union([text, z.null(), z.strictObject({ base64: z.base64() })])
const output = z.object({
  // A record would leave out a file called "__proto__"
  files: z.preprocess(entriesOf, z.map(z.string().min(1).max(LIMITS.pathBytes), content)),
  message: z.string().max(LIMITS.messageBytes).optional(),
})

export interface TaskOutput {
  readonly files: readonly FileChange[]
  readonly message: string | undefined
}

/** @returns a sentence when the output has no files that could be committed */
export function filesOf(value: unknown): TaskOutput | string {
  const parsed = output.safeParse(value)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const where = issue === undefined || issue.path.length === 0 ? '' : ` (${issue.path.join('.').slice(0, 100)})`
    return `the program did not return {files: {path: text | {base64} | null}}${where}`
  }
  const files = [...parsed.data.files].map(([path, one]): FileChange => {
    if (one === null) return { path, remove: true }
    return typeof one === 'string' ? { path, text: one } : { path, base64: one.base64 }
  })
  if (files.length === 0) return 'the program returned no files'
  if (files.length > LIMITS.commitFiles) return `the program returned more than ${LIMITS.commitFiles} files`
  return { files, message: parsed.data.message }
}

function entriesOf(files: unknown): unknown {
  return typeof files === 'object' && files !== null && !Array.isArray(files) ? new Map(Object.entries(files)) : files
}
