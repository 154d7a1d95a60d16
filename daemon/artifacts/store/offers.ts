/**
 * What delegates offer an owner, until it was looked at: written by the append that takes their records, gone with the owner's own record that follows, or when there is
 * nothing to follow. So a crash or a full disk between the two only delays it. What the owner itself moves meanwhile is decided: it is offered no more.
 *
 *   artifact-offer   <artifact>   OfferRow: moves of delegates, a writer's in one piece
 */
import { takeOver } from '../../../protocol/artifact/canonical-refs.ts'
import type { Journal, TableWrite } from '../../journal/journal.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { ancestors, MAX_PAIRS } from './ancestry.ts'
import type { RefMove } from './artifact-store.ts'
import type { Repositories } from './repositories.ts'
import { decodeOfferRow, encodeRow, type OfferRow, TABLES } from './rows.ts'
import { type ArtifactState, canonicalOf } from './state.ts'

/** One delegate's offer, looked at. */
export interface Following {
  /** What the owner takes over; may be none */
  readonly moves: readonly RefMove[]
  readonly reason: string
  /** With it the offer is gone */
  readonly writes: readonly TableWrite[]
}

const PAGE = 200
/** Why a record cannot be made now; all else is a reason against these moves. */
const MAY_PASS: ReadonlySet<string> = new Set(['E_STORAGE', 'E_QUOTA', 'E_TIMEOUT', 'E_OVERLOADED', 'E_STOPPING'])

export class Offers {
  readonly #journal: Journal
  readonly #repositories: Repositories
  readonly #self: string

  constructor(journal: Journal, repositories: Repositories, self: string) {
    this.#journal = journal
    this.#repositories = repositories
    this.#self = self
  }

  /** To be written with the records that make these moves. @param next the state after them @param moves of each writer */
  made(next: ArtifactState, moves: ReadonlyMap<string, readonly RefMove[]>): TableWrite[] {
    const { id } = next.row
    const canonical = canonicalOf(next)
    const isNews = ({ ref, new: tip }: RefMove): boolean => tip !== null && tip !== canonical.get(ref)
    const fresh = [...moves]
      .filter(([writer]) => this.#counts(next, writer))
      .map(([writer, offered]) => [writer, offered.filter(isNews)] as const)
      .filter(([, offered]) => offered.length > 0)
    if (fresh.length === 0) return []
    const row = new Map(this.#row(id))
    for (const [writer, offered] of fresh) row.set(writer, joined(row.get(writer) ?? [], offered))
    return [offerWrite(id, row)]
  }

  /** To be written with the owner's own record. */
  decided(id: string, moves: readonly RefMove[]): TableWrite[] {
    const row = this.#row(id)
    if (row.size === 0) return []
    const isOpen = ({ ref }: RefMove): boolean => !moves.some((move) => move.ref === ref)
    const left = [...row].map(([writer, offered]) => [writer, offered.filter(isOpen)] as const)
    return [offerWrite(id, new Map(left.filter(([, offered]) => offered.length > 0)))]
  }

  /**
   * Answers all offers, one delegate's after the other. In the artifact's turn.
   * @param take makes a record of them @throws MeshError E_TOO_LARGE, E_TIMEOUT, E_STORAGE, and what `take` throws; what is left is answered the next time
   */
  async follow(state: () => ArtifactState, take: (following: Following) => Promise<unknown>): Promise<void> {
    for (let next; (next = await this.#next(state())) !== undefined; ) {
      if (next.moves.length > 0 && (await isTaken(take(next)))) continue
      const body = encodeRow({ artifact: state().row.id })
      await this.#journal.append({ type: 'artifact.settled', body, writes: next.writes })
    }
  }

  async #next(state: ArtifactState): Promise<Following | undefined> {
    const { id } = state.row
    const row = this.#row(id)
    const [first] = row
    if (first === undefined) return undefined
    const [writer, offered] = first
    const moves = this.#counts(state, writer) ? await this.#takenOver(state, offered) : []
    const rest = new Map([...row].filter(([other]) => other !== writer))
    return { moves, reason: `follows the delegate ${writer}`, writes: [offerWrite(id, rest)] }
  }

  /** Artifacts with offers, in order of ids. */
  async ids(): Promise<string[]> {
    const ids: string[] = []
    for (;;) {
      const after = ids.at(-1)
      const options = { limit: PAGE, ...(after === undefined ? {} : { after }) }
      const page = await this.#journal.range(TABLES.offer, options)
      ids.push(...page.map(({ key }) => key))
      if (page.length < PAGE) return ids
    }
  }

  /** Where a quorum decides, nobody follows by himself. */
  #counts({ row }: ArtifactState, writer: string): boolean {
    const { delegates, threshold } = row.settings
    return row.genesis.owner === this.#self && threshold <= 1 && delegates.includes(writer)
  }

  async #takenOver(state: ArtifactState, offered: readonly RefMove[]): Promise<readonly RefMove[]> {
    const canonical = canonicalOf(state)
    const pairs = offered.flatMap(({ ref, new: tip }) => {
      const standing = canonical.get(ref)
      return standing === undefined || tip === null ? [] : [[standing, tip] as const]
    })
    // Small objects that were just taken are in no file before
    const path = pairs.length === 0 ? this.#repositories.path(state.row.id) : await this.#repositories.prepare(state)
    return takeOver(canonical, offered, await ancestors(path, pairs.slice(0, MAX_PAIRS)))
  }

  #row(id: string): ReadonlyMap<string, readonly RefMove[]> {
    const value = this.#journal.get(TABLES.offer, id)
    return new Map(value === undefined ? [] : decodeOfferRow(value).map(({ writer, moves }) => [writer, moves]))
  }
}

/** @returns false when it cannot be taken, now or later. @throws what may pass */
async function isTaken(taking: Promise<unknown>): Promise<boolean> {
  try {
    await taking
    return true
  } catch (error) {
    if (error instanceof MeshError && !MAY_PASS.has(error.code)) return false
    throw error
  }
}

/** Two offers of one writer as one: each ref from where it was before the first. */
function joined(earlier: readonly RefMove[], later: readonly RefMove[]): RefMove[] {
  const all = new Map(earlier.map((move) => [move.ref, move]))
  for (const move of later) all.set(move.ref, { ...move, old: (all.get(move.ref) ?? move).old })
  return [...all.values()]
}

function offerWrite(id: string, row: ReadonlyMap<string, readonly RefMove[]>): TableWrite {
  const value: OfferRow = [...row].map(([writer, moves]) => ({ writer, moves: [...moves] }))
  return { table: TABLES.offer, key: id, ...(row.size === 0 ? {} : { value: encodeRow(value) }) }
}
