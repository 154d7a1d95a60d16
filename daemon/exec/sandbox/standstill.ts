/**
 * Stops a sandbox where it stands and lets it go on. The engine does that by starting a process of its runtime each time; where the sandbox's own cgroup can be
 * written, the kernel is told directly, and then the engine goes on calling it running: commands to it wait, and whoever ends it by force ends it all the
 * same, as the runtime thaws what it kills. The guest cannot write its cgroup.
 *
 * cgroup v1, hierarchy `freezer`: `freezer.state` takes FROZEN and THAWED, and says FREEZING until every task stands. v2: `cgroup.freeze` takes 1 and 0,
 * `cgroup.events` says `frozen 1` once every task stands (Linux, Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst, cgroup-v2.rst).
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { EngineClient } from './engine/engine-client.ts'
import { cgroupPaths } from './evidence.ts'

/** How long tasks may take to stand, milliseconds: those in the middle of a write to a slow disk come later than others. */
const STAND_MS = 1_000

export interface Freezer {
  /** False: not every task stands in time, or the cgroup is gone; then none is held */
  freeze(): Promise<boolean>
  /** False: the cgroup is gone */
  thaw(): Promise<boolean>
  frozen(): Promise<boolean>
}

interface FreezerFiles {
  readonly control: string
  readonly on: string
  readonly off: string
  readonly state: string
  readonly stands: RegExp
}

/** The freezer of a container by its first process; undefined when it has none of its own here. @param container its full id */
export async function freezerOf(pid: number, container: string): Promise<Freezer | undefined> {
  try {
    const files = freezerFiles(await readFile(`/proc/${pid}/cgroup`, 'utf8'), container)
    return files && freezerAt(files)
  } catch {
    return undefined
  }
}

/**
 * Pure. A process id may be another's by the time it is looked at, so only a cgroup that bears the container's id is taken.
 * @param table the text of `/proc/<pid>/cgroup`
 */
export function freezerFiles(table: string, container: string): FreezerFiles | undefined {
  if (!/^[0-9a-f]{64}$/.test(container)) return undefined
  const { of, unified } = cgroupPaths(table)
  const own = (path: string | undefined): string | undefined =>
    path?.split('/').at(-1)?.includes(container) === true ? path : undefined
  const v1 = of('freezer')
  if (v1 !== undefined) {
    const at = own(v1)
    if (at === undefined) return undefined
    const control = join('/sys/fs/cgroup/freezer', at, 'freezer.state')
    return { control, on: 'FROZEN', off: 'THAWED', state: control, stands: /^FROZEN$/m }
  }
  const at = own(unified)
  if (at === undefined) return undefined
  const folder = join('/sys/fs/cgroup', at)
  const state = join(folder, 'cgroup.events')
  return { control: join(folder, 'cgroup.freeze'), on: '1', off: '0', state, stands: /^frozen 1$/m }
}

export function freezerAt({ control, on, off, state, stands }: FreezerFiles): Freezer {
  // Never makes a file: one that is missing is a cgroup that is gone.
  const set = (value: string): Promise<boolean> =>
    writeFile(control, value, { flag: 'r+' }).then(
      () => true,
      () => false,
    )
  const frozen = async (): Promise<boolean> => stands.test(await readFile(state, 'utf8').catch(() => ''))
  return {
    async freeze() {
      if (!(await set(on))) return false
      const until = performance.now() + STAND_MS
      while (!(await frozen())) {
        if (performance.now() > until) {
          await set(off)
          return false
        }
        await sleep(1)
      }
      return true
    },
    thaw: () => set(off),
    frozen,
  }
}

/** Of one sandbox: remembers which way it was brought to stand, since only the same way lets it go on. */
export class Standstill {
  readonly #client: () => EngineClient
  #by: Freezer | 'engine' | undefined

  constructor(client: () => EngineClient) {
    this.#client = client
  }

  /** Whether the engine does not know that it stands. */
  get unknownToEngine(): boolean {
    return this.#by !== undefined && this.#by !== 'engine'
  }

  /** @param freezer its own, if it has one that may be used */
  async begin(container: string, freezer: Freezer | undefined): Promise<void> {
    if (freezer !== undefined && (await freezer.freeze())) this.#by = freezer
    else {
      await this.#client().pause(container)
      this.#by = 'engine'
    }
  }

  /** It was found so. */
  found(freezer: Freezer): void {
    this.#by = freezer
  }

  /** It stands no more, for whatever reason. */
  forget(): void {
    this.#by = undefined
  }

  /** @throws MeshError as the engine does when it has to be asked */
  async end(container: string): Promise<void> {
    const by = this.#by
    this.#by = undefined
    if (by !== undefined && by !== 'engine' && (await by.thaw())) return
    if (by === 'engine') return this.#client().unpause(container)
    await letGo(this.#client(), container)
  }
}

/** Lets a container go on that was stopped in a way that is not known (any more). @throws MeshError */
export async function letGo(client: EngineClient, container: string): Promise<void> {
  const { id, running, paused, pid } = await client.inspect(container)
  if (paused) await client.unpause(container)
  else if (running) await (await freezerOf(pid, id))?.thaw()
}
