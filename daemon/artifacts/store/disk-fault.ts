import { MeshError } from '../../../protocol/errors.ts'

const FULL = /No space left on device|Disk quota exceeded|Read-only file system/

/** @param stderr what Git said when it failed @returns undefined unless the disk is why */
export function diskFault(stderr: string): MeshError | undefined {
  if (!FULL.test(stderr)) return undefined
  return new MeshError('E_STORAGE', 'Cannot store it: the disk of this node is full or cannot be written', {
    hint: 'Free space there; what was stored before stays, and nothing of this was kept',
    retryAfterMs: 1_000,
    cause: new Error(stderr),
  })
}
