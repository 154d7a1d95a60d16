/**
 * Takes a pack that came from outside into a quarantine, or finds out why not. One jail, three runs of Git in it:
 *
 *   index-pack   every object parses, passes Git's strict check and has what it links to; thin packs are completed
 *   cat-file     kind and size of each, against the limits
 *   rev-list     from the new tips everything is there (connectivity), and no path is longer or deeper than a host can check out
 *
 * The objects lie in a folder of their own until all three said yes; only then are they moved into the staging repository.
 */
import { mkdir, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { MeshError } from '../../../protocol/errors.ts'
import type { Staging } from '../store/artifact-store.ts'
import { type GitChild, type GitEnd, spawnGit } from '../store/git-process.ts'
import { write } from './flow.ts'
import type { DoorLimits } from './limits.ts'

export interface PackOffer {
  readonly repository: string
  readonly staging: Staging
  /** Object ids that refs shall point to */
  readonly tips: readonly string[]
  /** Begins with the pack's header */
  readonly chunks: AsyncIterable<Buffer>
  /** Most bytes of the pack */
  readonly packBytes: number
  readonly limits: DoorLimits
  readonly signal: AbortSignal
}

export interface AcceptedPack {
  readonly objects: number
  /** "commit", "tree", "blob" or "tag" of the tips that came with the pack */
  readonly kinds: ReadonlyMap<string, string>
}

/** $0 git, $1 most bytes of the pack, then the tips. Exit codes tell which run failed. */
const SCRIPT = `
"$0" index-pack --stdin --fix-thin --strict --max-input-size="$1" || exit 11
echo =
GIT_ALTERNATE_OBJECT_DIRECTORIES= "$0" cat-file --batch-all-objects --unordered --buffer --batch-check='%(objectname) %(objecttype) %(objectsize)' || exit 12
echo =
shift
"$0" rev-list --objects "$@" --not --all || exit 13`

/** Beyond the pack itself: what completes a thin one, and the index */
const FILE_FACTOR = 4
const FILE_SLACK = 64 << 20

/** @throws MeshError E_OBJECT, E_TOO_LARGE, E_TIMEOUT; what `chunks` throws; the signal's reason. The staging is the caller's to discard. */
export async function acceptPack(offer: PackOffer): Promise<AcceptedPack> {
  const objects = join(offer.staging.path, 'incoming')
  await mkdir(join(objects, 'pack'), { recursive: true })
  const child = await spawnGit({
    args: [String(offer.packBytes), ...offer.tips],
    script: SCRIPT,
    repository: offer.repository,
    objects,
    foreign: true,
    limits: {
      wallMs: offer.limits.wallMs,
      cpuSeconds: 300,
      fileBytes: offer.packBytes * FILE_FACTOR + FILE_SLACK,
    },
    signal: offer.signal,
  })
  try {
    const report = new PackReport(offer.limits, offer.tips)
    // Reading ends when the process does, and that when it has the pack or is killed
    const [fed, read] = await Promise.allSettled([feed(child, offer), readReport(child.stdout, report, child)])
    if (fed.status === 'rejected') throw fed.reason
    const end = await child.ended
    offer.signal.throwIfAborted()
    if (read.status === 'rejected') throw read.reason
    if (end.code !== 0 || end.cut !== undefined) throw failure(end)
    await moveInto(join(objects, 'pack'), join(offer.staging.objects, 'pack'))
    return { objects: report.objects, kinds: report.kinds }
  } finally {
    child.kill()
    await child.ended
  }
}

/** Passes the pack on. When Git wants no more of it, the rest is still taken, within a bound, so that the client stays to hear why. */
async function feed(child: GitChild, { chunks, packBytes, limits }: PackOffer): Promise<void> {
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
    child.stdin.end()
  } catch (error) {
    child.kill()
    throw error
  }
}

async function readReport(stdout: Readable, report: PackReport, child: GitChild): Promise<void> {
  let rest = ''
  try {
    for await (const chunk of stdout) {
      const lines = (rest + String(chunk)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) report.take(line)
      if (rest.length > report.longestLine) report.take(rest)
    }
  } catch (error) {
    child.kill()
    throw error
  }
}

/** What the three runs say, line by line. */
class PackReport {
  readonly kinds = new Map<string, string>()
  readonly longestLine: number
  objects = 0
  readonly #limits: DoorLimits
  readonly #tips: ReadonlySet<string>
  #part = 0

  constructor(limits: DoorLimits, tips: readonly string[]) {
    this.#limits = limits
    this.#tips = new Set(tips)
    this.longestLine = limits.pathBytes + 64
  }

  /** @throws MeshError E_TOO_LARGE */
  take(line: string): void {
    if (line === '=') this.#part += 1
    else if (this.#part === 1) this.#object(line)
    else if (this.#part === 2) this.#path(line.slice(41))
  }

  #object(line: string): void {
    const [oid = '', kind = '', size = ''] = line.split(' ')
    const { objects, blobBytes, treeBytes, commitBytes } = this.#limits
    this.objects += 1
    if (this.objects > objects) throw tooLarge(`it holds more than ${objects} objects`)
    const most = kind === 'blob' ? blobBytes : kind === 'tree' ? treeBytes : commitBytes
    if (Number(size) > most) throw tooLarge(`${kind} ${oid} has ${size} bytes, ${most} are allowed`)
    if (this.#tips.has(oid)) this.kinds.set(oid, kind)
  }

  #path(path: string): void {
    const { pathBytes, pathDepth } = this.#limits
    if (path.length > pathBytes) throw tooLarge(`a path has more than ${pathBytes} bytes`)
    if (path.length > pathDepth && path.split('/').length > pathDepth)
      throw tooLarge(`a path has more than ${pathDepth} parts`)
  }
}

function tooLarge(why: string): MeshError {
  return new MeshError('E_TOO_LARGE', `Cannot take the push: ${why}`)
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
