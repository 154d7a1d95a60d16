/**
 * Replication of one artifact as one node sees it: who holds what, what to fetch from whom, whom to tell, and, on the node that coordinates, whom to ask to hold a
 * copy or to give one up. Pure: `(state, input, surroundings) -> state + effects`; signatures were checked before, time and chance come from outside.
 *
 * What nodes tell each other is one thing only: a signed **holding**, "I hold this artifact up to these records, on disk". It announces news to those who lack them
 * and acknowledges them to those who made them.
 *
 * Invariants
 *   R1  a holding is told only of what is durable here, and again after every change and on every new link, to everyone known to hold the artifact
 *   R2  at most one fetch at a time; what failed is tried again after a growing pause, elsewhere first
 *   R3  one node coordinates as seen from each side of a partition: the owner, or while it is away the holder with the lowest id. Two sides may therefore place more
 *       copies than needed, never fewer
 *   R4  a holder is lost after `graceMs` without a link, and counts again as soon as it is back
 *   R5  only copies that were asked for are given up again, never one that the contract names, and never below `min`; whoever gives up checks that others hold all it has (give-up.ts)
 */
import { type Heads, headsDigest, newsIn } from './heads.ts'

export interface Contract {
  /** Holders below which copies are placed, the coordinator among them */
  readonly min: number
  /** Holders above which copies are given up */
  readonly max: number
  /** Nodes that must hold it */
  readonly mustInclude: readonly string[]
}

export interface Holder {
  readonly heads: Heads
  /** It holds because it was asked to, and may be asked to give it up */
  readonly placed: boolean
}

/** Attempts that failed in a row, and when the next may begin. */
interface Pause {
  readonly attempts: number
  readonly until: number
}

export interface ReplicaState {
  readonly owner: string
  readonly contract: Contract
  readonly heads: Heads
  /** Other nodes that hold it, by what they said last */
  readonly holders: ReadonlyMap<string, Holder>
  /** What was told to whom: the link and the digest of the heads */
  readonly told: ReadonlyMap<string, { readonly link: number; readonly digest: string }>
  /** Whom it is fetched from now */
  readonly fetching: string | undefined
  readonly fetchPauses: ReadonlyMap<string, Pause>
  /** Nodes asked to hold it that do not yet, and when each is given up */
  readonly asking: ReadonlyMap<string, number>
  readonly askPauses: ReadonlyMap<string, Pause>
  /** Nodes asked to give it up that have not answered */
  readonly releasing: ReadonlySet<string>
}

export type ReplicaInput =
  /** Something changed here, durably: everyone is told anew */
  | { readonly type: 'changed'; readonly heads: Heads; readonly contract: Contract }
  | ({ readonly type: 'holding'; readonly peer: string } & Holder)
  /** It does not hold the artifact (any more), or must not */
  | { readonly type: 'gone'; readonly peer: string }
  | { readonly type: 'untold'; readonly peer: string }
  | { readonly type: 'fetched'; readonly peer: string; readonly ok: boolean }
  | { readonly type: 'asked'; readonly peer: string; readonly accepted: boolean }
  | { readonly type: 'released'; readonly peer: string; readonly done: boolean }
  | { readonly type: 'tick' }

export type ReplicaEffect = { readonly type: 'tell' | 'fetch' | 'ask' | 'release'; readonly peer: string }

export interface Surroundings {
  readonly self: string
  /** Milliseconds, monotonic */
  readonly now: number
  /** In [0, 1) */
  readonly random: () => number
  /** Number of the link to a peer, different for each; undefined while there is none */
  readonly link: (peer: string) => number | undefined
  /** How long a peer has been without a link, milliseconds; since this node started when it never had one */
  readonly awayMs: (peer: string) => number
  /** Linked peers that may hold it and are able to, best first */
  readonly candidates: () => readonly string[]
}

export interface ReplicaTimes {
  /** How long a holder may be away before its copy counts as lost */
  readonly graceMs: number
  /** First pause after a failure; doubles */
  readonly pauseMs: number
  /** How long a node that agreed to hold a copy may take until it does */
  readonly placeMs: number
  readonly maxPauseMs: number
}
export const REPLICA_TIMES: ReplicaTimes = { graceMs: 30_000, placeMs: 300_000, pauseMs: 500, maxPauseMs: 60_000 }

export interface ReplicaStep {
  readonly state: ReplicaState
  readonly effects: readonly ReplicaEffect[]
}

/**
 * The state of an artifact at rest: all linked holders were told what is held. Whoever learns otherwise says `untold`, or `changed` after a change; what happened
 * while nobody looked (a crash, a lost link) comes up when digests are compared on each new link.
 */
export function startReplica(
  facts: Pick<ReplicaState, 'owner' | 'contract' | 'heads' | 'holders'>,
  link: Surroundings['link'],
): ReplicaState {
  const digest = headsDigest(facts.heads)
  const linked = [...facts.holders.keys()].flatMap((peer) => {
    const number = link(peer)
    return number === undefined ? [] : [[peer, { link: number, digest }] as const]
  })
  return {
    ...facts,
    told: new Map(linked),
    fetching: undefined,
    fetchPauses: new Map(),
    asking: new Map(),
    askPauses: new Map(),
    releasing: new Set(),
  }
}

