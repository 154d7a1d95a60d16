/**
 * Makes an artifact of a repository elsewhere. The listing and the fetch are two runs of Git in a jail that sees one quarantine and the network; redirects are
 * not followed, since they would lead past the check of the address. Nothing enters the artifact before every object was checked and every ref is of our grammar.
 */
import type { Attribution } from '../../../protocol/artifact/record.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { MAX_POINTERS, pointersBetween } from '../large-files/pointers.ts'
import type { ArtifactView, NewArtifact } from '../store/artifact-store.ts'
import { type GitCall, type GitLimits, runGit } from '../store/git-process.ts'
import type { OpenStore } from '../store/journal-store.ts'
import { FREE_ROOM } from '../store/usage.ts'
import { checkUpstream, readListing, type Resolve, type Upstream } from './upstream.ts'

export interface ImportParts {
  readonly store: OpenStore
  /** Hosts that may be imported from: see `artifacts.importHosts` */
  readonly hosts: readonly string[]
  readonly resolve?: Resolve
}

export interface Imported {
  readonly view: ArtifactView
  /** Large files (Git LFS) that its commits name: an import brings none. At most `MAX_POINTERS` are counted */
  readonly missingFiles: number
  /** Branches and tags that were left out, since an artifact has none of such a name */
  readonly leftRefs: number
}

const LISTING_BYTES = 16 << 20
const LISTING_MS = 60_000
const FETCH_MS = 15 * 60_000
/** Slower than this for that long ends a transfer. */
const LOW_SPEED = { 'http.lowSpeedLimit': '1000', 'http.lowSpeedTime': '30' }
const INTO = 'refs/import/'

/** @throws MeshError E_BAD_REQUEST, E_FORBIDDEN, E_UNREACHABLE, E_TOO_LARGE, E_QUOTA, E_OBJECT, E_TIMEOUT, E_CONFLICT when the name is taken; nothing is left then */
export async function importRepository(
  { store, hosts, resolve }: ImportParts,
  url: string,
  made: Omit<NewArtifact, 'by' | 'defaultBranch'>,
  by: Attribution,
  signal: AbortSignal,
): Promise<Imported> {
  const upstream = await checkUpstream(url, hosts, resolve)
  const listing = await ask(upstream, ['ls-remote', '--symref', '--heads', '--tags', '--refs'], [], signal)
  const head = await ask(upstream, ['ls-remote', '--symref'], ['HEAD'], signal)
  const { refs, left } = readListing(listing)
  const { defaultBranch } = readListing(head)
  const view = await store.create({ ...made, ...(defaultBranch === undefined ? {} : { defaultBranch }), by })
  try {
    if (refs.size > 0) await fetchInto(store, view.id, upstream, refs, by, signal)
    const missingFiles = await filesNamed(store, view.id, signal)
    return { view: store.require(view.id), missingFiles, leftRefs: left }
  } catch (error) {
    await store.remove(view.id, { ...by, reason: 'its import failed' })
    throw error
  }
}

async function ask(
  upstream: Upstream,
  command: readonly string[],
  patterns: readonly string[],
  signal: AbortSignal,
): Promise<string> {
  const { code, stdout, stderr } = await runGit({
    ...callTo(upstream, [...command, '--end-of-options', upstream.url, ...patterns]),
    limits: { wallMs: LISTING_MS, outputBytes: LISTING_BYTES, fileBytes: 1 << 20 },
    signal,
  })
  if (code !== 0) throw failed(upstream, stderr)
  return stdout.toString('utf8')
}

async function fetchInto(
  store: OpenStore,
  id: string,
  upstream: Upstream,
  refs: ReadonlyMap<string, string>,
  by: Attribution,
  signal: AbortSignal,
): Promise<void> {
  const staging = await store.stage(id)
  try {
    const room = store.room(id)
    const specs = [...refs.keys()].map((ref) => `+${ref}:${INTO}${ref.slice('refs/'.length)}`)
    const limits: Partial<GitLimits> = { wallMs: FETCH_MS, fileBytes: room }
    const end = await runGit(
      {
        ...callTo(upstream, [
          ...['fetch', '--no-tags', '--no-write-fetch-head', '--no-auto-maintenance', '--no-recurse-submodules'],
          ...['--quiet', '--stdin', '--end-of-options', upstream.url],
        ]),
        repository: staging.path,
        writes: [staging.path],
        limits,
        signal,
      },
      `${specs.join('\n')}\n`,
    )
    if (end.code !== 0) throw failed(upstream, end.stderr)
    const bytes = await staging.bytes()
    if (bytes > room)
      throw new MeshError(
        'E_QUOTA',
        `Cannot import: the repository has ${bytes} bytes, and there is room for ${room}`,
        { hint: FREE_ROOM },
      )
    const moves = [...(await fetched(staging.path))].map(([ref, oid]) => ({ ref, old: null, new: oid }))
    if (moves.length === 0) throw new MeshError('E_PROTOCOL', 'Cannot import: the server sent none of its refs')
    const reason = `import from ${new URL(upstream.url).host}`.slice(0, 500)
    // Git has checked every object and that nothing is missing before it set its refs
    await store.transact(id, moves, { by: { ...by, reason }, staging, checked: true, signal })
  } finally {
    await staging.discard()
  }
}

async function filesNamed(store: OpenStore, id: string, signal: AbortSignal): Promise<number> {
  const tips = [...new Set(store.refs(id).values())]
  if (tips.length === 0) return 0
  try {
    return (await pointersBetween(await store.repository(id), { tips, known: [] }, signal)).length
  } catch (error) {
    if (error instanceof MeshError && error.code === 'E_TOO_LARGE') return MAX_POINTERS
    throw error
  }
}

/** What was really fetched, which is what counts. */
async function fetched(path: string): Promise<Map<string, string>> {
  const args = ['for-each-ref', '--format=%(objectname)%09%(refname)', INTO]
  const { stdout } = await runGit({ args, repository: path, foreign: true })
  return new Map(readListing(stdout.toString('utf8').replaceAll(`\t${INTO}`, '\trefs/')).refs)
}

function callTo({ protocol, resolve }: Upstream, args: readonly string[]): GitCall {
  return {
    args,
    foreign: true,
    network: [protocol],
    protocol: 'version=2',
    config: {
      'http.followRedirects': 'false',
      'http.sslVerify': 'true',
      'fetch.fsckObjects': 'true',
      'fetch.unpackLimit': '1',
      'fetch.writeCommitGraph': 'false',
      ...LOW_SPEED,
      ...(resolve === undefined ? {} : { 'http.curloptResolve': resolve }),
    },
  }
}

function failed(upstream: Upstream, stderr: string): MeshError {
  const last = stderr.trim().split('\n').at(-1)?.slice(0, 300) ?? ''
  const { host } = new URL(upstream.url)
  if (/fsck|corrupt|malformed|bad object|inflate|index-pack|did not send all/i.test(stderr))
    return new MeshError('E_OBJECT', `Cannot import from ${host}: its objects are damaged or break a rule (${last})`)
  return new MeshError('E_UNREACHABLE', `Cannot import from ${host}: ${last}`, {
    hint: 'Check the URL; redirects and sign-in are not supported',
  })
}
