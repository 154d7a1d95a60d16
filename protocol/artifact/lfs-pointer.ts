/**
 * Pointers of Git LFS (git-lfs docs/spec.md): the small text that stands in a commit in place of a large file.
 *
 *   version https://git-lfs.github.com/spec/v1
 *   ext-0-foo sha256:...            (any number; lines are sorted by key)
 *   oid sha256:<64 hex digits>
 *   size <bytes>
 */
export interface LfsPointer {
  /** sha256 of the file, hex */
  readonly oid: string
  readonly size: number
}

/** A pointer is shorter than this, bytes. */
export const LFS_POINTER_BYTES = 1_024

const VERSION = /^version https:\/\/(?:git-lfs\.github\.com|hawser\.github\.com)\/spec\/v1\n/
const OID = /\noid sha256:([0-9a-f]{64})\n/
const SIZE = /\nsize (\d{1,15})\n?$/

/** @returns undefined for anything else */
export function readLfsPointer(blob: Uint8Array): LfsPointer | undefined {
  if (blob.length >= LFS_POINTER_BYTES) return undefined
  const text = Buffer.from(blob.buffer, blob.byteOffset, blob.length).toString('latin1')
  if (!VERSION.test(text)) return undefined
  const oid = OID.exec(text)?.[1]
  const size = SIZE.exec(text)?.[1]
  return oid === undefined || size === undefined ? undefined : { oid, size: Number(size) }
}
