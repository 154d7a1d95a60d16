import type { Card } from '../../protocol/card/card.ts'
import type { Directory } from '../../protocol/card/directory.ts'
import type { Member } from '../../protocol/membership/member-list.ts'
import type { NodeFacts } from '../../protocol/placement/rank.ts'

/** What is known is gathered anew after this long at the latest: round trips change, and cards run out. Milliseconds. */
const KEPT_MS = 100

export interface OtherNodesInit {
  readonly self: string
  /** Monotonic milliseconds */
  readonly now: () => number
  readonly card: (peer: string) => Card | undefined
  readonly rttMs: (peer: string) => number | undefined
  readonly distanceMs: (peer: string) => number | undefined
}

/** What placement chooses from beside this node itself. It asks for each task: the answer is kept until a card, a member or a connection changes. */
export class OtherNodes {
  readonly #init: OtherNodesInit
  #kept:
    | {
        readonly members: ReadonlyMap<string, Member>
        readonly directory: Directory
        readonly facts: readonly NodeFacts[]
        readonly until: number
      }
    | undefined

  constructor(init: OtherNodesInit) {
    this.#init = init
  }

  /** Both arguments are values that are replaced, never changed. */
  facts(members: ReadonlyMap<string, Member>, directory: Directory): readonly NodeFacts[] {
    const kept = this.#kept
    const now = this.#init.now()
    if (kept?.members === members && kept.directory === directory && now < kept.until) return kept.facts
    const others = [...members.values()].filter(({ nodeId }) => nodeId !== this.#init.self)
    const facts = others.map((member) => this.#factsOf(member))
    this.#kept = { members, directory, facts, until: now + KEPT_MS }
    return facts
  }

  /** A connection came or went. */
  forget(): void {
    this.#kept = undefined
  }

  #factsOf({ nodeId, name }: Member): NodeFacts {
    const { card, rttMs, distanceMs } = this.#init
    const { executors, labels } = card(nodeId) ?? { executors: [], labels: [] }
    const base = { node: nodeId, name, isSelf: false, isMember: true, labels, executors }
    return { ...base, rttMs: rttMs(nodeId), distanceMs: distanceMs(nodeId) }
  }
}
