import { createHash } from 'node:crypto'

/** Names a mesh where others may hear it, without telling its id. */
export function meshDigest(meshId: string): string {
  return createHash('sha256').update(meshId).digest('hex').slice(0, 16)
}
