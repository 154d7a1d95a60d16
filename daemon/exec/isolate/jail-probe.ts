import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import type { Grade } from '../executor.ts'
import { type HostEntry, hostEntry } from './host-entry.ts'
import { gradeOf, type JailMechanism, type JailTools, jailCommand } from './jail.ts'
import { HOST_FLAGS, HOST_LIMITS } from './host-settings.ts'
import { seccompFilter } from './seccomp.ts'

/** What this machine lets a jail be, for the executor and for `doctor`. */
export interface JailReport {
  readonly grade: Grade
  readonly tools: JailTools
  /** What could be stronger and is not, one sentence each; empty when all is there */
  readonly missing: readonly string[]
  /** What to do about `missing` */
  readonly hint: string | undefined
}

/** Folders searched for tools: those only root can write, not the caller's PATH. */
export const TOOL_FOLDERS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', '/usr/local/bin']
/** A start takes about 0.1 s; more than this counts as not working. */
const PROBE_MS = 10_000

const NEEDS: Readonly<Record<JailMechanism, readonly string[]>> = {
  bwrap: ['bwrap'],
  unshare: ['unshare', 'setpriv', 'mount'],
  none: [],
}

let cached: Promise<JailReport> | undefined

/** Finds the strongest jail that really starts a host here. Tried once per process. */
export function probeJail(): Promise<JailReport> {
  cached ??= probe(['bwrap', 'unshare', 'none'], hostEntry())
  return cached
}

/** The same for a choice of mechanisms, not cached. The last one is taken on trust. */
export async function probe(mechanisms: readonly JailMechanism[], entry: HostEntry): Promise<JailReport> {
  const missing: string[] = []
  const libraries = await sharedObjects(process.execPath)
  const seccomp = seccompFilter(process.arch)
  for (const [index, mechanism] of mechanisms.entries()) {
    const paths = findTools(NEEDS[mechanism])
    const absent = NEEDS[mechanism].filter((tool) => paths[tool] === undefined)
    const tools: JailTools = { mechanism, paths, libraries, seccomp }
    if (absent.length > 0) missing.push(`${absent.join(', ')} not found`)
    else if (index === mechanisms.length - 1 || (await works(tools, entry))) return report(tools, missing)
    else missing.push(`${mechanism} is there but could not start a jailed process`)
  }
  return report({ mechanism: 'none', paths: {}, libraries, seccomp }, missing)
}

function report(tools: JailTools, missing: string[]): JailReport {
  if (tools.mechanism !== 'bwrap') missing.push('no seccomp filter')
  else if (tools.seccomp === undefined) missing.push(`no seccomp filter is known for ${process.arch}`)
  if (tools.mechanism === 'none')
    missing.push('guests share the file system and the network of this host with its user')
  const hint = missing.length === 0 ? undefined : 'Install bubblewrap and allow it to make namespaces.'
  return { grade: gradeOf(tools.mechanism), tools, missing, hint }
}

/** Absolute paths of those that are there, by name. */
export function findTools(names: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {}
  for (const name of names) {
    const path = TOOL_FOLDERS.map((folder) => join(folder, name)).find(isExecutable)
    if (path !== undefined) found[name] = path
  }
  return found
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Starts a host that ends at once when it could load everything. */
function works(tools: JailTools, entry: HostEntry): Promise<boolean> {
  const program = { node: process.execPath, entry, flags: HOST_FLAGS, args: ['--probe'] }
  const { file, args } = jailCommand({ ...tools, seccomp: undefined }, program, HOST_LIMITS)
  return run(file, args).then(
    () => true,
    () => false,
  )
}

/** Files the dynamic loader maps for `binary`; on failure the usual library folders. */
export async function sharedObjects(binary: string): Promise<string[]> {
  try {
    const listing = await run('/usr/bin/ldd', [binary])
    const paths = [...listing.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].map((match) => match[1] ?? '')
    if (paths.length > 0) return paths
  } catch {}
  return ['/lib', '/lib64', '/usr/lib'].filter((path) => isExecutable(path))
}

function run(file: string, args: readonly string[]): Promise<string> {
  const env = { PATH: TOOL_FOLDERS.join(':') }
  const options = { env, timeout: PROBE_MS, killSignal: 'SIGKILL', encoding: 'utf8' } as const
  return new Promise((resolve, reject) => {
    execFile(file, [...args], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${file} failed: ${stderr}`, { cause: error }))
    })
  })
}
