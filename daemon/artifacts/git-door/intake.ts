/**
 * Where a pushed pack goes: a quarantine, and behind walls a process that waits to be told about the pack and then reads it. Building the walls takes longer than
 * looking at a small push, so they are built when a client asks what it could push to: the push follows in a moment. Few of them wait, and not for long.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { ArtifactView, Staging } from '../store/artifact-store.ts'
import { type GitChild, spawnGit } from '../store/git-process.ts'
import type { DoorStore } from './door-store.ts'
import type { DoorLimits } from './limits.ts'
import { keepUntouched } from './untouched.ts'

export interface Intake {
  readonly repository: string
  readonly staging: Staging
  /** Object folder that Git writes to: nothing of it counts before it was looked at */
  readonly folder: string
  readonly child: GitChild
  /** Ends the process. The staging is apart. */
  end(): Promise<void>
}

/** Objects of the quarantine alone */
export const LIST_ALL =
  'GIT_ALTERNATE_OBJECT_DIRECTORIES= "$0" cat-file --batch-all-objects --unordered --buffer --batch-check || exit 12'

/**
 * The first line of its input: "small" or "large", the most bytes of the pack, the new tips. The rest is the pack. (`read` takes no byte beyond its line.)
 * Exit codes tell which run failed.
 */
const SCRIPT = `
read -r kind most tips || exit 10
if [ "$kind" = small ]; then
  "$0" unpack-objects -q --strict --max-input-size="$most" || exit 11
else
  "$0" index-pack --stdin --fix-thin --strict --max-input-size="$most" || exit 11
fi
echo =
"$0" rev-list --objects $tips --not --all || exit 13
if [ "$kind" = large ]; then
  echo =
  ${LIST_ALL}
fi`

/** Beyond the pack itself: what completes a thin one, and the index */
const FILE_FACTOR = 4
const FILE_SLACK = 64 << 20
/** The store makes what it takes durable, and nothing in a quarantine need be */
const CONFIG = { 'core.fsync': 'none' }
/** Between being asked what there is and being pushed to, milliseconds */
const WARM_MS = 3_000

export class Intakes {
  readonly #store: Pick<DoorStore, 'repository' | 'stage'>
  readonly #limits: DoorLimits
  readonly #onFault: (error: unknown) => void
  readonly #warm = new Map<string, { readonly made: Promise<Intake>; readonly timer: NodeJS.Timeout }>()
  readonly #ending = new Set<Promise<void>>()
  #closed = false

  constructor(store: Pick<DoorStore, 'repository' | 'stage'>, limits: DoorLimits, onFault: (error: unknown) => void) {
    this.#store = store
    this.#limits = limits
    this.#onFault = onFault
  }

  /** Makes one ready for a push that will probably come. */
  expect(view: ArtifactView): void {
    if (this.#closed || this.#warm.has(view.id) || this.#warm.size >= this.#limits.pushes) return
    const made = this.#make(view)
    // A failure comes up again when it is wanted
    made.catch(() => {})
    const timer = setTimeout(() => this.#drop(view.id), WARM_MS)
    this.#warm.set(view.id, { made, timer })
  }

  /** @throws MeshError E_QUOTA, E_OVERLOADED, E_STORAGE, E_GIT_MISSING */
  async take(view: ArtifactView): Promise<Intake> {
    const ready = this.#warm.get(view.id)
    if (ready === undefined) return this.#make(view)
    clearTimeout(ready.timer)
    this.#warm.delete(view.id)
    const intake = await ready.made
    try {
      // The repository may have been changed by others meanwhile
      await keepUntouched(intake.repository, view.defaultBranch)
      return intake
    } catch (error) {
      await intake.end()
      await intake.staging.discard()
      throw error
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const id of [...this.#warm.keys()]) this.#drop(id)
    await Promise.all(this.#ending)
  }

  #drop(id: string): void {
    const ready = this.#warm.get(id)
    if (ready === undefined) return
    clearTimeout(ready.timer)
    this.#warm.delete(id)
    const ending = ready.made
      .then(async (intake) => {
        await intake.end()
        await intake.staging.discard()
      })
      .catch((error: unknown) => this.#onFault(error))
      .finally(() => this.#ending.delete(ending))
    this.#ending.add(ending)
  }

  async #make(view: ArtifactView): Promise<Intake> {
    const staging = await this.#store.stage(view.id)
    try {
      const repository = await this.#store.repository(view.id)
      const folder = join(staging.path, 'incoming')
      await Promise.all([
        mkdir(join(folder, 'pack'), { recursive: true }),
        keepUntouched(repository, view.defaultBranch),
      ])
      const child = await spawnGit({
        args: [],
        script: SCRIPT,
        repository,
        objects: folder,
        foreign: true,
        config: CONFIG,
        limits: {
          wallMs: this.#limits.wallMs,
          cpuSeconds: 300,
          fileBytes: this.#limits.packBytes * FILE_FACTOR + FILE_SLACK,
        },
      })
      const end = async (): Promise<void> => {
        child.kill()
        await child.ended
      }
      return { repository, staging, folder, child, end }
    } catch (error) {
      await staging.discard()
      throw error
    }
  }
}
