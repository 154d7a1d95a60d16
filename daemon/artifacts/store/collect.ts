/**
 * Garbage collection of one repository: everything reachable in one pack with a bitmap, the rest dropped. Nobody may be staging objects for it meanwhile.
 *
 * What is to be kept beyond the refs stands in a reflog while Git works (`logs/HEAD`, gitrepository-layout): Git takes its entries for reachable, and no door
 * shows them. A crash leaves the file, which the next preparation of the repository removes. Where nothing else was kept, the pack is noted as the whole
 * (whole-pack.ts).
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import type { CollectedBytes } from './artifact-store.ts'
import { type GitCall, gitOutput, runGit } from './git-process.ts'
import type { ObjectReader } from './object-reader.ts'
import { bytesBelow } from './repository-files.ts'
import type { ArtifactState } from './state.ts'
import { forgetWholePack, noteWholePack } from './whole-pack.ts'

const WALL_MS = 600_000
/** Git takes a line of time 0 for damaged */
const NOBODY = 'manyhands <gc@manyhands.invalid> 1 +0000'
/** The bitmap tells what a clone needs without looking at trees (gitformat-bitmap). */
const REPACK = { 'pack.threads': '1', 'repack.writeBitmaps': 'true' }
const NONE = '0'.repeat(40)

/** @param keep commits and tags that stay although no ref names them; those that are missing are passed over @throws MeshError E_TIMEOUT, E_STORAGE; the reason of `signal` */
export async function collectGarbage(
  path: string,
  state: ArtifactState,
  reader: ObjectReader,
  keep: Iterable<string> = [],
  signal?: AbortSignal,
): Promise<CollectedBytes> {
  const bytesBefore = await bytesBelow(`${path}/objects`)
  const kept: string[] = []
  let hasTags = false
  for (const oid of new Set(keep)) {
    const { type } = (await reader.info(path, oid)) ?? {}
    if (type === 'commit' || type === 'tag') kept.push(oid)
    hasTags ||= type === 'tag'
  }
  await reader.drop(path)
  await forgetWholePack(path)
  const call = { repository: path, foreign: false, limits: { wallMs: WALL_MS }, ...(signal && { signal }) }
  try {
    if (kept.length > 0) await writeReflog(path, kept)
    // without -l and with no alternates: what is reachable is here; unreachable objects are not kept
    await gitOutput({ ...call, args: ['repack', '-a', '-d', '-q'], config: REPACK })
    await gitOutput({ ...call, args: ['prune', '--expire=now'] })
    if (!hasTags && (await isReached(call, kept))) await noteWholePack(path, state)
  } finally {
    if (kept.length > 0) await rm(`${path}/logs`, { recursive: true, force: true })
    await reader.drop(path)
  }
  return { bytesBefore, bytesAfter: await bytesBelow(`${path}/objects`) }
}

/** Whether refs reach all of these commits; then what was packed for their sake is nothing more. */
async function isReached(call: Omit<GitCall, 'args'>, commits: readonly string[]): Promise<boolean> {
  if (commits.length === 0) return true
  const args = ['rev-list', '--max-count=1', '--stdin', '--not', '--all']
  const { code, stdout } = await runGit({ ...call, args }, `${commits.join('\n')}\n`)
  return code === 0 && stdout.length === 0
}

async function writeReflog(path: string, kept: readonly string[]): Promise<void> {
  await mkdir(`${path}/logs`, { recursive: true, mode: 0o700 })
  const lines = kept.map((oid) => `${NONE} ${oid} ${NOBODY}\tkept\n`)
  await writeFile(`${path}/logs/HEAD`, lines.join(''), { mode: 0o600 })
}
