/**
 * Takes a pack from a peer into a quarantine: `git index-pack` with Git's own checks of every object, in a jail, and then a walk that proves that everything the new
 * refs reach is there. Only a quarantine that passed both is given to the store.
 */
import { MeshError } from '../../../protocol/errors.ts'
import type { ArtifactStore, Staging } from '../store/artifact-store.ts'
import { type GitChild, spawnGit } from '../store/git-process.ts'

export interface PackIntake {
  readonly store: ArtifactStore
  readonly staging: Staging
  readonly pack: AsyncIterable<Uint8Array>
  /** Tips that must be complete afterwards */
  readonly wants: readonly string[]
  /** Tips that are complete here already */
  readonly complete: readonly string[]
  readonly maxBytes: number
  readonly signal: AbortSignal
}

/**
 * $1 the largest pack in bytes, $2 "whole" when nothing is here yet, then tips that must be complete, as "oid", and that are, as "^oid". A pack of which index-pack
 * says that it holds all it names needs no second walk, only its tips looked for.
 */
const SCRIPT = `
max=$1 extent=$2; shift 2
if [ "$extent" = whole ]; then
  "$0" index-pack --stdin --strict --check-self-contained-and-connected --max-input-size="$max" >/dev/null
  code=$?
  [ $code = 0 ] && exec "$0" rev-list --quiet --no-walk --end-of-options "$@"
  [ $code = 1 ] || exit $code
else
  "$0" index-pack --stdin --strict --fix-thin --max-input-size="$max" >/dev/null || exit
fi
exec "$0" rev-list --quiet --objects "$@" --
`

/** @throws MeshError E_PROTOCOL when an object is bad or missing, E_TIMEOUT, E_QUOTA, and what the stream throws */
export async function takePack(intake: PackIntake): Promise<void> {
  const { store, staging, wants, complete, maxBytes, signal } = intake
  const isKnown = store.get(staging.artifact) !== undefined
  const extent = complete.length === 0 ? 'whole' : 'part'
  const git = await spawnGit({
    args: [String(maxBytes), extent, ...wants, ...complete.map((oid) => `^${oid}`)],
    script: SCRIPT,
    repository: staging.path,
    foreign: true,
    reads: isKnown ? [await store.repository(staging.artifact)] : [],
    writes: [staging.path],
    limits: { wallMs: 3_600_000, cpuSeconds: 1_800 },
    signal,
  })
  try {
    await pipeIn(intake.pack, git, signal)
    const { code, stderr } = await git.ended
    signal.throwIfAborted()
    if (code !== 0) throw refused(stderr)
  } finally {
    git.kill()
  }
}

async function pipeIn(pack: AsyncIterable<Uint8Array>, git: GitChild, signal: AbortSignal): Promise<void> {
  const { stdin } = git
  let isOver = false
  let isCorked = false
  void git.ended.then(() => {
    isOver = true
  })
  for await (const bytes of pack) {
    // What Git refused is read no further; `ended` tells why.
    if (isOver) return
    // All packets of one piece of the stream go to Git in one write.
    if (!isCorked) {
      isCorked = true
      stdin.cork()
      process.nextTick(() => {
        isCorked = false
        stdin.uncork()
      })
    }
    if (!stdin.write(bytes)) await drained(git, signal)
  }
  stdin.end()
}

async function drained(git: GitChild, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  git.stdin.once('drain', resolve)
  signal.addEventListener('abort', () => resolve(), { once: true })
  await Promise.race([promise, git.ended])
  git.stdin.off('drain', resolve)
  signal.throwIfAborted()
}

function refused(stderr: string): MeshError {
  const cause = new Error(stderr)
  if (stderr.includes('pack exceeds maximum allowed size')) {
    return new MeshError('E_QUOTA', 'Cannot take a pack from a peer: it is larger than the room there is', { cause })
  }
  return new MeshError('E_PROTOCOL', 'Cannot take a pack from a peer: an object is bad or missing', { cause })
}
