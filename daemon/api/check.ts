/** Holds what came from outside against a schema. */
import type { z } from 'zod'
import { MeshError } from '../../protocol/errors.ts'

/** @throws MeshError E_BAD_REQUEST naming what does not fit, and where; values are not repeated */
export function check<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issues = result.error.issues
    .slice(0, 10)
    .map(({ path, message }) => ({ at: path.join('.').slice(0, 200), message: message.slice(0, 300) }))
  const [first] = issues
  throw new MeshError(
    'E_BAD_REQUEST',
    `Cannot read ${what}: ${first?.at ? `${first.at}: ` : ''}${first?.message ?? 'it is not valid'}`,
    { details: { issues } },
  )
}
