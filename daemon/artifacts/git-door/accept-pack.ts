/**
 * Takes a pack that came from outside into an {@link Intake}, or finds out why not:
 *
 *   index-pack   every object parses, passes Git's strict check and has what it links to; thin packs are completed
 *   rev-list     from the new tips everything is there (connectivity), and no path is longer or deeper than a host can check out
 *   cat-file     kind and size of each object, against the limits
 *
 * Then the pack is moved into the staging repository. A small pack is unpacked instead (`unpack-objects`, the same checks) and its objects are given to the
 * store one by one, which makes them durable with the append that moves the refs: one process and four syncs less. If they turn out not to be small, they go
 * through the third check and into the staging repository like the others.
 */
import { mkdir, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../protocol/errors.ts'
import type { GitObject } from '../store/git-object.ts'
import { diskFault } from '../store/disk-fault.ts'
import { type GitChild, type GitEnd, runGit } from '../store/git-process.ts'
import { write } from './flow.ts'
import { type Intake, LIST_ALL } from './intake.ts'
import type { DoorLimits } from './limits.ts'
import { readLoose } from '../store/loose-objects.ts'
import { PackReport, tooLarge } from './pack-report.ts'

export interface PackOffer {
  readonly intake: Intake
  /** Object ids that refs shall point to */
  readonly tips: readonly string[]
  /** Begins with the pack's header */
  readonly chunks: AsyncIterable<Buffer>
  /** Whether it is known to be small */
  readonly isSmall: boolean
  /** Most bytes of the pack */
  readonly packBytes: number
  readonly limits: DoorLimits
  readonly signal: AbortSignal
}

export interface AcceptedPack {
  /** "commit", "tree", "blob" or "tag" of the tips that came with the pack */
  readonly kinds: ReadonlyMap<string, string>
  /** The objects themselves; absent: they are in the staging repository */
  readonly objects?: readonly GitObject[]
}

/** How `unpack-objects` and `index-pack` say that an object which others name is nowhere: before the walk that ends with 13 */
const MISSING = /^fatal: (?:object of unexpected type|did not receive expected object)/m
/** Content of the objects of a small push, together: more of it is moved as files */
const CARRIED_BYTES = 512 << 10

/** @throws MeshError E_OBJECT, E_TOO_LARGE, E_TIMEOUT; what `chunks` throws; the signal's reason. Intake and staging are the caller's to end. */
export async function acceptPack(offer: PackOffer): Promise<AcceptedPack> {
  const { limits, tips, intake, isSmall } = offer
  const report = new PackReport(limits, tips)
  await examine(offer, report)
  const objects = isSmall ? await readLoose(intake.folder, CARRIED_BYTES) : undefined
  if (objects !== undefined) {
    for (const { oid, type, content } of objects) report.object(`${oid} ${type} ${content.length}`)
    return { kinds: report.kinds, objects }
  }
  if (isSmall) await examineAll(offer, report)
  await moveInto(intake.folder, intake.staging.objects)
  return { kinds: report.kinds }
}

async function examine(offer: PackOffer, report: PackReport): Promise<void> {
  const { intake, signal } = offer
  const { child } = intake
  const onAbort = (): void => child.kill()
  signal.throwIfAborted()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    // Reading ends when the process does, and that when it has the pack or is killed
    const [fed, read] = await Promise.allSettled([feed(child, offer), readReport(child, report)])
    if (fed.status === 'rejected') throw fed.reason
    const end = await child.ended
    signal.throwIfAborted()
    if (read.status === 'rejected') throw read.reason
    if (end.code !== 0 || end.cut !== undefined) throw failure(end)
  } finally {
    signal.removeEventListener('abort', onAbort)
    await intake.end()
  }
}

/** Passes the pack on. When Git wants no more of it, the rest is still taken, within a bound, so that the client stays to hear why. */
async function feed(child: GitChild, { chunks, packBytes, limits, isSmall, tips }: PackOffer): Promise<void> {
  let gone = false
  void child.ended.then(() => {
    gone = true
  })
  let bytes = 0
  child.stdin.write(`${isSmall ? 'small' : 'large'} ${packBytes} ${tips.join(' ')}\n`)
  try {
    for await (const chunk of chunks) {
      bytes += chunk.length
      if (bytes > packBytes) throw tooLarge(`its pack is larger than ${packBytes} bytes`)
      // A closed pipe says that Git has ended: its report tells more
      if (!gone) await write(child.stdin, chunk, limits.wallMs).catch(() => {})
    }
    child.stdin.end()
  } catch (error) {
    child.kill()
    throw error
  }
}

async function readReport(child: GitChild, report: PackReport): Promise<void> {
  try {
    for await (const chunk of child.stdout) report.take(String(chunk))
  } catch (error) {
    child.kill()
    throw error
  }
}

async function examineAll({ intake, limits, signal }: PackOffer, report: PackReport): Promise<void> {
  const { repository, folder } = intake
  const call = { args: [], script: LIST_ALL, repository, objects: folder, foreign: true, signal }
  const listing = await runGit({ ...call, limits: { wallMs: limits.wallMs } })
  if (listing.code !== 0) throw failure(listing)
  for (const line of listing.stdout.toString('latin1').split('\n')) if (line !== '') report.object(line)
}

function failure({ code, cut, stderr }: GitEnd): MeshError {
  if (cut === 'time') return new MeshError('E_TIMEOUT', 'Cannot take the push: it did not end in time')
  if (code === 13 || MISSING.test(stderr))
    return new MeshError('E_OBJECT', 'Cannot take the push: objects are missing that its commits need', {
      hint: 'A shallow clone must fetch the whole history before it can push parts that are not here',
      cause: new Error(stderr),
    })
  if (/exceeds maximum allowed size/.test(stderr)) return tooLarge('its pack is larger than there is room for')
  const full = diskFault(stderr)
  if (full !== undefined) return full
  const why =
    faultOf(stderr) ?? (code > 128 ? 'it needs more memory or time than it is allowed' : 'its pack is damaged')
  return new MeshError('E_OBJECT', `Cannot take the push: ${why}`, { cause: new Error(stderr) })
}

/** What Git says is wrong, fit to be shown: one line, no paths of this host, no control characters. */
function faultOf(stderr: string): string | undefined {
  const lines = stderr.split('\n').filter((line) => /^(?:error|fatal): /.test(line))
  if (lines.some((line) => /out of memory|malloc failed|unable to create threaded/i.test(line))) return undefined
  const line = lines[0]?.replace(/^(?:error|fatal): /, '').replaceAll(/[^\x20-\x7e]|<repository>\S*/g, '?')
  return line === undefined || line === '' ? undefined : `Git refuses it: ${line.slice(0, 200)}`
}

/** Packs and loose objects. An index after its pack: without it a pack is not seen. */
async function moveInto(from: string, to: string): Promise<void> {
  for (const folder of await readdir(from)) {
    const names = (await readdir(join(from, folder))).filter((name) => isObjectFile(folder, name))
    if (names.length > 0) await mkdir(join(to, folder), { recursive: true })
    for (const name of names.sort((a, b) => Number(a.endsWith('.idx')) - Number(b.endsWith('.idx'))))
      await rename(join(from, folder, name), join(to, folder, name))
  }
}

function isObjectFile(folder: string, name: string): boolean {
  if (folder === 'pack') return /^pack-[0-9a-f]{40}\.(?:pack|idx|rev)$/.test(name)
  return /^[0-9a-f]{2}$/.test(folder) && /^[0-9a-f]{38}$/.test(name)
}
