/**
 * The one place where Git is started. Always by argument vector, with an environment made here, without system and global configuration, hooks, prompts,
 * pagers or outside protocols; always with an end: time, CPU, memory, file size, what it may say, and the caller's signal.
 * What reads bytes from outside (`foreign`) runs in a jail where there is one.
 *
 * A process here is one `sh` that sets limits and becomes bubblewrap or git itself; it leads a process group, which is ended as a whole.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { MeshError } from '../../../protocol/errors.ts'
import { sealedStdio } from '../../processes/sealed-stdio.ts'
import { diskFault } from './disk-fault.ts'
import { type GitTools, type JailView, jailedGit } from './git-jail.ts'
import { probeGit } from './git-tools.ts'

export interface GitLimits {
  /** From start to end, milliseconds */
  readonly wallMs: number
  /** CPU time of each process, seconds */
  readonly cpuSeconds: number
  /** Private memory of each process: what it writes, not files it maps */
  readonly memoryBytes: number
  /** The largest file it may write */
  readonly fileBytes: number
  /** Standard output, where it is collected */
  readonly outputBytes: number
}

export const GIT_LIMITS: GitLimits = {
  wallMs: 120_000,
  cpuSeconds: 120,
  memoryBytes: 768 << 20,
  fileBytes: 8 * 1024 ** 3,
  outputBytes: 64 << 20,
}

export interface GitCall {
  /** After `git`; may be given as the command line of `sh` instead, see `script` */
  readonly args: readonly string[]
  /** A fixed POSIX shell script that runs `git` several times in one jail; `args` are its positional parameters. Never made of data. */
  readonly script?: string
  /** Bare repository; becomes GIT_DIR, readable */
  readonly repository?: string
  /** Object folder that new objects go to instead of the repository's, whose objects stay visible: a quarantine */
  readonly objects?: string
  /** It reads bytes that came from outside: jailed */
  readonly foreign: boolean
  /** More that a jailed process can read, absolute paths */
  readonly reads?: readonly string[]
  /** More that a jailed process can write, absolute paths; the quarantine is always among them, the repository only if it is named */
  readonly writes?: readonly string[]
  /** Value of GIT_PROTOCOL, e.g. "version=2" */
  readonly protocol?: string
  /** Protocols it may use to reach elsewhere. @default none; a jail lets nothing out then */
  readonly network?: readonly ('http' | 'https')[]
  /** More configuration, as on a command line; wins over what is set here */
  readonly config?: Readonly<Record<string, string>>
  readonly limits?: Partial<GitLimits>
  readonly signal?: AbortSignal
}

/** How a process ended. */
export interface GitEnd {
  /** Exit code; 128 + signal when it was ended by one */
  readonly code: number
  /** The last of what it said about it, without host paths; for logs, and for users after `fatal: ` */
  readonly stderr: string
  /** Why it was ended from here */
  readonly cut?: 'time' | 'output' | 'signal'
}

export interface GitChild {
  readonly pid: number
  /** Errors of writing after its end are swallowed: `ended` tells */
  readonly stdin: Writable
  readonly stdout: Readable
  /** Never rejects. Resolves when the process is gone and its output was read or dropped. */
  readonly ended: Promise<GitEnd>
  /** SIGKILL to all of it. May be called again. */
  kill(): void
}

const STDERR_BYTES = 8 << 10
/** Blobs above it are streamed and never held, in bytes; also keeps a compressed blob from filling memory */
const BIG_FILE = '1m'

/** Sets limits that survive exec, offers itself when memory ends, and becomes the command. `ulimit -f` counts blocks of 512 bytes. */
const LIMIT_SCRIPT =
  'ulimit -c 0; ulimit -n 256; ulimit -t "$1"; ulimit -d "$2"; ulimit -f "$3"; { echo 700 > /proc/self/oom_score_adj; } 2>/dev/null; shift 3; exec "$@"'

