/**
 * A sandbox as one stream, for taking it to another node: a tar whose first entry, `sandbox.json`, says what it is, followed by `root.tar` (profile
 * `build` only: what changed on the root, written and read by the guest's own tar and by nothing outside of it), `workspace/` and `home/` with
 * everything in them. The image is named by digest; the node that takes it must have it.
 */
import { z } from 'zod'
import { MeshError } from '../errors.ts'
import { GRADES } from '../job.ts'
import { SIZE, STORED_LIMITS } from './row.ts'

export const CONTENT_HEADER = 'sandbox.json'
export const CONTENT_ROOT = 'root.tar'
export const CONTENT_FOLDERS = ['workspace', 'home'] as const
/** Of `sandbox.json` */
export const CONTENT_HEADER_BYTES = 256 << 10

const SCHEMA = z.strictObject({
  version: z.literal(1),
  image: z.strictObject({ name: z.string().max(300), digest: z.string().regex(/^sha256:[0-9a-f]{64}$/) }),
  name: z.string().max(64).optional(),
  profile: z.enum(['strict', 'build']),
  /** It was isolated so: the node that takes it does no less */
  grade: z.enum(GRADES),
  limits: STORED_LIMITS,
  env: z.record(z.string().max(256), z.string().max(65_536)),
  sleepAfterMs: SIZE,
  /** Paths that are gone from the root */
  removed: z.array(z.string().max(4_096)).max(10_000),
})

export type ContentHeader = Readonly<z.output<typeof SCHEMA>>

export function encodeContentHeader(header: ContentHeader): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(header))
}

/** @throws MeshError E_PROTOCOL */
export function decodeContentHeader(bytes: Uint8Array): ContentHeader {
  try {
    return SCHEMA.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)))
  } catch (error) {
    throw new MeshError('E_PROTOCOL', 'Cannot read the content: its description is malformed', { cause: error })
  }
}
