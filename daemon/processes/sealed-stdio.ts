/**
 * A child process is given its descriptors; it must not find others. Node opens everything so that it closes when another program starts, but LevelDB does not
 * open its files so, and whoever started this process may have left it more. Walls around a child are no help there: what is open needs no path.
 */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

export type StdioEntry = 'pipe' | 'ignore' | 'ipc' | number

const DESCRIPTORS = '/proc/self/fd'
/** Bit of O_CLOEXEC in the octal flags that /proc tells. */
const CLOSES_ON_EXEC = 0o2000000
/** Numbers above the highest that is inherited which are covered too: what another thread opens meanwhile takes the lowest that is free. */
const BEYOND = 8

let nothing: number | undefined
let most: number | undefined

/**
 * `stdio`, and after it an empty descriptor for every number under which the child would inherit something, or could by the time it starts. To be asked for in
 * the turn in which the child is started.
 */
export function sealedStdio(stdio: readonly StdioEntry[]): StdioEntry[] {
  nothing ??= openSync('/dev/null', 'r')
  most ??= mostEntries()
  const closed = closedOnExec(isNodes)
  const inherited = [...closed].filter(([number, isClosed]) => !isClosed && number > 2).map(([number]) => number)
  const last = inherited.length === 0 ? 0 : Math.max(...inherited) + BEYOND
  const entries = [...stdio]
  for (let number = stdio.length; number <= Math.min(last, most); number++)
    entries.push(closed.get(number) === true ? 'ignore' : nothing)
  return entries
}

/**
 * Closes what this process was started with, besides its three, and would hand on to its children. Node keeps the first dozen from them, but not what has a high number.
 * Only for a process that has opened nothing yet.
 */
export function closeInherited(): void {
  for (const [number, isClosed] of closedOnExec(() => false)) if (!isClosed && number > 2) closeSync(number)
}

/**
 * Node needs as many free numbers above the entries as there are entries. What the node opens by itself lies far below: connections may only take half of the
 * numbers, and its database is opened before any.
 */
function mostEntries(): number {
  const [, limit = '1024'] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
  return Math.floor(Number(limit) / 2)
}

/** The numbers in use, with whether each closes when another program starts. @param isKnown whether a target is of a kind that always does */
function closedOnExec(isKnown: (target: string) => boolean): Map<number, boolean> {
  const found = new Map<number, boolean>()
  for (const name of readdirSync(DESCRIPTORS)) {
    const number = Number(name)
    try {
      found.set(number, isKnown(readlinkSync(`${DESCRIPTORS}/${name}`)) || closesOnExec(number))
    } catch {
      // It is gone: the listing itself was read by one.
    }
  }
  return found
}

/** Most are sockets: a daemon has none that Node did not open (`closeInherited`), and asking for each would take longer than to start the child. */
function isNodes(target: string): boolean {
  return target.startsWith('socket:') || target.startsWith('anon_inode:')
}

function closesOnExec(number: number): boolean {
  const [, flags = '0'] = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${number}`, 'latin1')) ?? []
  return (Number.parseInt(flags, 8) & CLOSES_ON_EXEC) !== 0
}
