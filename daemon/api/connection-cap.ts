import { readFileSync } from 'node:fs'

/** Files that peers, the journal and executors need while clients use the rest */
const SHARE = 0.5

/** How many API connections there may be: as configured, but never so many that the process runs out of file descriptors. */
export function connectionCap(configured: number, limit = openFileLimit()): number {
  return limit === undefined ? configured : Math.max(8, Math.min(configured, Math.floor(limit * SHARE)))
}

/** The soft limit of open files. @returns undefined where the system does not tell */
function openFileLimit(): number | undefined {
  try {
    const found = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
    return found?.[1] === undefined ? undefined : Number(found[1])
  } catch {
    return undefined
  }
}
