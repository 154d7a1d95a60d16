import { readFileSync } from 'node:fs'

/** Whether a process runs. One that has ended and that nobody has asked about yet, as its parent may never do, does not. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // Not ours, but there
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
  return !isZombie(pid)
}

/** Its state is the letter behind its name, which stands in brackets and may hold any. Where the system does not tell, it counts as running. */
function isZombie(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat[stat.lastIndexOf(')') + 2] === 'Z'
  } catch {
    return false
  }
}
