/** When an artifact's repository is worth collecting. Pure. */

/** Packs of one repository: Git looks through each of them. */
export const MAX_PACKS = 50
/** Loose objects of one repository. */
export const MAX_LOOSE = 2_000
/** Objects in packs of a repository without a bitmap: from here on finding what a clone needs costs more than sending it. */
export const MAX_UNMAPPED = 5_000
/** What refs moved away from stays that long, so that a task can be undone and a mistake repaired. Milliseconds */
export const KEEP_MS = 14 * 24 * 3_600_000
/** Nothing came for it that long: whoever works on it is not held up. Milliseconds */
export const QUIET_MS = 60_000
/** After failures, doubled with each. Milliseconds */
const FIRST_RETRY_MS = 10 * 60_000
const LAST_RETRY_MS = 24 * 3_600_000
/** Objects are coming in just now. Milliseconds */
const STAGED_RETRY_MS = 30_000

export interface RepositoryFacts {
  readonly packs: number
  readonly loose: number
  /** Objects in packs where no pack has a bitmap, else 0 */
  readonly unmapped: number
  /** Since when it holds what no ref reaches, milliseconds since 1970; undefined: as far as is known it does not */
  readonly leftSince: number | undefined
  /** Quarantines that see its objects */
  readonly staged: number
  /** Since its last change, milliseconds */
  readonly quietMs: number
}

export type CollectReason = 'packs' | 'loose' | 'unmapped' | 'left'

export type CollectDecision =
  | { readonly type: 'collect'; readonly why: CollectReason }
  /** Look again after that many milliseconds */
  | { readonly type: 'later'; readonly inMs: number }
  | { readonly type: 'rest' }

export function decideCollection(facts: RepositoryFacts, nowMs: number): CollectDecision {
  const why = reasonOf(facts, nowMs)
  if (why === undefined) return { type: 'rest' }
  if (facts.quietMs < QUIET_MS) return { type: 'later', inMs: QUIET_MS - facts.quietMs }
  if (facts.staged > 0) return { type: 'later', inMs: STAGED_RETRY_MS }
  return { type: 'collect', why }
}

function reasonOf({ packs, loose, unmapped, leftSince }: RepositoryFacts, nowMs: number): CollectReason | undefined {
  if (packs > MAX_PACKS) return 'packs'
  if (loose > MAX_LOOSE) return 'loose'
  if (unmapped > MAX_UNMAPPED) return 'unmapped'
  return leftSince !== undefined && nowMs - leftSince >= KEEP_MS ? 'left' : undefined
}

/** @param failures in a row, at least 1 */
export function retryMs(failures: number): number {
  return Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10))
}