export function stepReplica(
  state: ReplicaState,
  input: ReplicaInput,
  around: Surroundings,
  times: ReplicaTimes = REPLICA_TIMES,
): ReplicaStep {
  const draft = new Draft(take(state, input, around, times), around, times)
  draft.fetch()
  draft.tell()
  if (coordinates(draft.state, around, times)) draft.place()
  return { state: draft.state, effects: draft.effects }
}

function take(state: ReplicaState, input: ReplicaInput, around: Surroundings, times: ReplicaTimes): ReplicaState {
  switch (input.type) {
    case 'changed':
      return { ...state, heads: input.heads, contract: input.contract, told: new Map() }
    case 'holding': {
      const { peer, heads, placed } = input
      const holders = withEntry(state.holders, peer, { heads, placed })
      // An empty one is hearsay: it is told of us, and counts until it says otherwise
      return heads.size === 0 ? { ...state, holders } : { ...state, holders, asking: without(state.asking, peer) }
    }
    case 'gone':
      return withoutHolder({ ...state, releasing: excluding(state.releasing, input.peer) }, input.peer)
    case 'untold':
      return { ...state, told: without(state.told, input.peer) }
    case 'fetched': {
      const pauses = paused(state.fetchPauses, input.peer, input.ok, around, times)
      return { ...state, fetching: undefined, fetchPauses: pauses }
    }
    case 'asked': {
      if (!state.asking.has(input.peer)) return state
      if (!input.accepted) return refusedBy(state, input.peer, around, times)
      return { ...state, asking: withEntry(state.asking, input.peer, around.now + times.placeMs) }
    }
    case 'released': {
      const releasing = excluding(state.releasing, input.peer)
      const pauses = paused(state.askPauses, input.peer, input.done, around, times)
      if (!input.done) return { ...state, releasing, askPauses: pauses }
      return withoutHolder({ ...state, releasing }, input.peer)
    }
    case 'tick':
      return [...state.asking]
        .filter(([peer, until]) => until <= around.now || around.link(peer) === undefined)
        .reduce((rest, [peer]) => refusedBy(rest, peer, around, times), state)
  }
}

function withoutHolder(state: ReplicaState, peer: string): ReplicaState {
  return { ...state, holders: without(state.holders, peer), told: without(state.told, peer) }
}

function refusedBy(state: ReplicaState, peer: string, around: Surroundings, times: ReplicaTimes): ReplicaState {
  const askPauses = paused(state.askPauses, peer, false, around, times)
  return { ...state, asking: without(state.asking, peer), askPauses }
}

/** Whether this node is the one that places copies now (R3). */
export function coordinates(state: ReplicaState, around: Surroundings, times = REPLICA_TIMES): boolean {
  const { owner, holders } = state
  const { self, link } = around
  if (self === owner) return true
  if (link(owner) !== undefined || around.awayMs(owner) < times.graceMs) return false
  return [...holders.keys()].every((peer) => link(peer) === undefined || self < peer)
}

/** Whether nothing is under way or due: the state need not be kept, since it can be had again from what is stored. */
export function isAtRest(state: ReplicaState, around: Surroundings, times = REPLICA_TIMES): boolean {
  if (state.fetching !== undefined || state.asking.size > 0 || state.releasing.size > 0) return false
  const digest = headsDigest(state.heads)
  for (const [peer, { heads }] of state.holders) {
    const link = around.link(peer)
    if (link === undefined ? around.awayMs(peer) < times.graceMs : !hasTold(state, peer, link, digest)) return false
    if (link !== undefined && newsIn(heads, state.heads).length > 0) return false
  }
  return !coordinates(state, around, times) || missing(state, around, times) === 0
}

/** Copies the contract lacks now, counting those asked for as lacking. */
export function missing(state: ReplicaState, around: Surroundings, times = REPLICA_TIMES): number {
  const present = presentHolders(state, around, times)
  const named = state.contract.mustInclude.filter((node) => node !== around.self && !present.has(node)).length
  return Math.max(state.contract.min - 1 - present.size, named, 0)
}

function presentHolders(state: ReplicaState, around: Surroundings, times: ReplicaTimes): Set<string> {
  const isPresent = (peer: string) => around.link(peer) !== undefined || around.awayMs(peer) < times.graceMs
  return new Set([...state.holders.keys()].filter(isPresent))
}

function hasTold(state: ReplicaState, peer: string, link: number, digest: string): boolean {
  const told = state.told.get(peer)
  return told?.link === link && told.digest === digest
}

/** A state being changed by one step, and what the step does. */
class Draft {
  state: ReplicaState
  readonly effects: ReplicaEffect[] = []
  readonly #around: Surroundings
  readonly #times: ReplicaTimes

  constructor(state: ReplicaState, around: Surroundings, times: ReplicaTimes) {
    this.state = state
    this.#around = around
    this.#times = times
  }

