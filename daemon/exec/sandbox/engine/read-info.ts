/** What an engine's own description means for us: grades, storage, and how far below the versions with known holes mended. Pure. */
import { GRADES, type Grade } from '../../../../protocol/job.ts'
import type { EngineInfo } from './engine-info.ts'

/** The parts of `GET /version` and `GET /info` that count; anything may be missing in engines that only speak the API. */
export interface EngineAnswers {
  readonly version: string
  readonly apiVersion: string
  readonly os: string
  readonly arch: string
  readonly runtimes: readonly string[]
  readonly runcVersion: string
  readonly storageDriver: string
  /** e.g. ["Backing Filesystem", "extfs"] */
  readonly driverStatus: readonly (readonly [string, string])[]
  readonly securityOptions: readonly string[]
  readonly cgroupVersion: string
}

export interface EngineSurroundings {
  readonly endpoint: string
  readonly found: EngineInfo['found']
  readonly local: boolean
  readonly loopWorkspaces: boolean
  /** Grades the operator does not want offered are left out */
  readonly leastGrade: Grade
}

/** What each runtime puts between guest and host. Containers share the host's kernel behind a seccomp filter, as jailed isolates do. */
const RUNTIME_GRADES: readonly (readonly [RegExp, Grade])[] = [
  [/^(kata|kata-.+|io\.containerd\.kata.*)$/, 'microvm'],
  [/^(runsc|runsc-.+|gvisor|io\.containerd\.runsc.*)$/, 'gvisor'],
  [/^(runc|crun|io\.containerd\.runc\.v2)$/, 'jailed'],
]

/** The lowest without publicly known ways out: of runc CVE-2025-31133, -52565, -52881; of the engine CVE-2026-34040, -41567. */
const RUNC_FLOOR = '1.2.8'
const ENGINE_FLOOR = '29.5.1'

export function readEngineInfo(answers: EngineAnswers, around: EngineSurroundings): EngineInfo {
  const seccomp = answers.securityOptions.some((option) => option.includes('seccomp') && !option.includes('unconfined'))
  const rootless = answers.securityOptions.some((option) => option.includes('rootless'))
  const { endpoint, found, local, loopWorkspaces } = around
  return {
    endpoint,
    found,
    version: answers.version,
    apiVersion: answers.apiVersion,
    platform: `${answers.os}/${answers.arch}`,
    runtimes: gradedRuntimes(answers.runtimes, seccomp, around.leastGrade),
    hanging: [],
    storage: { driver: answers.storageDriver, rootQuota: driverHasQuota(answers), loopWorkspaces },
    cgroup: answers.cgroupVersion === '2' ? 2 : 1,
    local,
    rootless,
    warnings: warnings(answers, seccomp),
  }
}

function gradedRuntimes(names: readonly string[], seccomp: boolean, least: Grade): EngineInfo['runtimes'] {
  const graded = names.flatMap((name) => {
    const grade = RUNTIME_GRADES.find(([pattern]) => pattern.test(name))?.[1]
    // A container on the host's kernel without a filter is less than we call jailed: it is not offered at all.
    if (grade === undefined || (grade === 'jailed' && !seccomp)) return []
    return GRADES.indexOf(grade) < GRADES.indexOf(least) ? [] : [{ name, grade }]
  })
  const strength = ({ name, grade }: { name: string; grade: Grade }): number =>
    GRADES.indexOf(grade) * 2 + (/^(runc|runsc|kata)$/.test(name) ? 1 : 0)
  return graded.sort((a, b) => strength(b) - strength(a))
}

function driverHasQuota({ storageDriver, driverStatus }: EngineAnswers): boolean {
  if (storageDriver === 'btrfs' || storageDriver === 'zfs') return true
  const backing = driverStatus.find(([name]) => name === 'Backing Filesystem')?.[1]
  const projects = driverStatus.some(([name, value]) => /pquota|project quota/i.test(name) && value === 'true')
  return storageDriver === 'overlay2' && backing === 'xfs' && projects
}

function warnings(answers: EngineAnswers, seccomp: boolean): string[] {
  const list: string[] = []
  const engine = answers.version
  if (isBelow(engine, ENGINE_FLOOR)) list.push(`The engine is ${engine}; ${ENGINE_FLOOR} mends known flaws`)
  if (answers.runcVersion !== '' && isBelow(answers.runcVersion, RUNC_FLOOR))
    list.push(`runc is ${answers.runcVersion}; ${RUNC_FLOOR} mends known ways out of a container`)
  if (!seccomp) list.push('The engine runs without a seccomp profile: its plain containers are not offered')
  return list
}

/** Whether dotted version `a` comes before `b`; what is not a number counts as 0. */
export function isBelow(a: string, b: string): boolean {
  const parts = (text: string): number[] => text.split(/[.+~-]/, 3).map((part) => Number.parseInt(part, 10) || 0)
  const [left, right] = [parts(a), parts(b)]
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}

/**
 * The runtime for a demanded grade, or the strongest that does not hang when none is demanded; undefined when it cannot be met. The least sufficient grade is taken
 * for a demand: it is met exactly or exceeded, never gone below.
 */
export function runtimeFor(
  info: Pick<EngineInfo, 'runtimes' | 'hanging'>,
  demanded: Grade | undefined,
): EngineInfo['runtimes'][number] | undefined {
  if (demanded === undefined) return info.runtimes.find(({ name }) => !info.hanging.includes(name)) ?? info.runtimes[0]
  const sufficient = info.runtimes.filter(({ grade }) => GRADES.indexOf(grade) >= GRADES.indexOf(demanded))
  return sufficient.find(({ grade }) => grade === sufficient.at(-1)?.grade)
}
