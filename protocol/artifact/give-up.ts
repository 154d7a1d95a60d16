/**
 * Whether a node may give its copy up when another asks for it: R3 and R5 of replication.ts as seen by the one that is asked. It does not take the asker's word for what
 * others hold: who asks may lie, or may not know that others were asked too.
 *
 * The owner decides how many copies there are, so it is enough that the owner has all that is here. In its absence the copy may be the last that is left. Then who asks must
 * be the one that coordinates, and enough others beside it must state that they hold all of it. Nodes that are about to give theirs up state nothing: of two that count on
 * each other, the one that began later finds the other silent. So however many are asked at once, the last one to begin finds as many as the contract wants, and these stay.
 */
import type { Heads } from './heads.ts'
import { holdsAll } from './holding.ts'
import type { Contract } from './replication.ts'

export interface Stated {
  readonly heads: Heads
  readonly lacks?: number
}

export interface GiveUpFacts {
  readonly self: string
  readonly asker: string
  readonly owner: string
  readonly contract: Contract
  /** The copy is here because it was asked for */
  readonly placed: boolean
  readonly mine: Stated
  /** The owner has had no link for longer than a holder may be away */
  readonly isOwnerLost: boolean
  /** Linked nodes that hold it, as far as is known here */
  readonly linked: readonly string[]
  /** What these stated, each for itself */
  readonly stated: ReadonlyMap<string, Stated>
}

export type KeptFor =
  /** It is here on purpose */
  | 'wanted'
  /** Another decides on copies now */
  | 'not-its-to-ask'
  /** Something is here that the asker lacks */
  | 'asker-lacks'
  | 'too-few-others'

/** Why the copy stays; undefined when it may go. */
export function keptFor(facts: GiveUpFacts): KeptFor | undefined {
  const { self, asker, owner, contract, placed, mine, isOwnerLost, linked, stated } = facts
  if (!placed || self === owner || contract.mustInclude.includes(self)) return 'wanted'
  const isCoordinator = isOwnerLost && [self, ...linked].every((node) => asker <= node)
  if (asker !== owner && !isCoordinator) return 'not-its-to-ask'
  const isWhole = (node: string): boolean => holdsAll(stated.get(node), mine)
  if (!isWhole(asker)) return 'asker-lacks'
  const others = linked.filter((node) => node !== asker && isWhole(node)).length
  return asker === owner || others >= othersWanted(contract) ? undefined : 'too-few-others'
}

/** Holders beside the one that asks and the one that is asked. One is wanted whatever the contract says: nobody's word alone is enough. */
function othersWanted({ min }: Contract): number {
  return Math.max(1, min - 1)
}
