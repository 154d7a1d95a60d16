/** Starts the daemon as a process of its own: own session, no terminal, its first words in a file. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Paths } from '../config/paths.ts'
import type { DaemonOptions } from './daemon-entry.ts'

export interface SpawnedDaemon {
  /** With what code it ended; null: by a signal or not at all, undefined: it runs */
  readonly exit: number | null | undefined
  /** What it wrote before its log was open */
  readonly startLog: string
  /** Lets this process end without it */
  unref(): void
  /** Asks it to end, and ends it after `END_MS`. Resolves when it has ended; may be called again then. */
  end(): Promise<void>
}

/** A daemon that is asked to end while it starts is given this long, milliseconds. */
const END_MS = 3_000

export async function spawnDaemon(options: DaemonOptions, paths: Paths): Promise<SpawnedDaemon> {
  await mkdir(paths.stateDir, { recursive: true, mode: 0o700 })
  const startLog = join(paths.stateDir, 'start.log')
  const file = await open(startLog, 'w', 0o600)
  try {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? '', ...upArguments(options)], {
      detached: true,
      stdio: ['ignore', file.fd, file.fd],
      // No folder is kept busy; so a path that is relative to this one is passed on whole
      cwd: '/',
      env: daemonEnv(process.env),
    })
    let exit: number | null | undefined
    child.once('exit', (code) => {
      exit = code
    })
    child.once('error', () => {
      exit ??= null
    })
    return {
      get exit() {
        return exit
      },
      startLog,
      unref: () => child.unref(),
      end: async () => {
        if (exit === undefined) await endChild(child)
        child.unref()
      },
    }
  } finally {
    await file.close()
  }
}

/** One whose loop stands still does not hear the first signal. */
async function endChild(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit').then(() => true)
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    child.kill(signal)
    if (await Promise.race([ended, sleep(END_MS, false)])) return
  }
}

const PATH_VARIABLES = ['MANYHANDS_HOME', 'MANYHANDS_SOCKET', 'MANYHANDS_TOKEN_FILE']

function daemonEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const paths = PATH_VARIABLES.flatMap((name) => (env[name] ? [[name, resolve(env[name])] as const] : []))
  return { ...env, ...Object.fromEntries(paths) }
}

/** The same options for a daemon in the foreground, which logs to its file unless told otherwise, and tells a failure as JSON for `startFailure`. */
export function upArguments(options: DaemonOptions): string[] {
  const flags = { 'log.file': 'true', ...options.flags }
  const settings = Object.entries(flags).flatMap(([key, value]) => ['--set', `${key}=${value}`])
  return [
    'up',
    '--json',
    ...(options.configFile === undefined ? [] : ['--config', resolve(options.configFile)]),
    ...settings,
  ]
}