  /** From the holder that failed least among those that have news (R2). */
  fetch(): void {
    if (this.state.fetching !== undefined) return
    const { link, now } = this.#around
    const failures = (peer: string) => this.state.fetchPauses.get(peer)?.attempts ?? 0
    const [peer] = [...this.state.holders]
      .filter(([holder, { heads }]) => link(holder) !== undefined && newsIn(heads, this.state.heads).length > 0)
      .map(([holder]) => holder)
      .filter((holder) => (this.state.fetchPauses.get(holder)?.until ?? 0) <= now)
      .sort((a, b) => failures(a) - failures(b))
    if (peer === undefined) return
    this.state = { ...this.state, fetching: peer }
    this.effects.push({ type: 'fetch', peer })
  }

  /** R1 */
  tell(): void {
    if (this.state.heads.size === 0) return
    const digest = headsDigest(this.state.heads)
    for (const peer of this.state.holders.keys()) {
      const link = this.#around.link(peer)
      if (link === undefined || hasTold(this.state, peer, link, digest)) continue
      this.state = { ...this.state, told: withEntry(this.state.told, peer, { link, digest }) }
      this.effects.push({ type: 'tell', peer })
    }
  }

  place(): void {
    const lacking = this.#named() + this.#anyone()
    if (lacking === 0) this.#giveUp()
  }

  /** Asks those the contract names. Returns how many of them do not hold it yet. */
  #named(): number {
    const { self, link } = this.#around
    const named = this.state.contract.mustInclude.filter((node) => node !== self && !this.state.holders.has(node))
    for (const node of named) if (link(node) !== undefined) this.#ask(node)
    return named.length
  }

  /** Asks the best candidates for what is lacking still. Returns how many copies that are. */
  #anyone(): number {
    const present = presentHolders(this.state, this.#around, this.#times)
    const lacking = this.state.contract.min - 1 - present.size
    let wanted = lacking - this.state.asking.size
    for (const node of wanted > 0 ? this.#around.candidates() : []) {
      if (wanted <= 0) break
      if (!this.state.holders.has(node) && this.#ask(node)) wanted--
    }
    return Math.max(0, lacking)
  }

  #ask(peer: string): boolean {
    const { self, now } = this.#around
    const isPaused = (this.state.askPauses.get(peer)?.until ?? 0) > now
    if (peer === self || isPaused || this.state.asking.has(peer)) return false
    this.state = { ...this.state, asking: withEntry(this.state.asking, peer, now + this.#times.graceMs) }
    this.effects.push({ type: 'ask', peer })
    return true
  }

  /** R5: the least suited of those that were asked, one at a time. Only what everyone linked has is safe to give up. */
  #giveUp(): void {
    const { contract, holders, releasing, askPauses } = this.state
    const { link, candidates, now } = this.#around
    const linked = [...holders.keys()].filter((peer) => link(peer) !== undefined)
    if (releasing.size > 0 || linked.length + 1 <= Math.max(contract.max, contract.min)) return
    const order = candidates()
    const [peer] = linked
      .filter((holder) => holders.get(holder)?.placed === true && !contract.mustInclude.includes(holder))
      .filter((holder) => holder !== this.state.owner && (askPauses.get(holder)?.until ?? 0) <= now)
      .filter((holder) => newsIn(holders.get(holder)?.heads ?? new Map(), this.state.heads).length === 0)
      .sort((a, b) => rank(order, b) - rank(order, a) || (a < b ? -1 : 1))
    if (peer === undefined) return
    this.state = { ...this.state, releasing: new Set([peer]) }
    this.effects.push({ type: 'release', peer })
  }
}

function rank(order: readonly string[], peer: string): number {
  const at = order.indexOf(peer)
  return at < 0 ? order.length : at
}

/** After the n-th failure in a row, uniform in [half, whole] of `pauseMs * 2^(n-1)`, at most `maxPauseMs`. */
function paused(
  pauses: ReadonlyMap<string, Pause>,
  peer: string,
  ok: boolean,
  { now, random }: Surroundings,
  { pauseMs, maxPauseMs }: ReplicaTimes,
): ReadonlyMap<string, Pause> {
  if (ok) return without(pauses, peer)
  const attempts = (pauses.get(peer)?.attempts ?? 0) + 1
  const whole = Math.min(maxPauseMs, pauseMs * 2 ** Math.min(attempts - 1, 30))
  return withEntry(pauses, peer, { attempts, until: now + whole * (0.5 + random() / 2) })
}

function withEntry<V>(map: ReadonlyMap<string, V>, key: string, value: V): ReadonlyMap<string, V> {
  return new Map(map).set(key, value)
}

function without<V>(map: ReadonlyMap<string, V>, key: string): ReadonlyMap<string, V> {
  if (!map.has(key)) return map
  const copy = new Map(map)
  copy.delete(key)
  return copy
}

function excluding(set: ReadonlySet<string>, key: string): ReadonlySet<string> {
  return new Set([...set].filter((each) => each !== key))
}
