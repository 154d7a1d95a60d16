/**
 * Takes a pack from a peer into a quarantine: Git with its own checks of every object, in a jail, and then a proof that everything the new refs reach is there. Only
 * what passed both is given to the store.
 *
 *   whole   nothing is here yet: `index-pack` itself says whether the pack holds all it names; only where it does not say so a walk does
 *   part    `index-pack`, which completes what the pack leaves to objects that are here, and the walk
 *   small   `unpack-objects` and the walk. The objects are read from the quarantine and become durable with the append that moves the refs: no file is synced
 */
import { isObjectType, type GitObject, type ObjectType } from '../store/git-object.ts'
import { MeshError } from '../../../protocol/errors.ts'
import type { ArtifactStore, Staging } from '../store/artifact-store.ts'
import { diskFault } from '../store/disk-fault.ts'
import { type GitChild, type GitEnd, spawnGit } from '../store/git-process.ts'
import { readLoose } from '../store/loose-objects.ts'
import { EarlySync } from './early-sync.ts'
import { begun } from './read-pack.ts'

export interface IncomingPack {
  readonly pack: AsyncIterable<Uint8Array>
  /** Tips that must be complete afterwards */
  readonly wants: readonly string[]
  /** Tips that are complete here already */
  readonly complete: readonly string[]
  readonly maxBytes: number
}

/** What came, checked, as `ArtifactStore.adopt` takes it. */
export interface TakenPack {
  readonly staging: Staging
  /** All of it, when it is little */
  readonly objects?: readonly GitObject[]
  /** Of the tips, unless the objects tell */
  readonly kinds?: ReadonlyMap<string, ObjectType>
}

/**
 * Two lines before the pack: "whole", "part" or "small", the largest pack in bytes, threads (0: as many as Git likes), the tips that must be complete; then those that are, as "^oid". (`read` takes no
 * byte beyond its line.) Index-pack ends with 1 when all is well but the pack does not hold all it names. Answers with each tip and its type.
 */
const SCRIPT = `
read -r extent max threads wants && read -r complete || exit 10
case "$extent" in
whole)
  "$0" index-pack --stdin --strict --threads="$threads" --check-self-contained-and-connected --max-input-size="$max" >/dev/null
  code=$?
  [ $code -le 1 ] || exit $code;;
part)
  "$0" index-pack --stdin --strict --threads="$threads" --fix-thin --max-input-size="$max" >/dev/null || exit
  code=1;;
*)
  "$0" unpack-objects -q --strict --max-input-size="$max" || exit
  code=1;;
esac
[ $code = 0 ] || "$0" rev-list --quiet --objects $wants $complete -- || exit
[ "$extent" = small ] || printf '%s\\n' $wants | "$0" cat-file --batch-check='%(objectname) %(objecttype)'
`

/** The store makes what it takes durable, and nothing in a quarantine need be. */
const CONFIG = { 'core.fsync': 'none' }
/** A pack of so many bytes and objects is unpacked, into a file each. */
const SMALL_BYTES = 128 << 10
const SMALL_OBJECTS = 256
/** Of fewer objects a second thread costs more than it brings: half as much time again of all processors, for the same wait. */
const MANY_OBJECTS = 100_000
/** Content of the objects of a small pack, together: more of it is moved as files. Bytes. */
const CARRIED_BYTES = 512 << 10
/** Git's own exit code when it gives up; one that was ended by a signal has a higher one. */
const FAILED_CODE = 128
/** The script says less than this of each tip, in bytes. */
const LINE_BYTES = 64

/** A quarantine and, behind walls, a process that waits for the pack. Building the walls takes longer than looking at a small pack: they are built while records are read. */
export class PackIntake {
  readonly #staging: Staging
  readonly #git: GitChild
  readonly #signal: AbortSignal

  private constructor(staging: Staging, git: GitChild, signal: AbortSignal) {
    this.#staging = staging
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
  async take({ pack, wants, complete, maxBytes }: IncomingPack): Promise<TakenPack> {
    const { count, isShort, bytes } = await begun(pack, SMALL_BYTES)
    const isSmall = isShort && count <= SMALL_OBJECTS
    const extent = isSmall ? 'small' : complete.length === 0 ? 'whole' : 'part'
    const told = collect(this.#git, wants.length * LINE_BYTES)
    const known = complete.map((oid) => `^${oid}`)
    this.#git.stdin.write(
      `${extent} ${maxBytes} ${count > MANY_OBJECTS ? 0 : 1} ${wants.join(' ')}\n${known.join(' ')}\n`,
    )
    await pipeIn(syncedEarly(bytes, new EarlySync(this.#staging.objects)), this.#git, this.#signal)
    const end = await this.#git.ended
    this.#signal.throwIfAborted()
    if (end.code !== 0) throw refused(end)
    const staging = this.#staging
    if (!isSmall) return { staging, kinds: kindsOf(told(), wants) }
    const objects = await readLoose(staging.objects, CARRIED_BYTES)
    return objects === undefined ? { staging } : { staging, objects }
  }

  /** Ends the process and, unless it was used up, the quarantine. */
  async close(): Promise<void> {
    this.#git.kill()
    await this.#git.ended
    await this.#staging.discard()
  }
}

/** Gathers what it says; more than it has to say is dropped. */
function collect({ stdout }: GitChild, most: number): () => string {
  let text = ''
  stdout.setEncoding('latin1').on('data', (more: string) => {
    if (text.length <= most) text += more
  })
  return () => text
}

function kindsOf(told: string, wants: readonly string[]): Map<string, ObjectType> {
  const kinds = new Map<string, ObjectType>()
  for (const line of told.split('\n')) {
    const [oid = '', type] = line.split(' ')
    if (isObjectType(type)) kinds.set(oid, type)
  }
  if (wants.every((oid) => kinds.has(oid))) return kinds
  throw refused({ code: 0, stderr: 'a tip is not in the pack' })
}

async function* syncedEarly(pack: AsyncIterable<Uint8Array>, sync: EarlySync): AsyncGenerator<Uint8Array> {
  for await (const bytes of pack) {
    yield bytes
    sync.passed(bytes.length)
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

function refused({ code, stderr }: Pick<GitEnd, 'code' | 'stderr'>): MeshError {
  const cause = new Error(stderr)
  const full = diskFault(stderr)
  if (full !== undefined) return full
  if (stderr.includes('pack exceeds maximum allowed size')) {
    return new MeshError('E_QUOTA', 'Cannot take a pack from a peer: it is larger than the room there is', { cause })
  }
  if (code > FAILED_CODE) {
    return new MeshError(
      'E_OVERLOADED',
      'Cannot take a pack from a peer: Git was ended, or needs more memory or time than it is allowed',
      { cause, retryAfterMs: 1_000 },
    )
  }
  return new MeshError('E_PROTOCOL', 'Cannot take a pack from a peer: an object is bad or missing', { cause })
}
