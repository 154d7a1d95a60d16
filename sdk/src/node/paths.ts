/**
 * Where the local daemon's socket and token are: `MANYHANDS_HOME`, else the XDG base directories. The SDK's own copy of the daemon's rule,
 * since it depends on nothing of the daemon; a contract test holds the two equal.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { homedir, userInfo } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'

export interface DaemonPaths {
  readonly socket: string
  readonly tokenFile: string
  /** Says where the socket of the daemon that runs is */
  readonly socketFile: string
}

type Environment = Readonly<Record<string, string | undefined>>

/** `sun_path` holds 108 bytes with its final NUL. */
const SOCKET_PATH_BYTES = 107

/** Pure. `uid` and `home` are those of the user. */
export function resolveDaemonPaths(env: Environment, uid: number, home: string): DaemonPaths {
  const own = env['MANYHANDS_HOME']
  const run = own ? join(resolve(own), 'run') : sharedRun(env, uid)
  const data = own
    ? join(resolve(own), 'data')
    : join(absolute(env['XDG_DATA_HOME']) ?? join(home, '.local/share'), 'manyhands')
  const fallbacks = [run, sharedRun(env, uid), `/tmp/manyhands-${uid}`]
  return {
    socket: socketPath(run, fallbacks),
    tokenFile: join(data, 'token'),
    socketFile: join(data, 'socket.json'),
  }
}

/** Those of this user and environment; `home` takes the place of MANYHANDS_HOME. */
export function daemonPaths(home?: string): DaemonPaths {
  const env = home === undefined ? process.env : { ...process.env, MANYHANDS_HOME: home }
  return resolveDaemonPaths(env, process.geteuid?.() ?? -1, userHome())
}

/**
 * The socket that the daemon says it has, else the one it would have in this environment: XDG_RUNTIME_DIR and TMPDIR are not the same in a session, under cron and
 * under sudo. What a copy of the folder says is of the daemon it was copied from.
 */
export async function runningSocket({ socket, socketFile }: DaemonPaths): Promise<string> {
  const said = await readFile(socketFile, 'utf8')
    .then((text): unknown => JSON.parse(text))
    .catch(() => undefined)
  const { socket: path, folder } = Object(said) as { readonly socket?: unknown; readonly folder?: unknown }
  return typeof path === 'string' && folder === dirname(socketFile) && existsSync(path) ? path : socket
}

/** In a bare container the user may have no entry anywhere and no HOME; with MANYHANDS_HOME none is needed. One that is empty or relative counts as unset. */
function userHome(): string {
  try {
    const named = homedir()
    return isAbsolute(named) ? named : userInfo().homedir
  } catch {
    return '/'
  }
}

function sharedRun(env: Environment, uid: number): string {
  const runtime = absolute(env['XDG_RUNTIME_DIR'])
  if (runtime) return join(runtime, 'manyhands')
  return join(absolute(env['TMPDIR']) ?? '/tmp', `manyhands-${uid}`)
}

/** A path too long for a socket becomes a name made from its hash, in the first folder where it fits. */
function socketPath(run: string, fallbacks: readonly string[]): string {
  const wanted = join(run, 'daemon.sock')
  if (Buffer.byteLength(wanted) <= SOCKET_PATH_BYTES) return wanted
  const name = `${createHash('sha256').update(wanted).digest('hex').slice(0, 24)}.sock`
  return fallbacks.map((dir) => join(dir, name)).find((path) => Buffer.byteLength(path) <= SOCKET_PATH_BYTES) ?? wanted
}

function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined
}
