/** Finds the pointers to large files in a repository. Git walks and reads in a jail: what it reads was written elsewhere. */
import { LFS_POINTER_BYTES, type LfsPointer, readLfsPointer } from '../../../protocol/artifact/lfs-pointer.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { gitOutput } from '../store/git-process.ts'

export interface Walk {
  /** Objects whose history is walked */
  readonly tips: readonly string[]
  /** Whose history is known already; those that are gone are passed over */
  readonly known: readonly string[]
}

/** Blobs read by one run of Git: at most 18 MB. */
const BLOBS_AT_ONCE = 16_384
/** Large files that one artifact's commits may name; the rest is not looked for. */
export const MAX_POINTERS = 100_000
const WALL_MS = 600_000
const WALK = ['rev-list', '--objects', '--no-object-names', '--ignore-missing', '--stdin']
const SMALL_BLOBS = `--filter=combine:object:type=blob+blob:limit=${LFS_POINTER_BYTES}`
const ALL_OBJECTS = ['cat-file', '--batch-all-objects', '--unordered']

/** What the commits between name, each once. @throws MeshError E_TIMEOUT, E_TOO_LARGE, E_GIT_MISSING; the reason of `signal` */
export async function pointersBetween(
  repository: string,
  { tips, known }: Walk,
  signal: AbortSignal,
): Promise<LfsPointer[]> {
  const input = [...tips, ...known.map((oid) => `^${oid}`)].join('\n')
  const call = { repository, foreign: true, limits: { wallMs: WALL_MS }, signal }
  const listed = await gitOutput({ ...call, args: [...WALK, SMALL_BLOBS] }, `${input}\n`)
  return pointersAmong(repository, listed.toString('latin1').split('\n'), signal)
}

/** What anything in the repository names, reached by a ref or not. @throws as `pointersBetween` */
export async function allPointers(repository: string, signal: AbortSignal): Promise<LfsPointer[]> {
  const call = { repository, foreign: true, limits: { wallMs: WALL_MS }, signal }
  const form = '--batch-check=%(objectname) %(objecttype) %(objectsize)'
  const listed = await gitOutput({ ...call, args: [...ALL_OBJECTS, form] })
  const small = listed
    .toString('latin1')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, type, size]) => type === 'blob' && Number(size) < LFS_POINTER_BYTES)
  return pointersAmong(
    repository,
    small.map(([oid = '']) => oid),
    signal,
  )
}

async function pointersAmong(repository: string, oids: readonly string[], signal: AbortSignal): Promise<LfsPointer[]> {
  const found = new Map<string, LfsPointer>()
  for (let at = 0; at < oids.length; at += BLOBS_AT_ONCE) {
    const input = oids.slice(at, at + BLOBS_AT_ONCE).filter((oid) => oid !== '')
    if (input.length === 0) continue
    const call = { repository, foreign: true, limits: { wallMs: WALL_MS }, signal }
    const output = await gitOutput({ ...call, args: ['cat-file', '--batch'] }, `${input.join('\n')}\n`)
    for (const blob of blobsIn(output)) {
      const pointer = readLfsPointer(blob)
      if (pointer !== undefined) found.set(pointer.oid, pointer)
      if (found.size > MAX_POINTERS)
        throw new MeshError('E_TOO_LARGE', `Cannot keep large files: commits name more than ${MAX_POINTERS}`)
    }
  }
  return [...found.values()]
}

/** "<id> <type> <size>" LF content LF, or "<id> missing" LF, one after the other. */
function* blobsIn(output: Buffer): Generator<Buffer> {
  for (let at = 0; at < output.length; ) {
    const end = output.indexOf(0x0a, at)
    if (end < 0) return
    const [, type, size] = output.toString('latin1', at, end).split(' ')
    at = end + 1
    if (type === 'missing' || size === undefined) continue
    const content = output.subarray(at, at + Number(size))
    at += Number(size) + 1
    if (type === 'blob') yield content
  }
}
