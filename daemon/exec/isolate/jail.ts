/**
 * The walls around an isolate host, as command lines. Pure: what is there and works is found out by jail-probe.ts.
 *
 * - `bwrap`: new namespaces of every kind, an empty file system with only the runtime and the host's own code (read-only, under /app), no
 *   capabilities, user and group 65534, a seccomp filter, dies with the daemon.
 * - `unshare`: the same made of util-linux tools by root, without the filter.
 * - `none`: a plain process. Only resource limits, an empty environment and the runtime's own permission model.
 */
import { join, relative } from 'node:path'
import type { Grade } from '../executor.ts'
import type { HostEntry } from './host-entry.ts'

export type JailMechanism = 'bwrap' | 'unshare' | 'none'

export interface JailTools {
  readonly mechanism: JailMechanism
  /** Absolute path of each tool the mechanism needs, by name */
  readonly paths: Readonly<Record<string, string>>
  /** Shared objects of the runtime, as its dynamic loader names them */
  readonly libraries: readonly string[]
  readonly seccomp: Buffer | undefined
}

export interface JailedProgram {
  /** Absolute path of the Node binary */
  readonly node: string
  readonly entry: HostEntry
  /** For the runtime, before the script */
  readonly flags: readonly string[]
  readonly args: readonly string[]
}

export interface JailLimits {
  /** All mappings, used or not */
  readonly addressSpaceBytes: number
  readonly openFiles: number
}

export interface JailCommand {
  readonly file: string
  readonly args: readonly string[]
  /** To be written into descriptor 4, if any */
  readonly filter: Buffer | undefined
}

/** The socket's descriptor is 3. */
const FILTER_FD = 4
const APP = '/app'
const NODE = '/app.node'
const NOBODY = '65534'
/** The loader of isolated-vm's binary asks for this file to tell the C library; it need not exist */
const ADDON_CHECK = '/etc/alpine-release'
/** Where the unshare jail builds its root: a folder that exists everywhere and needs nothing below it */
const STAGE = '/mnt'

/** Sets limits that survive exec, marks the process as the first to go when memory ends, and becomes the command. */
const LIMIT_SCRIPT =
  'ulimit -c 0; ulimit -n "$1"; ulimit -v "$2"; { echo 800 > /proc/self/oom_score_adj; } 2>/dev/null; shift 2; exec "$@"'

export function gradeOf(mechanism: JailMechanism): Grade {
  return mechanism === 'none' ? 'process' : 'jailed'
}

export function jailCommand(tools: JailTools, program: JailedProgram, limits: JailLimits): JailCommand {
  const inner =
    tools.mechanism === 'bwrap'
      ? bwrap(tools, program)
      : tools.mechanism === 'unshare'
        ? unshare(tools, program)
        : plain(program)
  const kib = String(Math.floor(limits.addressSpaceBytes / 1024))
  return {
    file: '/bin/sh',
    args: ['-c', LIMIT_SCRIPT, 'sh', String(limits.openFiles), kib, ...inner],
    filter: tools.mechanism === 'bwrap' ? tools.seccomp : undefined,
  }
}

function plain({ node, flags, entry, args }: JailedProgram): string[] {
  return [node, ...flags, ...readable(flags, entry.reads), entry.script, ...args]
}

/** Its command line as seen from inside: the root of the entry appears as /app. */
function jailed({ flags, entry, args }: JailedProgram): string[] {
  return [NODE, ...flags, ...readable(flags, [APP]), inside(entry, entry.script), ...args]
}

/** What the permission model lets the program read, if it is on. */
function readable(flags: readonly string[], paths: readonly string[]): string[] {
  if (!flags.includes('--permission')) return []
  return [...paths, ADDON_CHECK].map((path) => `--allow-fs-read=${path}`)
}

function inside(entry: HostEntry, path: string): string {
  return join(APP, relative(entry.root, path))
}

function bwrap(tools: JailTools, program: JailedProgram): string[] {
  const binds = mounts(tools, program).flatMap(([from, to]) => ['--ro-bind', from, to])
  return [
    tools.paths.bwrap ?? 'bwrap',
    ...['--unshare-all', '--die-with-parent', '--new-session', '--as-pid-1', '--clearenv', '--cap-drop', 'ALL'],
    ...['--uid', NOBODY, '--gid', NOBODY, '--hostname', 'isolate', '--chdir', '/'],
    ...binds,
    ...['--size', '1048576', '--tmpfs', '/tmp', '--remount-ro', '/'],
    ...(tools.seccomp === undefined ? [] : ['--seccomp', String(FILTER_FD)]),
    '--',
    ...jailed(program),
  ]
}

function mounts(tools: JailTools, program: JailedProgram): [from: string, to: string][] {
  return [
    [program.node, NODE],
    ...tools.libraries.map((path): [string, string] => [path, path]),
    ...program.entry.reads.map((path): [string, string] => [path, inside(program.entry, path)]),
  ]
}

/** Positional arguments: pairs of mounts, then `--`, then the command. */
const STAGE_SCRIPT = `
set -e
mount -t tmpfs -o size=1m,mode=755 none ${STAGE}
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "${STAGE}$2"; else mkdir -p "$(dirname "${STAGE}$2")"; : > "${STAGE}$2"; fi
  mount --bind "$1" "${STAGE}$2"
  mount -o remount,bind,ro "${STAGE}$2"
  shift 2
done
shift
mount -o remount,ro ${STAGE}
exec env -i "$@"`

function unshare(tools: JailTools, program: JailedProgram): string[] {
  const tool = tools.paths.unshare ?? 'unshare'
  const binds = mounts(tools, program).flat()
  return [
    ...[tool, '--mount', '--net', '--pid', '--ipc', '--uts', '--fork', '--kill-child', '--'],
    ...['/bin/sh', '-c', STAGE_SCRIPT, 'sh', ...binds, '--'],
    ...[tools.paths.setpriv ?? 'setpriv', '--clear-groups', '--no-new-privs', '--inh-caps=-all', '--'],
    ...[tool, `--root=${STAGE}`, '--wd=/', `--setgid=${NOBODY}`, `--setuid=${NOBODY}`, '--'],
    ...jailed(program),
  ]
}
