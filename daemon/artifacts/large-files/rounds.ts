/**
 * When wanted files are asked for, and where among them to go on. Pure: it is told what happens.
 *
 * A round asks the holders for all that an artifact wants, a part after the other in order of names; between parts other artifacts have their turn. After a round that
 * leaves something comes a pause: 1, 2, 4 ... 32 ticks, from 1 again when something came or a holder was busy. News (a holder has files, a link is new, more is wanted)
 * begin a round at once, or after the one under way, since its first parts were asked without them; they change nothing of the pause.
 */

const MAX_PAUSE = 32

export interface Part {
  /** Names after this one; undefined: from the first */
  readonly after: string | undefined
  /** Holders that failed in this round: they are left alone until the next */
  readonly failed: ReadonlySet<string>
}

export interface Asked {
  /** The last name of the part when more may follow */
  readonly last: string | undefined
  /** Something came, or may come soon */
  readonly isHopeful: boolean
  readonly failed: readonly string[]
}

interface Round {
  after: string | undefined
  isBegun: boolean
  /** There were news since it began */
  again: boolean
  isHopeful: boolean
  readonly failed: Set<string>
}

interface Entry {
  /** Undefined while it rests */
  round: Round | undefined
  /** Ticks until it rests no more */
  left: number
  /** Ticks of the next pause */
  pause: number
}

export class Rounds {
  readonly #entries = new Map<string, Entry>()

  /** Somebody may have what nobody had, or more is wanted. */
  renew(artifact: string): void {
    const entry = this.#entry(artifact)
    if (entry.round === undefined) entry.round = newRound()
    else if (entry.round.isBegun) entry.round.again = true
  }

  /** What to ask for now; undefined when no round is due. Followed by `asked` or `rest`. */
  next(artifact: string): Part | undefined {
    const round = this.#entries.get(artifact)?.round
    if (round === undefined) return undefined
    round.isBegun = true
    return { after: round.after, failed: round.failed }
  }

  /** @returns whether there is more to ask for now */
  asked(artifact: string, { last, isHopeful, failed }: Asked): boolean {
    const { round } = this.#entry(artifact)
    if (round === undefined) return false
    round.after = last
    round.isHopeful ||= isHopeful
    for (const peer of failed) round.failed.add(peer)
    if (last !== undefined) return true
    this.rest(artifact)
    if (!round.again) return false
    this.renew(artifact)
    return true
  }

  /** Ends the round, or what should have become one: the next comes after a pause. */
  rest(artifact: string): void {
    const entry = this.#entry(artifact)
    if (entry.round?.isHopeful === true) entry.pause = 1
    entry.round = undefined
    entry.left = entry.pause
    entry.pause = Math.min(MAX_PAUSE, entry.pause * 2)
  }

  /** Nothing is wanted. */
  end(artifact: string): void {
    this.#entries.delete(artifact)
  }

  /** @returns those whose pause is over */
  tick(): string[] {
    const due: string[] = []
    for (const [artifact, entry] of this.#entries) {
      if (entry.round !== undefined || --entry.left > 0) continue
      entry.round = newRound()
      due.push(artifact)
    }
    return due
  }

  #entry(artifact: string): Entry {
    const entry = this.#entries.get(artifact) ?? { round: undefined, left: 0, pause: 1 }
    this.#entries.set(artifact, entry)
    return entry
  }
}

function newRound(): Round {
  return { after: undefined, isBegun: false, again: false, isHopeful: false, failed: new Set() }
}
