/**
 * Finds repositories that no artifact has: a crash while the first records of one were taken leaves its folder. Walks the folders slowly, a few at a time, so that
 * a million of them hold nobody up; what it does not reach before the end of the process the next start finds.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isArtifactId } from '../../../protocol/artifact/genesis.ts'

export interface StraySweep {
  readonly root: string
  readonly isKnown: (id: string) => boolean
  /** Removes its files, unless it is known by then */
  readonly remove: (id: string) => Promise<void>
  readonly signal: AbortSignal
  /** After each few folders, milliseconds. @default 100 */
  readonly pauseMs?: number
}

/** Folders read between two pauses. */
const AT_ONCE = 64
/** Two characters of an id (protocol/artifact/genesis.ts) */
const SHARD = /^[a-z2-7]{2}$/

/** @returns how many were removed @throws what `remove` throws */
export async function sweepStrays({ root, isKnown, remove, signal, pauseMs = 100 }: StraySweep): Promise<number> {
  let removed = 0
  let read = 0
  for (const first of await shards(root)) {
    for (const second of await shards(join(root, first))) {
      for (const id of await entries(join(root, first, second))) {
        if (signal.aborted) return removed
        // only where an artifact of that id would be: anything else is not ours
        if (!isArtifactId(id) || id.slice(1, 3) !== first || id.slice(3, 5) !== second || isKnown(id)) continue
        await remove(id)
        removed++
      }
      read++
      if (read % AT_ONCE === 0) await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => {})
      if (signal.aborted) return removed
    }
  }
  return removed
}

async function shards(path: string): Promise<string[]> {
  return (await entries(path)).filter((name) => SHARD.test(name))
}

async function entries(path: string): Promise<string[]> {
  return readdir(path).catch(() => [])
}
