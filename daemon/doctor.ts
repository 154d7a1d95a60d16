/** What `manyhands doctor` looks at: each check says what was found and what to do about it. */
import { existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import type { Check, DoctorView } from '../protocol/api.ts'
import { toMeshError } from '../protocol/errors.ts'
import { type Grade, GRADES } from '../protocol/job.ts'
import type { Paths } from './config/paths.ts'
import type { Config } from './config/schema.ts'
import type { DirectoryService } from './discovery/directory-service.ts'
import type { JailReport } from './exec/isolate/jail-probe.ts'
import type { MembershipService } from './identity/membership-service.ts'
import type { Journal } from './journal/journal.ts'
import type { MeshNet } from './net/mesh-net.ts'

export interface DoctorSources {
  readonly config: Config
  readonly paths: Paths
  readonly jail: JailReport
  readonly journal: Journal
  readonly net: MeshNet
  readonly membership: MembershipService
  readonly directory: DirectoryService
  /** Checks of parts that are made later */
  readonly more: () => Promise<readonly Check[]>
}

/** Older releases of the runtime have known holes in V8: guests are refused to them. */
const NODE_FLOOR = [24, 13] as const
/** Below this share of free disk new work is at risk. */
const DISK_FLOOR = 0.1

export async function diagnose(sources: DoctorSources): Promise<DoctorView> {
  const checks = [
    nodeCheck(process.versions.node),
    isolationCheck(sources.jail),
    lendingCheck(sources.config, sources.jail.grade),
    journalCheck(sources.journal),
    filesCheck(sources.paths),
    await diskCheck(sources.paths.dataDir),
    memberCheck(sources.membership),
    addressCheck(sources.net),
    await gitCheck(sources.config),
    peersCheck(sources.directory),
    ...(await sources.more().catch((error: unknown) => [missingPart(error)])),
  ]
  return { checks, ok: checks.every(({ ok }) => ok) }
}

function missingPart(error: unknown): Check {
  const { message, hint } = toMeshError(error)
  const found = `no sandboxes: ${message}`
  return { name: 'engine', ok: false, level: 'fail', found, ...(hint === undefined ? {} : { hint }) }
}

function nodeCheck(version: string): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [wantMajor, wantMinor] = NODE_FLOOR
  const ok = major > wantMajor || (major === wantMajor && minor >= wantMinor)
  const hint = `Use Node ${wantMajor}.${wantMinor} or newer`
  return { name: 'runtime', ok, level: ok ? 'ok' : 'fail', found: `Node ${version}`, ...(ok ? {} : { hint }) }
}

function isolationCheck(jail: JailReport): Check {
  const strong = jail.missing.length === 0
  const found = strong ? `grade "${jail.grade}"` : `grade "${jail.grade}"; ${jail.missing.join('; ')}`
  const level = jail.grade === 'process' ? 'warn' : strong ? 'ok' : 'warn'
  return { name: 'isolation', ok: true, level, found, ...(jail.hint === undefined ? {} : { hint: jail.hint }) }
}

/** A demand that this host cannot meet leaves the node without work of others, and nothing else would say why. */
export function lendingCheck({ executor, placement }: Config, grade: Grade): Check {
  if (!placement.acceptFromPeers)
    return { name: 'lending', ok: true, level: 'ok', found: 'none wanted (placement.acceptFromPeers)' }
  if (GRADES.indexOf(grade) >= GRADES.indexOf(executor.grade))
    return { name: 'lending', ok: true, level: 'ok', found: `isolates of grade "${grade}" for other members` }
  return {
    name: 'lending',
    ok: false,
    level: 'fail',
    found: `nothing for other members: executor.grade is "${executor.grade}", and isolates reach "${grade}" here`,
    hint: grade === 'process' ? 'See "isolation" above, or lower executor.grade' : `Lower executor.grade to "${grade}"`,
  }
}