const CONFIG: Readonly<Record<string, string>> = {
  'core.hooksPath': '/dev/null',
  'core.fsmonitor': 'false',
  'core.askPass': '',
  'core.sshCommand': '/bin/false',
  'core.attributesFile': '/dev/null',
  'core.excludesFile': '/dev/null',
  'core.fsync': 'all',
  'core.bigFileThreshold': BIG_FILE,
  'core.packedGitWindowSize': '64m',
  'core.packedGitLimit': '512m',
  'core.deltaBaseCacheLimit': '32m',
  'credential.helper': '',
  'diff.external': '',
  'gc.auto': '0',
  'maintenance.auto': 'false',
  'pack.windowMemory': '64m',
  // Files belong to the daemon; inside a jail that is seen as another user
  'safe.directory': '*',
  'submodule.recurse': 'false',
  'transfer.fsckObjects': 'true',
}

/** @throws MeshError E_GIT_MISSING when there is no usable Git, or the signal's reason */
export async function spawnGit(call: GitCall): Promise<GitChild> {
  const tools = await usableGit()
  call.signal?.throwIfAborted()
  return new RunningGit(tools, call)
}

/**
 * Runs to the end and collects the output. A failing exit code is a result.
 * @throws MeshError E_GIT_MISSING, E_TIMEOUT, E_TOO_LARGE when it said more than `outputBytes`, or the signal's reason
 */
export async function runGit(
  call: GitCall,
  input?: Uint8Array | string,
): Promise<GitEnd & { readonly stdout: Buffer }> {
  const child = await spawnGit(call)
  child.stdin.end(input)
  const most = call.limits?.outputBytes ?? GIT_LIMITS.outputBytes
  const chunks: Buffer[] = []
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes <= most) chunks.push(chunk)
    else child.kill()
  })
  const end = await child.ended
  if (call.signal?.aborted) throw call.signal.reason
  const what = call.args[0] ?? 'git'
  if (bytes > most) throw new MeshError('E_TOO_LARGE', `Cannot run git ${what}: it said more than ${most} bytes`)
  if (end.cut === 'time') throw new MeshError('E_TIMEOUT', `Cannot run git ${what}: it did not end in time`)
  return { ...end, stdout: Buffer.concat(chunks) }
}

/** The same where anything but exit code 0 is a fault of ours. @throws MeshError E_INTERNAL too */
export async function gitOutput(call: GitCall, input?: Uint8Array | string): Promise<Buffer> {
  const { code, stdout, stderr } = await runGit(call, input)
  if (code === 0) return stdout
  const full = diskFault(stderr)
  if (full !== undefined) throw full
  throw new MeshError('E_INTERNAL', 'Something went wrong inside the daemon', {
    cause: new Error(`git ${call.args.join(' ').slice(0, 200)} ended with ${code}: ${stderr}`),
  })
}

async function usableGit(): Promise<GitTools> {
  const report = await probeGit()
  if (report.ok) return report.tools
  throw new MeshError('E_GIT_MISSING', `Cannot use artifacts: ${report.reason}`, { hint: report.hint })
}

class RunningGit implements GitChild {
  readonly pid: number
  readonly stdin: Writable
  readonly stdout: Readable
  readonly ended: Promise<GitEnd>
  readonly #child: ChildProcess
  #stderr = ''
  #cut: GitEnd['cut']
  #gone = false

