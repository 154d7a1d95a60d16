/** Finds the system's Git and the strongest jail that really starts it here. For the store, and for `doctor`. */
import { execFile } from 'node:child_process'
import type { Grade } from '../../exec/executor.ts'
import { findTools, sharedObjects, TOOL_FOLDERS } from '../../exec/isolate/jail-probe.ts'
import { seccompFilter } from '../../exec/isolate/seccomp.ts'
import { type GitTools, jailedGit } from './git-jail.ts'

export type GitReport =
  | {
      readonly ok: true
      /** e.g. "2.39.5" */
      readonly version: string
      readonly path: string
      readonly tools: GitTools
      readonly grade: Grade
      /** What could be stronger and is not, one sentence each; empty when all is there */
      readonly missing: readonly string[]
      readonly hint: string | undefined
    }
  | {
      readonly ok: false
      readonly version?: string
      readonly path?: string
      readonly reason: string
      readonly hint: string
    }

/** `core.fsync`, command-line `safe.directory` and quarantine as used here exist from this version on */
export const OLDEST_GIT = [2, 39] as const
/** A start takes milliseconds; more than this counts as not working. */
const PROBE_MS = 10_000
const HINT = `Install Git ${OLDEST_GIT.join('.')} or newer, e.g. the package "git" of the system`

let cached: Promise<GitReport> | undefined

/** Looked for once per process. Never rejects. */
export function probeGit(): Promise<GitReport> {
  cached ??= lookForGit(findTools(['git', 'bwrap', 'sh']))
  return cached
}

/** The same for given paths, not cached. @param paths of git and bwrap, as far as they are there */
export async function lookForGit(paths: Readonly<Record<string, string>>): Promise<GitReport> {
  const path = paths.git
  if (path === undefined) return { ok: false, reason: 'git is not installed', hint: HINT }
  const version = parseVersion(await run(path, ['--version']).catch(() => ''))
  if (version === undefined) return { ok: false, path, reason: `${path} does not tell its version`, hint: HINT }
  if (!isNewEnough(version)) {
    const reason = `git is ${version}; ${OLDEST_GIT.join('.')} or newer is wanted`
    return { ok: false, path, version, reason, hint: HINT }
  }
  const tools: GitTools = {
    git: path,
    libraries: [...(await sharedObjects(path)), ...(await sharedObjects('/bin/sh'))],
  }
  const missing: string[] = []
  const jailed = await withJail(tools, paths.bwrap, missing)
  const hint = missing.length === 0 ? undefined : 'Install bubblewrap and allow it to make namespaces.'
  const grade = jailed.bwrap === undefined ? 'process' : 'jailed'
  return { ok: true, version, path, tools: jailed, grade, missing, hint }
}

async function withJail(tools: GitTools, bwrap: string | undefined, missing: string[]): Promise<GitTools> {
  if (bwrap === undefined) {
    missing.push('bwrap not found: git reads packs from outside as a plain process')
    return tools
  }
  const seccomp = seccompFilter(process.arch, { processes: true })
  // The trial goes without the filter, which needs a descriptor
  const trial = jailedGit({ ...tools, bwrap }, { reads: [], writes: [], network: false }, [tools.git, '--version'])
  const [file = '', ...args] = trial
  if (parseVersion(await run(file, args).catch(() => '')) === undefined) {
    missing.push('bwrap is there but could not start git: it reads packs from outside as a plain process')
    return tools
  }
  return seccomp === undefined ? { ...tools, bwrap } : { ...tools, bwrap, seccomp }
}

/** @returns e.g. "2.39.5" of "git version 2.39.5 (Apple Git-154)" */
export function parseVersion(text: string): string | undefined {
  return /^git version (\d{1,4}\.\d{1,4}(?:\.\d{1,4})?)/.exec(text)?.[1]
}

export function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > OLDEST_GIT[0] || (major === OLDEST_GIT[0] && minor >= OLDEST_GIT[1])
}

function run(file: string, args: readonly string[]): Promise<string> {
  const env = { PATH: TOOL_FOLDERS.join(':') }
  const options = { env, timeout: PROBE_MS, killSignal: 'SIGKILL', encoding: 'utf8' } as const
  return new Promise((resolve, reject) => {
    execFile(file, [...args], options, (error, stdout) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${file} failed`, { cause: error }))
    })
  })
}
