/**
 * Takes a pack from a peer into a quarantine: `git index-pack` with Git's own checks of every object, in a jail, and then a walk that proves that everything the new
 * refs reach is there. Only a quarantine that passed both is given to the store.
 */
import { MeshError } from '../../../protocol/errors.ts'
import type { ArtifactStore, Staging } from '../store/artifact-store.ts'
import { diskFault } from '../store/disk-fault.ts'
import { type GitChild, spawnGit } from '../store/git-process.ts'

export interface IncomingPack {
  readonly pack: AsyncIterable<Uint8Array>
  /** Tips that must be complete afterwards */
  readonly wants: readonly string[]
  /** Tips that are complete here already */
  readonly complete: readonly string[]
  readonly maxBytes: number
}

/**
 * The first line of its input: the largest pack in bytes, "whole" when nothing is here yet, then tips that must be complete, as "oid", and that are, as "^oid".
 * The rest is the pack. (`read` takes no byte beyond its line.) A pack of which index-pack says that it holds all it names needs no second walk, only its tips
 * looked for.
 */
const SCRIPT = `
read -r max extent tips || exit 10
if [ "$extent" = whole ]; then
  "$0" index-pack --stdin --strict --check-self-contained-and-connected --max-input-size="$max" >/dev/null
  code=$?
  [ $code = 0 ] && exec "$0" rev-list --quiet --no-walk --end-of-options $tips
  [ $code = 1 ] || exit $code
else
  "$0" index-pack --stdin --strict --fix-thin --max-input-size="$max" >/dev/null || exit
fi
exec "$0" rev-list --quiet --objects $tips --
`

/** The store makes what it takes durable, and nothing in a quarantine need be. */
const CONFIG = { 'core.fsync': 'none' }

/** A quarantine and, behind walls, a process that waits for the pack. Building the walls takes longer than looking at a small pack: they are built while records are read. */
export class PackIntake {
  readonly staging: Staging
  readonly #git: GitChild
  readonly #signal: AbortSignal

  private constructor(staging: Staging, git: GitChild, signal: AbortSignal) {
    this.staging = staging
    this.#git = git
    this.#signal = signal
  }

  /** @throws MeshError E_QUOTA, E_OVERLOADED, E_STORAGE, E_GIT_MISSING; the reason of `signal` */
  static async open(store: ArtifactStore, artifact: string, signal: AbortSignal): Promise<PackIntake> {
    const staging = await store.stage(artifact)
    try {
      const isKnown = store.get(artifact) !== undefined
      const git = await spawnGit({
        args: [],
        script: SCRIPT,
        repository: staging.path,
        foreign: true,
        reads: isKnown ? [await store.repository(artifact)] : [],
        writes: [staging.path],
        limits: { wallMs: 3_600_000, cpuSeconds: 1_800 },
        config: CONFIG,
        signal,
      })
      return new PackIntake(staging, git, signal)
    } catch (error) {
      await staging.discard()
      throw error
    }
  }

  /** Once. @throws MeshError E_PROTOCOL when an object is bad or missing, E_TIMEOUT, E_QUOTA, and what the stream throws */
  async take({ pack, wants, complete, maxBytes }: IncomingPack): Promise<void> {
    const extent = complete.length === 0 ? 'whole' : 'part'
    const tips = [...wants, ...complete.map((oid) => `^${oid}`)]
    this.#git.stdin.write(`${maxBytes} ${extent} ${tips.join(' ')}\n`)
    await pipeIn(pack, this.#git, this.#signal)
    const { code, stderr } = await this.#git.ended
    this.#signal.throwIfAborted()
    if (code !== 0) throw refused(stderr)
  }

  /** Ends the process and, unless it was used up, the quarantine. */
  async close(): Promise<void> {
    this.#git.kill()
    await this.#git.ended
    await this.staging.discard()
  }
}

async function pipeIn(pack: AsyncIterable<Uint8Array>, git: GitChild, signal: AbortSignal): Promise<void> {
  const { stdin } = git
  let isOver = false
  let isCorked = false
  let wake = (): void => {}
  const onWake = (): void => wake()
  stdin.on('drain', onWake)
  signal.addEventListener('abort', onWake)
  void git.ended.then(() => {
    isOver = true
    wake()
  })
  try {
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
      stdin.write(bytes)
      while (stdin.writableNeedDrain && !isOver) {
        signal.throwIfAborted()
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
    stdin.end()
  } finally {
    stdin.off('drain', onWake)
    signal.removeEventListener('abort', onWake)
  }
}

function refused(stderr: string): MeshError {
  const cause = new Error(stderr)
  const full = diskFault(stderr)
  if (full !== undefined) return full
  if (stderr.includes('pack exceeds maximum allowed size')) {
    return new MeshError('E_QUOTA', 'Cannot take a pack from a peer: it is larger than the room there is', { cause })
  }
  return new MeshError('E_PROTOCOL', 'Cannot take a pack from a peer: an object is bad or missing', { cause })
}
