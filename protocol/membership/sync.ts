/** How long a node that was away holds back, and whom it has heard since. */
export interface SyncState {
  /** Members that told what list they hold, since the start or since this node was cut off */
  readonly heard: ReadonlySet<string>
  /** From then on it serves whoever is there */
  readonly settledAt: number
  /** Since when it has no peer at all; undefined while it has one */
  readonly aloneSince: number | undefined
}

/** If nobody ever says that the known addresses were tried, they count as tried after this many settle times. */
const UNTRIED_FACTOR = 5

export function startSync(now: number, settleMs: number): SyncState {
  return { heard: new Set(), settledAt: now + UNTRIED_FACTOR * settleMs, aloneSince: now }
}

export function settle(sync: SyncState, at: number): SyncState {
  return at < sync.settledAt ? { ...sync, settledAt: at } : sync
}

export function helloHeard(sync: SyncState, peer: string): SyncState {
  if (sync.heard.has(peer)) return sync
  return { ...sync, heard: new Set(sync.heard).add(peer) }
}

/** It holds a list that we do not know. */
export function unheard(sync: SyncState, peer: string): SyncState {
  return { ...sync, heard: new Set([...sync.heard].filter((other) => other !== peer)) }
}

/** The first hello after a long time alone: what was heard before is too old to go by. */
export function awakened(sync: SyncState, now: number, config: { settleMs: number; cutOffMs: number }): SyncState {
  const { aloneSince } = sync
  if (aloneSince === undefined) return sync
  const wasCutOff = now >= sync.settledAt && now - aloneSince > config.cutOffMs
  if (!wasCutOff) return { ...sync, aloneSince: undefined }
  return { heard: new Set(), settledAt: now + config.settleMs, aloneSince: undefined }
}
