/** From what a caller asks for to what exactly is made, or a refusal. Pure. */
import { MeshError } from '../../../protocol/errors.ts'
import { GRADES, type Grade } from '../../../protocol/job.ts'
import type { SandboxRow } from '../../../protocol/sandbox/row.ts'
import type { EngineInfo } from './engine/engine-info.ts'
import { runtimeFor } from './engine/read-info.ts'
import { SANDBOX_BOUNDS, settleLimits } from './limits.ts'
import { SANDBOX_PROFILES, type SandboxLimits, type SandboxSpec } from './sandbox.ts'

export interface RecipePolicy {
  readonly defaults: SandboxLimits
  readonly ceilings: SandboxLimits
  readonly sleepAfterMs: number
  /** Profile `build` also under runtimes of grade `jailed`: root inside shares the host's kernel with the host's own */
  readonly buildInContainers: boolean
}

/** Equal recipes make sandboxes that nothing tells apart: what a pool may keep ready. */
export type Recipe = Pick<
  SandboxRow,
  'profile' | 'grade' | 'runtime' | 'image' | 'limits' | 'workspace' | 'rootQuota' | 'root'
>

/** What of a request is not in the container */
export interface Ownership {
  readonly owner: string
  readonly name?: string
  readonly env: Readonly<Record<string, string>>
  readonly sleepAfterMs: number
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/
const MAX_SLEEP_MS = 30 * 24 * 3_600_000

/** @throws MeshError E_BAD_REQUEST, E_GRADE */
export function recipeOf(
  spec: SandboxSpec,
  image: { readonly digest: string },
  info: EngineInfo,
  policy: RecipePolicy,
): Recipe {
  const profile = SANDBOX_PROFILES.find((name) => name === (spec.profile ?? 'strict'))
  if (profile === undefined) throw bad('profile', 'strict or build')
  const floor: Grade | undefined = profile === 'build' && !policy.buildInContainers ? 'gvisor' : undefined
  const runtime = runtimeFor(info, strongest(spec.grade, floor))
  if (runtime === undefined) throw gradeRefused(spec.grade, floor, info)
  return {
    profile,
    grade: runtime.grade,
    runtime: runtime.name,
    image: { name: spec.image, digest: image.digest },
    root: image.digest,
    limits: settleLimits(spec.limits, policy.defaults, policy.ceilings),
    workspace: info.storage.loopWorkspaces ? 'loop' : 'tmpfs',
    rootQuota: profile === 'strict' ? 'read-only' : info.storage.rootQuota ? 'hard' : 'watched',
  }
}

/** @throws MeshError E_BAD_REQUEST */
export function ownershipOf(spec: SandboxSpec, policy: RecipePolicy): Ownership {
  const sleepAfterMs = spec.sleepAfterMs ?? policy.sleepAfterMs
  if (!Number.isSafeInteger(sleepAfterMs) || sleepAfterMs < 0 || sleepAfterMs > MAX_SLEEP_MS)
    throw bad('time until sleep', `whole milliseconds, at most ${MAX_SLEEP_MS}`)
  if (spec.name !== undefined) checkName(spec.name)
  if (typeof spec.owner !== 'string' || spec.owner === '' || spec.owner.length > 200) throw bad('owner', 'a name')
  const env = checkEnv(spec.env ?? {})
  return { owner: spec.owner, env, sleepAfterMs, ...(spec.name === undefined ? {} : { name: spec.name }) }
}

/** Of sandboxes and snapshots. @throws MeshError E_BAD_REQUEST */
export function checkName(name: string): void {
  if (typeof name !== 'string' || !NAME.test(name)) throw bad('name', '1 to 64 of a-z 0-9 . _ -')
}

export const recipeKey = ({ profile, runtime, image, limits, workspace, root }: Recipe): string =>
  JSON.stringify([
    profile,
    runtime,
    image.digest,
    root,
    workspace,
    Object.entries(limits).sort(([a], [b]) => (a < b ? -1 : 1)),
  ])

function checkEnv(env: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(env)
  const bytes = entries.reduce((sum, [name, value]) => sum + name.length + String(value).length, 0)
  const wrong = entries.some(
    ([name, value]) =>
      !/^[A-Za-z_][A-Za-z0-9_]{0,255}$/.test(name) ||
      typeof value !== 'string' ||
      value.includes('\0') ||
      value.length > 65_536,
  )
  if (wrong || bytes > SANDBOX_BOUNDS.envBytes)
    throw bad('environment', `names of letters, digits and _; ${SANDBOX_BOUNDS.envBytes} bytes in all`)
  return Object.fromEntries(entries)
}

function strongest(a: Grade | undefined, b: Grade | undefined): Grade | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return GRADES.indexOf(a) >= GRADES.indexOf(b) ? a : b
}

function gradeRefused(demanded: Grade | undefined, floor: Grade | undefined, info: EngineInfo): MeshError {
  const offered = info.runtimes.map(({ grade }) => grade).join(', ') || 'none'
  const wanted = strongest(demanded, floor) ?? 'any'
  const hint =
    floor === undefined
      ? 'Install a stronger runtime into the engine, or ask another node'
      : 'Profile build wants gvisor or microvm; an operator who trusts the guests may set sandbox.buildInContainers'
  return new MeshError('E_GRADE', `Cannot make the sandbox: grade ${wanted} is wanted: offered ${offered}`, { hint })
}

function bad(what: string, wanted: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot make the sandbox: its ${what} is not allowed: wanted ${wanted}`)
}
