/**
 * The birth of an artifact. Its id is a hash over the genesis, and the genesis names the owner's node id, which contains the owner's public key: who
 * knows the id can check who may sign for it, with no directory to trust.
 *
 *   genesis = canonical JSON {v: 1, owner, nonce, defaultBranch, createdAt}
 *   id      = "a" + the first 32 characters of base32 (RFC 4648, lower case, no padding) of sha256(genesis)      160 bits
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import { isNodeId } from '../node-id.ts'
import { canonicalJson } from './canonical-json.ts'
import { isRefName } from './ref-name.ts'

export const genesisSchema = z.strictObject({
  v: z.literal(1),
  /** Node id of the owner */
  owner: z.string().refine(isNodeId),
  /** 16 random bytes, hex: two artifacts made alike differ */
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  /** Short name of the branch that HEAD points to, e.g. "main" */
  defaultBranch: z.string().refine((name) => isRefName(`refs/heads/${name}`)),
  /** Milliseconds since 1970; display only */
  createdAt: z.int().min(0),
})
export type Genesis = Readonly<z.infer<typeof genesisSchema>>

const ID_SHAPE = /^a[a-z2-7]{32}$/
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'
const ID_BYTES = 20

export function isArtifactId(value: unknown): value is string {
  return typeof value === 'string' && ID_SHAPE.test(value)
}

export function artifactId(genesis: Genesis): string {
  const digest = createHash('sha256').update(canonicalJson(genesis)).digest()
  return `a${base32(digest.subarray(0, ID_BYTES))}`
}

/** For a whole number of 5-byte groups, so nothing is ever padded. */
function base32(bytes: Uint8Array): string {
  let text = ''
  let held = 0
  let bits = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET.charAt((held >> (bits - 5)) & 31)
    held &= (1 << bits) - 1
  }
  return text
}
