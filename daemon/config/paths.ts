/**
 * Where everything of a node lives. `MANYHANDS_HOME` puts it all under one folder, so that many nodes run on one host;
 * otherwise the XDG base directories decide (https://specifications.freedesktop.org/basedir-spec/latest/).
 */
import { createHash } from 'node:crypto'
import { isAbsolute, join, resolve } from 'node:path'

export interface Paths {
  readonly configDir: string
  readonly configFile: string
  /** Identity, member list, tokens and journal: what must survive */
  readonly dataDir: string
  readonly identityFile: string
  readonly meshFile: string
  /** The admin token of the local API */
  readonly tokenFile: string
  /** Further tokens, hashed, with their access level */
  readonly tokensFile: string
  /** Where the daemon that runs says that its socket is: a client may be in another environment than it (cron, sudo, a session) */
  readonly socketFile: string
  readonly journalDir: string
  /** Repositories of artifacts, sharded by id */
  readonly artifactsDir: string
  readonly stateDir: string
  /** Identity and high-water mark of the journal: outside `journalDir`, so that losing or rolling back the one shows in the other */
  readonly journalMark: string
  readonly logFile: string
  /** Gone after a reboot */
  readonly runDir: string
  readonly socket: string
  /** May be deleted at any time */
  readonly cacheDir: string
}

/** `sun_path` of a unix socket holds 108 bytes with its final NUL. */
export const SOCKET_PATH_BYTES = 107

/** Every path of a node. Pure. `uid` and `home` are those of the user the daemon runs as. */
export function resolvePaths(env: Readonly<Record<string, string | undefined>>, uid: number, home: string): Paths {
  const own = env['MANYHANDS_HOME']
  const dirs = own ? homeDirs(resolve(own)) : xdgDirs(env, uid, home)
  const socketDirs = [dirs.run, sharedRun(env, uid), `/tmp/manyhands-${uid}`]
  return Object.freeze({
    configDir: dirs.config,
    configFile: join(dirs.config, 'config.jsonc'),
    dataDir: dirs.data,
    identityFile: join(dirs.data, 'identity.key'),
    meshFile: join(dirs.data, 'mesh.json'),
    tokenFile: join(dirs.data, 'token'),
    tokensFile: join(dirs.data, 'tokens.json'),
    socketFile: join(dirs.data, 'socket.json'),
    journalDir: join(dirs.data, 'journal'),
    artifactsDir: join(dirs.data, 'artifacts'),
    stateDir: dirs.state,
    journalMark: join(dirs.state, 'journal.mark'),
    logFile: join(dirs.state, 'daemon.log'),
    runDir: dirs.run,
    socket: socketPath(dirs.run, socketDirs),
    cacheDir: dirs.cache,
  })
}

interface Dirs {
  readonly config: string
  readonly data: string
  readonly state: string
  readonly run: string
  readonly cache: string
}

function homeDirs(root: string): Dirs {
  return {
    config: join(root, 'config'),
    data: join(root, 'data'),
    state: join(root, 'state'),
    run: join(root, 'run'),
    cache: join(root, 'cache'),
  }
}

function xdgDirs(env: Readonly<Record<string, string | undefined>>, uid: number, home: string): Dirs {
  // The specification: a relative path is invalid and counts as unset
  const base = (name: string, otherwise: string): string =>
    join(absolute(env[name]) ?? join(home, otherwise), 'manyhands')
  return {
    config: base('XDG_CONFIG_HOME', '.config'),
    data: base('XDG_DATA_HOME', '.local/share'),
    state: base('XDG_STATE_HOME', '.local/state'),
    run: sharedRun(env, uid),
    cache: base('XDG_CACHE_HOME', '.cache'),
  }
}

function sharedRun(env: Readonly<Record<string, string | undefined>>, uid: number): string {
  const runtime = absolute(env['XDG_RUNTIME_DIR'])
  if (runtime) return join(runtime, 'manyhands')
  return join(absolute(env['TMPDIR']) ?? '/tmp', `manyhands-${uid}`)
}

/** The readable name when it fits, else a name made from the hash of the intended path: the same node always finds the same socket. */
function socketPath(runDir: string, fallbacks: readonly string[]): string {
  const wanted = join(runDir, 'daemon.sock')
  if (Buffer.byteLength(wanted) <= SOCKET_PATH_BYTES) return wanted
  const name = `${createHash('sha256').update(wanted).digest('hex').slice(0, 24)}.sock`
  for (const dir of fallbacks) {
    const path = join(dir, name)
    if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES) return path
  }
  return wanted
}

function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined
}
