/**
 * A token for one artifact: what Git clients and agents are given instead of the daemon's own. Only the hash of the secret is kept.
 *
 *   secret  "mha_" + 43 characters base64url: 256 random bits, so one SHA-256 is enough to store it
 *   table `git-token`     key: sha256 of the secret, hex            value: JSON of {@link GitToken}
 *   table `git-token-of`  key: <artifact> "/" <id of the token>     value: sha256 of the secret, hex
 */
import * as z from 'zod'
import { attributionSchema } from './record.ts'

export const GIT_TOKEN = /^mha_[\w-]{43}$/

const tokenSchema = z.strictObject({
  v: z.literal(1),
  /** Names it in lists and for revoking; says nothing about the secret */
  id: z.string().regex(/^[0-9a-f]{16}$/),
  artifact: z.string().min(1).max(100),
  /** For people */
  name: z.string().min(1).max(64),
  access: z.enum(['read', 'write']),
  /** Wall clock, milliseconds since 1970 */
  createdAt: z.int().min(0),
  /** Wall clock; absent: never */
  expiresAt: z.int().min(0).optional(),
  /** Who acts when it is used: stands in the records of its pushes */
  by: attributionSchema,
})
export type GitToken = Readonly<z.infer<typeof tokenSchema>>

export function encodeGitToken(token: GitToken): Uint8Array {
  return Buffer.from(JSON.stringify(tokenSchema.parse(token)))
}

/** @throws Error when it is no token of this version */
export function decodeGitToken(value: Uint8Array): GitToken {
  return tokenSchema.parse(JSON.parse(Buffer.from(value).toString('utf8')))
}
