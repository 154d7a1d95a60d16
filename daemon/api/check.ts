/** Holds what came from outside against a schema. */
import type { z } from 'zod'
import { MeshError } from '../../protocol/errors.ts'
import { plainIssue, whatDoesNotFit } from '../../protocol/plain-issue.ts'

/** @throws MeshError E_BAD_REQUEST naming what does not fit, where, and what is wanted; texts are not repeated */
export function check<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value, { error: plainIssue })
  if (result.success) return result.data
  const issues = result.error.issues
    .slice(0, 10)
    .map(({ path, message }) => ({ at: path.join('.').slice(0, 200), message: message.slice(0, 1_000) }))
  throw new MeshError('E_BAD_REQUEST', `Cannot read ${what}: ${whatDoesNotFit(result.error)}`, { details: { issues } })
}
