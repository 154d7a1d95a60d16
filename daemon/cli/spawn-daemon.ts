/** Starts the daemon as a process of its own: own session, no terminal, its first words in a file. */
import { spawn } from 'node:child_process'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Paths } from '../config/paths.ts'
import type { DaemonOptions } from './daemon-entry.ts'

export interface SpawnedDaemon {
  readonly exited: boolean
  /** What it wrote before its log was open */
  readonly startLog: string
  /** Lets this process end without it */
  unref(): void
}

export async function spawnDaemon(options: DaemonOptions, paths: Paths): Promise<SpawnedDaemon> {
  await mkdir(paths.stateDir, { recursive: true, mode: 0o700 })
  const startLog = join(paths.stateDir, 'start.log')
  const file = await open(startLog, 'w', 0o600)
  try {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? '', ...upArguments(options)], {
      detached: true,
      stdio: ['ignore', file.fd, file.fd],
      cwd: '/',
    })
    let exited = false
    const end = (): void => {
      exited = true
    }
    child.once('exit', end)
    child.once('error', end)
    return {
      get exited() {
        return exited
      },
      startLog,
      unref: () => child.unref(),
    }
  } finally {
    await file.close()
  }
}

/** The same options for a daemon in the foreground, which logs to its file unless told otherwise. */
export function upArguments(options: DaemonOptions): string[] {
  const flags = { 'log.file': 'true', ...options.flags }
  const settings = Object.entries(flags).flatMap(([key, value]) => ['--set', `${key}=${value}`])
  return ['up', ...(options.configFile === undefined ? [] : ['--config', options.configFile]), ...settings]
}