function journalCheck(journal: Journal): Check {
  const health = journal.health()
  if (health.state === 'ok')
    return { name: 'journal', ok: true, level: 'ok', found: `${journal.head} records, all verified at start` }
  const hint = 'Free space or mend the disk: the daemon goes on by itself once it can write again'
  return { name: 'journal', ok: false, level: 'fail', found: health.reason, hint }
}

/** What a daemon holds open or in memory works on when its file was removed; the next start is what fails. */
export function filesCheck(paths: Paths): Check {
  const { identityFile, meshFile, journalDir, journalMark } = paths
  const gone = [identityFile, meshFile, journalDir, journalMark].filter((path) => !existsSync(path))
  if (gone.length === 0) return { name: 'files', ok: true, level: 'ok', found: `all in place in ${paths.dataDir}` }
  const found = `gone: ${gone.join(' ')}`
  const hint = 'This daemon goes on, but cannot start again: take what matters elsewhere, or restore them from a copy'
  return { name: 'files', ok: false, level: 'fail', found, hint }
}

async function diskCheck(folder: string): Promise<Check> {
  const { bavail, blocks, bsize } = await statfs(folder)
  const free = blocks === 0 ? 1 : bavail / blocks
  const found = `${((bavail * bsize) / 2 ** 30).toFixed(1)} GiB free (${Math.round(free * 100)} %)`
  if (free >= DISK_FLOOR) return { name: 'disk', ok: true, level: 'ok', found }
  return {
    name: 'disk',
    ok: true,
    level: 'warn',
    found,
    hint: 'Free some space: work is refused when the journal cannot be written',
  }
}

/** Without Git everything but artifacts works. */
async function gitCheck(config: Config): Promise<Check> {
  if (!config.artifacts.enabled)
    return { name: 'artifacts', ok: true, level: 'ok', found: 'switched off (artifacts.enabled)' }
  const { probeGit } = await import('./artifacts/store/git-tools.ts')
  const git = await probeGit()
  if (!git.ok)
    return { name: 'artifacts', ok: true, level: 'warn', found: `none are offered: ${git.reason}`, hint: git.hint }
  const found = [`git ${git.version} at ${git.path}, grade "${git.grade}"`, ...git.missing].join('; ')
  const level = git.missing.length === 0 ? 'ok' : 'warn'
  return { name: 'artifacts', ok: true, level, found, ...(git.hint === undefined ? {} : { hint: git.hint }) }
}

function memberCheck(membership: MembershipService): Check {
  const { epoch, isIn, role } = membership
  const found = `${role} of mesh "${membership.mesh.meshName}", list epoch ${epoch}, ${membership.members().size} members`
  if (isIn) return { name: 'membership', ok: true, level: 'ok', found }
  const hint = 'This node was put out of the mesh: ask an admin for a new invite, and join under a new MANYHANDS_HOME'
  return { name: 'membership', ok: false, level: 'fail', found, hint }
}

function addressCheck(net: MeshNet): Check {
  const addresses = net.addresses()
  if (addresses.length > 0) return { name: 'listening', ok: true, level: 'ok', found: addresses.join(' ') }
  return {
    name: 'listening',
    ok: false,
    level: 'fail',
    found: 'no address',
    hint: 'Set net.listen, e.g. ["/ip4/0.0.0.0/tcp/4001"]',
  }
}

function peersCheck(directory: DirectoryService): Check {
  const peers = directory.peers()
  const connected = peers.filter((peer) => peer.connected).length
  const found = `${connected} of ${peers.length} connected`
  if (peers.length === 0) {
    return {
      name: 'peers',
      ok: true,
      level: 'warn',
      found: 'alone in the mesh',
      hint: 'Run `manyhands invite` and join from another host',
    }
  }
  if (connected > 0) return { name: 'peers', ok: true, level: 'ok', found }
  return {
    name: 'peers',
    ok: false,
    level: 'fail',
    found,
    hint: 'Check that the other hosts run and that a firewall lets this one reach them',
  }
}