  constructor(tools: GitTools, call: GitCall) {
    const jailed = call.foreign && tools.bwrap !== undefined
    const filter = jailed && call.network === undefined ? tools.seccomp : undefined
    this.#child = spawn('/bin/sh', commandLine(tools, call, jailed), {
      stdio: sealedStdio(['pipe', 'pipe', 'pipe', ...(filter === undefined ? [] : (['pipe'] as const))]),
      env: environment(tools, call),
      cwd: '/',
      // Leads a group, so that helpers of git end with it
      detached: true,
    })
    const { stdin, stdout, stderr } = this.#child
    if (!(stdin instanceof Socket && stdout instanceof Socket && stderr instanceof Socket)) throw this.#withoutPipes()
    this.pid = this.#child.pid ?? 0
    this.stdin = stdin.on('error', () => {})
    this.stdout = stdout.on('error', () => {})
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_BYTES)
    })
    const pipe = this.#child.stdio[3]
    if (pipe instanceof Socket) pipe.on('error', () => {}).end(filter ?? '')
    this.ended = this.#watch(call)
  }

  /** Where no file can be opened any more there are none, and the error is told later. */
  #withoutPipes(): MeshError {
    this.#child.on('error', () => {})
    return new MeshError('E_OVERLOADED', 'Cannot run git now: too many files are open', { retryAfterMs: 1_000 })
  }

  kill(): void {
    if (this.#gone || this.pid === 0) return
    try {
      process.kill(-this.pid, 'SIGKILL')
    } catch {
      this.#child.kill('SIGKILL')
    }
  }

  #watch({ limits, signal, repository, objects }: GitCall): Promise<GitEnd> {
    const cut = (why: NonNullable<GitEnd['cut']>): void => {
      this.#cut ??= why
      this.kill()
    }
    const onAbort = (): void => cut('signal')
    const timer = setTimeout(() => cut('time'), limits?.wallMs ?? GIT_LIMITS.wallMs)
    signal?.addEventListener('abort', onAbort, { once: true })
    return new Promise((resolve) => {
      const finish = (code: number): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        this.#gone = true
        const end = { code, stderr: withoutPaths(this.#stderr, [objects, repository]) }
        resolve(this.#cut === undefined ? end : { ...end, cut: this.#cut })
      }
      this.#child.once('error', (error) => {
        this.#stderr += error.message
        finish(127)
      })
      // Whatever it started goes with it
      this.#child.once('exit', () => {
        if (this.pid !== 0) killGroup(this.pid)
      })
      this.#child.once('close', (code) => finish(code ?? 137))
    })
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {}
}

function commandLine(tools: GitTools, call: GitCall, jailed: boolean): string[] {
  const limits = { ...GIT_LIMITS, ...call.limits }
  const command =
    call.script === undefined ? [tools.git, ...call.args] : ['/bin/sh', '-c', call.script, tools.git, ...call.args]
  return [
    ...['-c', LIMIT_SCRIPT, 'sh', String(limits.cpuSeconds)],
    ...[String(Math.ceil(limits.memoryBytes / 1024)), String(Math.ceil(limits.fileBytes / 512))],
    ...(jailed ? jailedGit(tools, viewOf(call), command) : command),
  ]
}

function viewOf({ repository, objects, reads, writes, network }: GitCall): JailView {
  const present = (path: string | undefined): string[] => (path === undefined ? [] : [path])
  return {
    reads: [...present(repository), ...(reads ?? [])],
    writes: [...present(objects), ...(writes ?? [])],
    network: network !== undefined,
  }
}

/** Everything git may know of its surroundings. */
function environment(tools: GitTools, call: GitCall): Record<string, string> {
  const { repository, objects, protocol, network, config } = call
  const settings = Object.entries({ ...CONFIG, ...config })
  const folder = tools.git.slice(0, tools.git.lastIndexOf('/'))
  return {
    PATH: `${folder}:/usr/bin:/bin`,
    HOME: '/nonexistent',
    LC_ALL: 'C',
    TZ: 'UTC',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_SYSTEM: '/dev/null',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_COUNT: String(settings.length),
    ...Object.fromEntries(
      settings.flatMap(([name, value], index) => [
        [`GIT_CONFIG_KEY_${index}`, name],
        [`GIT_CONFIG_VALUE_${index}`, value],
      ]),
    ),
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '/bin/false',
    GIT_PAGER: 'cat',
    GIT_EDITOR: '/bin/false',
    GIT_ADVICE: '0',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_NO_LAZY_FETCH: '1',
    GIT_ALLOW_PROTOCOL: network?.join(':') ?? 'none',
    ...(repository === undefined ? {} : { GIT_DIR: repository }),
    ...(objects === undefined || repository === undefined
      ? {}
      : { GIT_OBJECT_DIRECTORY: objects, GIT_ALTERNATE_OBJECT_DIRECTORIES: quoted(`${repository}/objects`) }),
    ...(protocol === undefined ? {} : { GIT_PROTOCOL: protocol }),
  }
}

/** A path in a list that is separated by colons: as a C string when it holds what would be taken for something else. */
function quoted(path: string): string {
  return /[:"\\]|[^\x20-\x7e]/.test(path) ? `"${path.replaceAll(/["\\]/g, String.raw`\$&`)}"` : path
}

function withoutPaths(text: string, paths: readonly (string | undefined)[]): string {
  return paths
    .reduce<string>((rest, path) => (path === undefined ? rest : rest.replaceAll(path, '<repository>')), text)
    .trim()
}
