/**
 * The walls around a Git process that reads bytes from outside, as a command line. Pure.
 *
 * bubblewrap: new user, process and IPC namespaces, user and group 65534, no capabilities, a file system that holds git, the libraries it links, and
 * the repository, read-only; only named folders can be written. There is no network: the seccomp filter refuses sockets (a network namespace
 * of its own would say the same and costs as much as all else together), and where no filter is known there is that namespace.
 * Paths are the same inside and outside, so that arguments and alternates need no translation.
 */
export interface GitTools {
  /** Absolute path of `git` */
  readonly git: string
  /** Of the C library's loader and of what git links, as the loader names them */
  readonly libraries: readonly string[]
  /** Absolute path of bubblewrap; absent: git runs as a plain process of this user */
  readonly bwrap?: string
  /** To be loaded by bubblewrap; lets git start its own helpers, but no network */
  readonly seccomp?: Buffer
}

export interface JailView {
  /** Absolute paths that can be read */
  readonly reads: readonly string[]
  /** Absolute paths that can be written too */
  readonly writes: readonly string[]
  /** Lets it reach the network: for fetching from elsewhere */
  readonly network: boolean
}

/** Where bubblewrap finds the filter. */
export const FILTER_FD = 3
const NOBODY = '65534'
/** Some builds of git name their temporary files from the second */
const DEVICES = ['/dev/null', '/dev/urandom']
/** What name lookup and TLS read */
const NETWORK_FILES = [
  '/etc/resolv.conf',
  '/etc/hosts',
  '/etc/nsswitch.conf',
  '/etc/gai.conf',
  '/etc/ssl',
  '/etc/pki',
  '/etc/ca-certificates',
]

/** @returns the command line that runs `command` behind the walls; file first */
export function jailedGit(tools: GitTools, view: JailView, command: readonly string[]): string[] {
  const shared = ['--unshare-user', '--unshare-pid', '--unshare-ipc', '--unshare-uts']
  return [
    tools.bwrap ?? 'bwrap',
    ...shared,
    ...(view.network || tools.seccomp !== undefined ? [] : ['--unshare-net']),
    ...['--die-with-parent', '--new-session', '--as-pid-1', '--cap-drop', 'ALL', '--uid', NOBODY, '--gid', NOBODY],
    ...(view.network ? wholeSystem() : programs(tools)),
    ...DEVICES.flatMap((path) => ['--dev-bind', path, path]),
    ...view.reads.flatMap((path) => ['--ro-bind', path, path]),
    ...view.writes.flatMap((path) => ['--bind', path, path]),
    ...['--remount-ro', '/', '--chdir', '/'],
    ...(view.network || tools.seccomp === undefined ? [] : ['--seccomp', String(FILTER_FD)]),
    '--',
    ...command,
  ]
}

function programs({ git, libraries }: GitTools): string[] {
  const files = new Set([git, '/bin/sh', ...libraries])
  return [...files].flatMap((path) => ['--ro-bind', path, path])
}

/** git-remote-https links what cannot be told in advance: everything installed, nothing of anyone. */
function wholeSystem(): string[] {
  const links = ['bin', 'sbin', 'lib', 'lib64'].flatMap((name) => ['--ro-bind-try', `/${name}`, `/${name}`])
  return ['--ro-bind', '/usr', '/usr', ...links, ...NETWORK_FILES.flatMap((path) => ['--ro-bind-try', path, path])]
}
