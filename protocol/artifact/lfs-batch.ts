/** The request of Git LFS's batch API (git-lfs docs/api/batch.md), as far as it is served: transfer `basic`, hash sha256. */
import * as z from 'zod'

const object = z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().min(0) })
const batch = z.object({
  operation: z.enum(['upload', 'download']),
  transfers: z.array(z.string().max(64)).max(16).optional(),
  hash_algo: z.string().max(16).optional(),
  objects: z.array(object).min(1).max(1_000),
})

export type LfsObject = Readonly<z.infer<typeof object>>
export type LfsBatch = Readonly<z.infer<typeof batch>>

/** @returns undefined when the text is no such request */
export function readLfsBatch(text: string): LfsBatch | undefined {
  return parsed(batch, text)
}

/** What a client sends to have an upload confirmed. */
export function readLfsObject(text: string): LfsObject | undefined {
  return parsed(object, text)
}

function parsed<T>(schema: z.ZodType<T>, text: string): T | undefined {
  try {
    const result = schema.safeParse(JSON.parse(text))
    return result.success ? result.data : undefined
  } catch {
    return undefined
  }
}
