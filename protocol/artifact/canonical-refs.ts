/**
 * The canonical refs of an artifact: what a plain clone sees under refs/heads, refs/tags and refs/notes. Nobody pushes them; every node computes the same ones
 * from the newest records it holds.
 *
 * Threshold 1: the owner's refs, as its newest record says. Threshold t > 1: the owner and its delegates vote. A voter's tip of a ref counts for that commit and
 * for every ancestor of it; a ref stands at the most advanced tip that t voters count for. Two such tips of which neither descends from the other divide the ref:
 * it stays at the most advanced tip that both descend from, if t voters count for one, and else it is absent; either way the division is named.
 */
export type RefSet = ReadonlyMap<string, string>

export interface Voting {
  readonly owner: string
  readonly delegates: readonly string[]
  readonly threshold: number
  /** Refs by logical name ("refs/heads/main") to object id in hex, of each writer's newest record. Frozen and expelled writers are left out by the caller */
  readonly refsOf: ReadonlyMap<string, RefSet>
}

export interface CanonicalRefs {
  readonly refs: RefSet
  /** Refs whose voters went apart, with the tips in question, sorted */
  readonly divided: ReadonlyMap<string, readonly string[]>
}

/** Whether `ancestor` is reachable from `descendant`. Asked for distinct commits of the pairs of `ancestryQuestions` alone. */
export type IsAncestor = (ancestor: string, descendant: string) => boolean

export function canonicalRefs(voting: Voting, isAncestor: IsAncestor): CanonicalRefs {
  if (voting.threshold <= 1) return { refs: voting.refsOf.get(voting.owner) ?? new Map(), divided: new Map() }
  const reaches: IsAncestor = (a, b) => a === b || isAncestor(a, b)
  const refs = new Map<string, string>()
  const divided = new Map<string, readonly string[]>()
  for (const [ref, tips] of tipsByRef(voting)) {
    if (tips.length < voting.threshold) continue
    const { standing, rivals } = elect(tips, voting.threshold, reaches)
    if (standing !== undefined) refs.set(ref, standing)
    if (rivals.length > 1) divided.set(ref, rivals)
  }
  return { refs, divided }
}

/** Every pair whose ancestry decides something, each once; whoever holds the objects answers them before. Empty with threshold 1. */
export function ancestryQuestions(voting: Voting): [ancestor: string, descendant: string][] {
  if (voting.threshold <= 1) return []
  const asked = new Map<string, [string, string]>()
  for (const tips of tipsByRef(voting).values()) {
    if (tips.length < voting.threshold) continue
    for (const a of tips) for (const b of tips) if (a !== b) asked.set(`${a} ${b}`, [a, b])
  }
  return [...asked.values()]
}

function tipsByRef({ owner, delegates, refsOf }: Voting): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const voter of new Set([owner, ...delegates])) {
    for (const [ref, tip] of refsOf.get(voter) ?? []) found.set(ref, [...(found.get(ref) ?? []), tip])
  }
  return found
}

function elect(votes: readonly string[], threshold: number, reaches: IsAncestor) {
  const tips = [...new Set(votes)].sort()
  const elected = tips.filter((tip) => votes.filter((vote) => reaches(tip, vote)).length >= threshold)
  const rivals = elected.filter((tip) => !elected.some((other) => other !== tip && reaches(tip, other)))
  if (rivals.length === 1) return { standing: rivals[0], rivals }
  const shared = elected.filter((tip) => rivals.every((rival) => reaches(tip, rival)))
  return { standing: shared.find((tip) => shared.every((other) => reaches(other, tip))), rivals }
}

export interface WriterMove {
  readonly ref: string
  /** Null: the ref was, or is to be, absent */
  readonly old: string | null
  readonly new: string | null
}

/**
 * What an owner takes over by itself from a delegate's new record: its moves that only go forward from where the canonical ref stands, and refs that are new to
 * both. A deletion, a rewrite, and a ref that the owner deleted meanwhile wait for somebody to decide.
 */
export function takeOver(canonical: RefSet, moves: readonly WriterMove[], isAncestor: IsAncestor): WriterMove[] {
  return moves.flatMap(({ ref, old, new: tip }) => {
    const standing = canonical.get(ref) ?? null
    if (tip === null || tip === standing) return []
    const goesForward = standing === null ? old === null : isAncestor(standing, tip)
    return goesForward ? [{ ref, old: standing, new: tip }] : []
  })
}
