/**
 * What the kernel counted for a sandbox, read on the host where the guest cannot change it: processes killed for memory, forks refused, a full disk.
 * cgroup v1: `memory.oom_control` (line `oom_kill`), `pids.events` (line `max`), each in its own hierarchy; v2: `memory.events`, `pids.events`.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { GuestEvidence } from './sandbox.ts'

const ROOT = '/sys/fs/cgroup'

export interface CgroupFiles {
  readonly memory: string
  readonly pids: string
}

/** Where the counters of the process are; undefined when it cannot be told. @param pid on this host */
export async function cgroupFiles(pid: number): Promise<CgroupFiles | undefined> {
  try {
    return filesOf(await readFile(`/proc/${pid}/cgroup`, 'utf8'))
  } catch {
    return undefined
  }
}

/** @param table the text of `/proc/<pid>/cgroup` */
export function filesOf(table: string): CgroupFiles | undefined {
  const { of, unified } = cgroupPaths(table)
  const [memory, pids] = [of('memory'), of('pids')]
  if (memory !== undefined && pids !== undefined)
    return { memory: join(ROOT, 'memory', memory, 'memory.oom_control'), pids: join(ROOT, 'pids', pids, 'pids.events') }
  if (unified === undefined || unified === '/') return undefined
  return { memory: join(ROOT, unified, 'memory.events'), pids: join(ROOT, unified, 'pids.events') }
}

/** Paths of a process: by controller in v1, and in the unified hierarchy of v2. @param table the text of `/proc/<pid>/cgroup` */
export function cgroupPaths(table: string): {
  of(controller: string): string | undefined
  readonly unified: string | undefined
} {
  const lines = table.split('\n').map((line) => /^\d+:([^:]*):(\/.*)$/.exec(line))
  return {
    of: (controller) => lines.find((line) => line?.[1]?.split(',').includes(controller))?.[2],
    unified: lines.find((line) => line?.[1] === '')?.[2],
  }
}

export async function readEvidence(files: CgroupFiles, isDiskFull: () => Promise<boolean>): Promise<GuestEvidence> {
  const [oomKills, pidsRefused, diskFull] = await Promise.all([
    counter(files.memory, 'oom_kill'),
    counter(files.pids, 'max'),
    isDiskFull().catch(() => false),
  ])
  return { oomKills, pidsRefused, diskFull }
}

async function counter(file: string, name: string): Promise<number> {
  try {
    const line = (await readFile(file, 'utf8')).split('\n').find((one) => one.startsWith(`${name} `))
    return Number(line?.slice(name.length + 1) ?? 0) || 0
  } catch {
    return 0
  }
}
