/**
 * Takes a pack that came from outside into a quarantine, or finds out why not. One jail, three runs of Git in it:
 *
 *   index-pack   every object parses, passes Git's strict check and has what it links to; thin packs are completed
 *   rev-list     from the new tips everything is there (connectivity), and no path is longer or deeper than a host can check out
 *   cat-file     kind and size of each object, against the limits
 *
 * A small pack's objects are read out and given to the store one by one, which makes them durable with the append that moves the refs: two syncs of files
 * and two of folders less than moving the pack itself. Its other objects, which no tip leads to, are left behind. The pack of a larger push is moved into the
 * staging repository once all three said yes.
 */
import { mkdir, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../../../protocol/errors.ts'
import type { Staging } from '../store/artifact-store.ts'
import type { GitObject } from '../store/git-object.ts'
import { type GitChild, type GitEnd, runGit, spawnGit } from '../store/git-process.ts'
import { write } from './flow.ts'
import type { DoorLimits } from './limits.ts'
import { type ListedObject, PackReport, tooLarge } from './pack-report.ts'

export interface PackOffer {
  readonly repository: string
  readonly staging: Staging
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

/** Objects of the quarantine alone */
const LIST_ALL =
  'GIT_ALTERNATE_OBJECT_DIRECTORIES= "$0" cat-file --batch-all-objects --unordered --buffer --batch-check || exit 12'

/** $0 git, $1 most bytes of the pack, then the tips. Exit codes tell which run failed. */
const SCRIPTS = {
  /** The last one is told on standard input what is wanted */
  small: `
"$0" index-pack --stdin --fix-thin --strict --max-input-size="$1" || exit 11
echo =
shift
"$0" rev-list --objects "$@" --not --all || exit 13
echo =
"$0" cat-file --batch-command --buffer || exit 12`,
  large: `
"$0" index-pack --stdin --fix-thin --strict --max-input-size="$1" || exit 11
echo =
shift
"$0" rev-list --objects "$@" --not --all || exit 13
echo =
${LIST_ALL}`,
}

/** Content of the objects of a small push, together: more of it is moved as a pack */
const CARRIED_BYTES = 512 << 10
/** Beyond the pack itself: what completes a thin one, and the index */
const FILE_FACTOR = 4
const FILE_SLACK = 64 << 20
/** The store makes what it takes durable, and nothing in a quarantine need be */
const CONFIG = { 'core.fsync': 'none' }

/** @throws MeshError E_OBJECT, E_TOO_LARGE, E_TIMEOUT; what `chunks` throws; the signal's reason. The staging is the caller's to discard. */
export async function acceptPack(offer: PackOffer): Promise<AcceptedPack> {
  const { limits, tips, staging } = offer
  const folder = join(staging.path, 'incoming')
  await mkdir(join(folder, 'pack'), { recursive: true })
  const report = new PackReport(limits, tips, offer.isSmall)
  await examine(offer, folder, report)
  if (report.contents !== undefined) return { kinds: report.kinds, objects: report.contents }
  // What no tip leads to would come along, and was not looked at
  if (offer.isSmall) await examineAll(offer, folder, report)
  await moveInto(join(folder, 'pack'), join(staging.objects, 'pack'))
  return { kinds: report.kinds }
}

async function examine(offer: PackOffer, folder: string, report: PackReport): Promise<void> {
  const { limits, signal, packBytes, isSmall } = offer
  const child = await spawnGit({
    args: [String(packBytes), ...offer.tips],
    script: isSmall ? SCRIPTS.small : SCRIPTS.large,
    repository: offer.repository,
    objects: folder,
    foreign: true,
    config: CONFIG,
    limits: { wallMs: limits.wallMs, cpuSeconds: 300, fileBytes: packBytes * FILE_FACTOR + FILE_SLACK },
    signal,
  })
  try {
    // Reading ends when the process does, and that when it has the pack or is killed
    const [fed, read] = await Promise.allSettled([feed(child, offer), readReport(child, report, isSmall)])
    if (fed.status === 'rejected') throw fed.reason
    const end = await child.ended
    signal.throwIfAborted()
    if (read.status === 'rejected') throw read.reason
    if (end.code !== 0 || end.cut !== undefined) throw failure(end)
  } finally {
    child.kill()
    await child.ended
  }
}

/** Passes the pack on. When Git wants no more of it, the rest is still taken, within a bound, so that the client stays to hear why. */
async function feed(child: GitChild, { chunks, packBytes, limits, isSmall }: PackOffer): Promise<void> {
  let gone = false
  void child.ended.then(() => {
    gone = true
  })
  let bytes = 0
  try {
    for await (const chunk of chunks) {
      bytes += chunk.length
      if (bytes > packBytes)
        throw new MeshError('E_TOO_LARGE', `Cannot take the push: its pack is larger than ${packBytes} bytes`)
      // A closed pipe says that Git has ended: its report tells more
      if (!gone) await write(child.stdin, chunk, limits.wallMs).catch(() => {})
    }
    // With a small one the questions follow
    if (!isSmall) child.stdin.end()
  } catch (error) {
    child.kill()
    throw error
  }
}

async function readReport(child: GitChild, report: PackReport, isSmall: boolean): Promise<void> {
  let asked: 'nothing' | 'sizes' | 'contents' = 'nothing'
  try {
    for await (const chunk of child.stdout) {
      if (Buffer.isBuffer(chunk)) report.take(chunk)
      if (!isSmall || report.part < 2) continue
      if (asked === 'nothing') {
        asked = 'sizes'
        child.stdin.write(`${report.reached.map((oid) => `info ${oid}\n`).join('')}flush\n`)
      }
      if (asked === 'sizes' && report.listed.length === report.reached.length) {
        asked = 'contents'
        child.stdin.end(isCarried(report.listed) ? contentsOf(report) : undefined)
      }
    }
  } catch (error) {
    child.kill()
    throw error
  }
}

function isCarried(objects: readonly ListedObject[]): boolean {
  return objects.reduce((sum, { size }) => sum + size, 0) <= CARRIED_BYTES
}

function contentsOf(report: PackReport): string {
  report.expectContents()
  return report.reached.map((oid) => `contents ${oid}\n`).join('')
}

async function examineAll(
  { repository, limits, signal }: PackOffer,
  objects: string,
  report: PackReport,
): Promise<void> {
  const call = { args: [], script: LIST_ALL, repository, objects, foreign: true, signal }
  const listing = await runGit({ ...call, limits: { wallMs: limits.wallMs } })
  if (listing.code !== 0) throw failure(listing)
  for (const line of listing.stdout.toString('latin1').split('\n')) if (line !== '') report.object(line)
}

function failure({ code, cut, stderr }: GitEnd): MeshError {
  if (cut === 'time') return new MeshError('E_TIMEOUT', 'Cannot take the push: it did not end in time')
  if (code === 13)
    return new MeshError('E_OBJECT', 'Cannot take the push: objects are missing that its commits need', {
      hint: 'A shallow clone must fetch the whole history before it can push parts that are not here',
      cause: new Error(stderr),
    })
  if (/exceeds maximum allowed size/.test(stderr)) return tooLarge('its pack is larger than there is room for')
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

async function moveInto(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  // The index last: without it a pack is not seen
  const names = (await readdir(from)).sort((a, b) => Number(a.endsWith('.idx')) - Number(b.endsWith('.idx')))
  for (const name of names)
    if (/^pack-[0-9a-f]{40}\.(?:pack|idx|rev)$/.test(name)) await rename(join(from, name), join(to, name))
}
