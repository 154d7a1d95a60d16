/**
 * How one task finds a node and is held there: the delegator's side of the lease. Pure: state and input in, state and effects out; times are
 * milliseconds of the caller's monotonic clock.
 *
 *   finding --candidates--> offering --bids--> granting --granted--> binding --bound--> held --result--> ended
 *      ^                        |                                       |                 |
 *      |<--- resting <-- all refuse (busy) ----------------- refused ---+                 | connection lost
 *      |                                                                                  v
 *      +<------------------------------- lease ran out ------------------------------- suspect
 *
 * Invariants
 * D1  Epochs only grow, and each is durable (`grant` answered by `granted`) before a bind carries it.
 * D2  A new epoch is granted only when the node before cannot believe in its lease any more: it refused, it gave the work back,
 *     it was fenced by revocation, or its lease as seen here (which ends no earlier than as seen there) has run out.
 * D3  At most one result is accepted, and only from the holder of the current epoch. Everything later is refused.
 * D4  Every phase but `ended` has a time at which something happens, so no wait is endless.
 */
import type { ErrorCode } from '../errors.ts'

export interface DelegationConfig {
  /** How long a lease lasts without renewal */
  readonly leaseMs: number
  /** Longest wait for answers to offers: only a guard, the decision falls with the answers */
  readonly answerMs: number
  /** Longest wait for a bind to be confirmed, counted anew whenever the node has taken more of it: program and inputs may be large, and its link narrow */
  readonly bindMs: number
  /** How long a task may look for a node that is able but busy before it fails; not counting what a bind takes to arrive */
  readonly patienceMs: number
  /** First pause after all nodes refused; doubles up to 16 times that */
  readonly restMs: number
  /** Leases lost before the task fails with E_EXECUTOR_LOST */
  readonly maxEpochs: number
}

export const DELEGATION_DEFAULTS: DelegationConfig = Object.freeze({
  leaseMs: 10_000,
  answerMs: 2_000,
  bindMs: 20_000,
  patienceMs: 30_000,
  restMs: 50,
  maxEpochs: 8,
})

/** How often the time for answers is given once more when none came in it. */
const LATE_ROUNDS = 3

export interface ScoredBid {
  readonly node: string
  /** Milliseconds, lower is better */
  readonly score: number
}

export interface Ending {
  readonly state: 'completed' | 'failed' | 'canceled' | 'rejected'
  readonly code?: ErrorCode
  readonly message?: string
  /** What to do about it */
  readonly hint?: string
}

export type Phase =
  | { readonly kind: 'finding' }
  | { readonly kind: 'resting'; readonly until: number; readonly rests: number }
  | {
      readonly kind: 'offering'
      readonly asked: number
      readonly waiting: readonly string[]
      readonly bids: readonly ScoredBid[]
      readonly until: number
      /** The time for a choice is over and there was none: the first answer decides */
      readonly isLate?: boolean
    }
  | { readonly kind: 'granting'; readonly node: string }
  | { readonly kind: 'binding'; readonly node: string; readonly until: number }
  | { readonly kind: 'held'; readonly node: string; readonly leaseEnds: number }
  | { readonly kind: 'suspect'; readonly node: string; readonly leaseEnds: number }
  | { readonly kind: 'ended'; readonly ending: Ending }

export interface Delegation {
  readonly phase: Phase
  /** Of the last lease given; 0 before the first */
  readonly epoch: number
  /** Leases that came to nothing. Fewer than epochs: a node that refused had none, and the pieces of a map count their epochs together */
  readonly losses: number
  /** Bids not chosen, best first: tried next if the chosen node refuses */
  readonly reserve: readonly ScoredBid[]
  /** Nodes that refused or were lost since candidates were last asked for */
  readonly avoid: readonly string[]
  readonly rests: number
  /** When the search began that has not yet led to a lease; later by the time in which nodes took binds */
  readonly searchingSince: number
  /** The task's own deadline */
  readonly deadline: number | undefined
}

export type DelegationInput =
  /** Who could take it, best first. `bindNow`: needs no offer. `hopeless`: nobody ever will. */
  | {
      readonly type: 'candidates'
      readonly nodes: readonly string[]
      readonly bindNow?: string
      readonly hopeless?: { readonly code: ErrorCode; readonly message: string; readonly hint?: string }
    }
  | { readonly type: 'bid'; readonly bid: ScoredBid }
  /** No to an offer or a bind, or no answer to one. */
  | { readonly type: 'refused'; readonly node: string; readonly epoch: number; readonly retryAfterMs?: number }
  /** The epoch asked for by `grant` is durable. */
  | { readonly type: 'granted'; readonly epoch: number }
  /** The node has taken more of the bind. */
  | { readonly type: 'taking'; readonly node: string; readonly epoch: number }
  | { readonly type: 'bound'; readonly node: string; readonly epoch: number }
  | { readonly type: 'renew'; readonly node: string; readonly epoch: number; readonly number: number }
  /** `again`: the node gives the work back unfinished (its executor died, it is draining). */
  | {
      readonly type: 'result'
      readonly node: string
      readonly epoch: number
      readonly verdict: 'completed' | 'failed' | 'again'
    }
  /** The connection to the node is gone: a suspicion, no proof. */
  | { readonly type: 'lost'; readonly node: string }
  /** The node was put out of the mesh: its lease is void at once. */
  | { readonly type: 'fenced'; readonly node: string }
  | { readonly type: 'cancel' }
  /** The task cannot be served any more, e.g. its client left or its intent could not be stored. */
  | { readonly type: 'fail'; readonly code: ErrorCode; readonly message: string; readonly hint?: string }
  | { readonly type: 'tick' }

export type DelegationEffect =
  | { readonly type: 'find'; readonly avoid: readonly string[] }
  | { readonly type: 'offer'; readonly to: readonly string[] }
  /** Make this epoch durable, then answer `granted`. */
  | { readonly type: 'grant'; readonly epoch: number; readonly node: string }
  | { readonly type: 'bind'; readonly node: string; readonly epoch: number }
  | { readonly type: 'renewed'; readonly node: string; readonly epoch: number; readonly number: number }
  /** Tell the node to stop; best effort. */
  | { readonly type: 'withdraw'; readonly node: string; readonly epoch: number }
  /** The result that came in is the one: store it, then tell the node. */
  | { readonly type: 'accept'; readonly node: string; readonly epoch: number }
  | { readonly type: 'refuse'; readonly node: string; readonly epoch: number; readonly code: ErrorCode }
  | { readonly type: 'settle'; readonly ending: Ending }
  | { readonly type: 'wake'; readonly at: number }

export interface Step {
  readonly state: Delegation
  readonly effects: readonly DelegationEffect[]
}

/**
 * A new task, or one recovered after a restart: then `epoch` is the last that may have been given and `heldUntil` when its holder must have stopped. How many
 * leases were lost before the restart is not known: all count, so that work that ends its delegator does not do so for ever.
 */
export function startDelegation(
  now: number,
  options: {
    readonly epoch?: number
    readonly heldUntil?: number
    readonly holder?: string
    readonly deadline?: number
  } = {},
): Step {
  const base: Delegation = {
    phase: { kind: 'finding' },
    epoch: options.epoch ?? 0,
    losses: options.heldUntil === undefined ? 0 : Math.max(0, (options.epoch ?? 0) - 1),
    reserve: [],
    avoid: [],
    rests: 0,
    searchingSince: now,
    deadline: options.deadline,
  }
  if (options.heldUntil !== undefined && options.heldUntil > now) {
    const phase: Phase = { kind: 'suspect', node: options.holder ?? '', leaseEnds: options.heldUntil }
    return { state: { ...base, phase }, effects: [{ type: 'wake', at: options.heldUntil }] }
  }
  return { state: base, effects: [{ type: 'find', avoid: [] }] }
}

export function stepDelegation(state: Delegation, input: DelegationInput, now: number, config: DelegationConfig): Step {
  if (state.phase.kind === 'ended') return afterEnd(state, input)
  switch (input.type) {
    case 'candidates':
      return onCandidates(state, input, now, config)
    case 'bid':
      return onBid(state, input.bid, now, config)
    case 'refused':
      return onRefused(state, input, now, config)
    case 'granted':
      return onGranted(state, input.epoch, now, config)
    case 'taking':
      return holds(state, input) && state.phase.kind === 'binding'
        ? onTaking(state, state.phase, now, config)
        : stay(state)
    case 'bound':
      return holds(state, input) && state.phase.kind === 'binding' ? held(state, input.node, now, config) : stay(state)
    case 'renew':
      return onRenew(state, input, now, config)
    case 'result':
      return onResult(state, input, now, config)
    case 'lost':
      return onLost(state, input.node, now, config)
    case 'fenced':
      return onFenced(state, input.node, now, config)
    case 'cancel':
      return end(state, { state: 'canceled', code: 'E_CANCELED', message: 'The task was canceled' })
    case 'fail':
      return end(state, failed(input))
    case 'tick':
      return onTick(state, now, config)
  }
}

function onCandidates(
  state: Delegation,
  input: Extract<DelegationInput, { type: 'candidates' }>,
  now: number,
  config: DelegationConfig,
): Step {
  if (state.phase.kind !== 'finding') return stay(state)
  if (input.bindNow !== undefined) return grant({ ...state, reserve: [] }, input.bindNow)
  if (input.hopeless !== undefined) return end(state, { state: 'failed', ...input.hopeless })
  if (input.nodes.length === 0) return rest(state, now, config)
  const until = now + config.answerMs
  const phase: Phase = { kind: 'offering', asked: input.nodes.length, waiting: input.nodes, bids: [], until }
  return { state: { ...state, phase }, effects: [{ type: 'offer', to: input.nodes }, wake(state, until)] }
}

function onBid(state: Delegation, bid: ScoredBid, now: number, config: DelegationConfig): Step {
  const { phase } = state
  if (phase.kind !== 'offering' || !phase.waiting.includes(bid.node)) return stay(state)
  return decide(
    state,
    { ...phase, waiting: phase.waiting.filter((node) => node !== bid.node), bids: [...phase.bids, bid] },
    now,
    config,
  )
}

/** All that were asked may be far away: asked once more they would answer no sooner. */
function lateOffers(
  state: Delegation,
  phase: Extract<Phase, { kind: 'offering' }>,
  now: number,
  config: DelegationConfig,
): Step {
  const until = now + LATE_ROUNDS * config.answerMs
  return { state: { ...state, phase: { ...phase, until, isLate: true } }, effects: [wake(state, until)] }
}

/** Binds to the best of the first half of the answers: one node that hangs delays nobody. */
function decide(
  state: Delegation,
  phase: Extract<Phase, { kind: 'offering' }>,
  now: number,
  config: DelegationConfig,
): Step {
  const wanted = phase.isLate ? 1 : Math.ceil(phase.asked / 2)
  const enough = phase.waiting.length === 0 || phase.bids.length >= wanted
  if (!enough) return { state: { ...state, phase }, effects: [] }
  const [best, ...reserve] = [...phase.bids].sort((a, b) => a.score - b.score)
  return best === undefined ? rest(state, now, config) : grant({ ...state, reserve }, best.node)
}

function onRefused(
  state: Delegation,
  input: Extract<DelegationInput, { type: 'refused' }>,
  now: number,
  config: DelegationConfig,
): Step {
  const { phase } = state
  const avoided = avoiding(state, input.node)
  if (phase.kind === 'offering' && phase.waiting.includes(input.node)) {
    return decide(avoided, { ...phase, waiting: phase.waiting.filter((node) => node !== input.node) }, now, config)
  }
  if (phase.kind === 'binding' && phase.node === input.node && input.epoch === state.epoch)
    return next(avoided, now, config)
  return stay(state)
}

/** The next best bid, or a new search. */
function next(state: Delegation, now: number, config: DelegationConfig): Step {
  const [best, ...reserve] = state.reserve.filter((bid) => !state.avoid.includes(bid.node))
  return best === undefined ? rest({ ...state, reserve: [] }, now, config) : grant({ ...state, reserve }, best.node)
}

function onGranted(state: Delegation, epoch: number, now: number, config: DelegationConfig): Step {
  if (state.phase.kind !== 'granting' || epoch !== state.epoch) return stay(state)
  const { node } = state.phase
  return withEffects(binding(state, node, now, config), [{ type: 'bind', node, epoch }])
}

function binding(state: Delegation, node: string, now: number, config: DelegationConfig): Step {
  const until = now + config.bindMs
  return { state: { ...state, phase: { kind: 'binding', node, until } }, effects: [wake(state, until)] }
}

/** While a node takes the bind nobody is looked for: that may take longer than the patience, and the node refuse it then. */
function onTaking(
  state: Delegation,
  { node, until }: Extract<Phase, { kind: 'binding' }>,
  now: number,
  config: DelegationConfig,
): Step {
  const since = until - config.bindMs
  return binding({ ...state, searchingSince: state.searchingSince + now - since }, node, now, config)
}

function onRenew(
  state: Delegation,
  input: Extract<DelegationInput, { type: 'renew' }>,
  now: number,
  config: DelegationConfig,
): Step {
  if (!holds(state, input)) {
    return { state, effects: [{ type: 'refuse', node: input.node, epoch: input.epoch, code: 'E_STALE_LEASE' }] }
  }
  const step = held(state, input.node, now, config)
  const { node, epoch, number } = input
  return { state: step.state, effects: [{ type: 'renewed', node, epoch, number }, ...step.effects] }
}

function onResult(
  state: Delegation,
  input: Extract<DelegationInput, { type: 'result' }>,
  now: number,
  config: DelegationConfig,
): Step {
  if (!holds(state, input)) {
    return { state, effects: [{ type: 'refuse', node: input.node, epoch: input.epoch, code: 'E_STALE_LEASE' }] }
  }
  if (input.verdict === 'again') return again(avoiding(state, input.node), now, config)
  const ending: Ending = { state: input.verdict }
  return {
    state: { ...state, phase: { kind: 'ended', ending } },
    effects: [
      { type: 'accept', node: input.node, epoch: input.epoch },
      { type: 'settle', ending },
    ],
  }
}

function onLost(state: Delegation, node: string, now: number, config: DelegationConfig): Step {
  const { phase } = state
  switch (phase.kind) {
    case 'offering':
      return onRefused(state, { type: 'refused', node, epoch: state.epoch }, now, config)
    case 'held':
      return phase.node === node ? suspect(state, node, phase.leaseEnds) : stay(state)
    case 'binding':
      // The bind may have arrived: its lease would have begun before now (D2).
      return phase.node === node ? suspect(state, node, now + config.leaseMs) : stay(state)
    default:
      return stay(state)
  }
}

function suspect(state: Delegation, node: string, leaseEnds: number): Step {
  return { state: { ...state, phase: { kind: 'suspect', node, leaseEnds } }, effects: [wake(state, leaseEnds)] }
}

function onFenced(state: Delegation, node: string, now: number, config: DelegationConfig): Step {
  const { phase } = state
  if (phase.kind === 'offering') return onLost(state, node, now, config)
  const holder = 'node' in phase ? phase.node : undefined
  return holder === node ? again(avoiding(state, node), now, config) : stay(state)
}

function onTick(state: Delegation, now: number, config: DelegationConfig): Step {
  const { phase } = state
  if (state.deadline !== undefined && now >= state.deadline) {
    return end(state, { state: 'failed', code: 'E_DEADLINE', message: 'The task did not end before its deadline' })
  }
  switch (phase.kind) {
    case 'resting':
      if (now < phase.until) return waitMore(state, phase.until)
      return { state: { ...state, phase: { kind: 'finding' }, avoid: [] }, effects: [{ type: 'find', avoid: [] }] }
    case 'offering':
      if (now < phase.until) return waitMore(state, phase.until)
      if (phase.bids.length === 0 && !phase.isLate) return lateOffers(state, phase, now, config)
      return decide(state, { ...phase, waiting: [] }, now, config)
    case 'binding':
      // No confirmation: the bind may still arrive, so wait as long as the lease it would start.
      if (now < phase.until) return waitMore(state, phase.until)
      return withEffects(suspect(state, phase.node, now + config.leaseMs), [
        { type: 'withdraw', node: phase.node, epoch: state.epoch },
      ])
    case 'held':
      if (now < phase.leaseEnds) return waitMore(state, phase.leaseEnds)
      return withEffects(again(avoiding(state, phase.node), now, config), [
        { type: 'withdraw', node: phase.node, epoch: state.epoch },
      ])
    case 'suspect':
      return now < phase.leaseEnds ? waitMore(state, phase.leaseEnds) : again(avoiding(state, phase.node), now, config)
    case 'finding':
    case 'granting':
    case 'ended':
      return stay(state)
  }
}

/** The work is free again: search anew, unless it has been lost too often to be chance. */
function again(state: Delegation, now: number, config: DelegationConfig): Step {
  const losses = state.losses + 1
  if (losses >= config.maxEpochs) {
    const message = `The task was lost by ${losses} nodes in a row`
    return end({ ...state, phase: { kind: 'finding' } }, { state: 'failed', code: 'E_EXECUTOR_LOST', message })
  }
  const free: Delegation = { ...state, losses, phase: { kind: 'finding' }, reserve: [], searchingSince: now, rests: 0 }
  return { state: free, effects: [{ type: 'find', avoid: free.avoid }] }
}

function grant(state: Delegation, node: string): Step {
  const epoch = state.epoch + 1
  return { state: { ...state, epoch, phase: { kind: 'granting', node } }, effects: [{ type: 'grant', epoch, node }] }
}

function held(state: Delegation, node: string, now: number, config: DelegationConfig): Step {
  const leaseEnds = now + config.leaseMs
  const phase: Phase = { kind: 'held', node, leaseEnds }
  return { state: { ...state, phase, reserve: [], avoid: [], rests: 0 }, effects: [wake(state, leaseEnds)] }
}

function failed({ code, message, hint }: Extract<DelegationInput, { type: 'fail' }>): Ending {
  return { state: 'failed', code, message, ...(hint === undefined ? {} : { hint }) }
}

function rest(state: Delegation, now: number, config: DelegationConfig): Step {
  if (now - state.searchingSince >= config.patienceMs) {
    const message = 'Every able node was busy for as long as the task may wait'
    const hint = 'Try again later; `manyhands peers` shows who has room'
    return end({ ...state, phase: { kind: 'finding' } }, { state: 'failed', code: 'E_OVERLOADED', message, hint })
  }
  const until = now + config.restMs * 2 ** Math.min(state.rests, 4)
  const phase: Phase = { kind: 'resting', until, rests: state.rests }
  return { state: { ...state, phase, rests: state.rests + 1 }, effects: [wake(state, until)] }
}

function end(state: Delegation, ending: Ending): Step {
  const { phase } = state
  const holder = phase.kind === 'held' || phase.kind === 'binding' || phase.kind === 'suspect' ? phase.node : undefined
  const effects: DelegationEffect[] = [{ type: 'settle', ending }]
  if (holder !== undefined) effects.unshift({ type: 'withdraw', node: holder, epoch: state.epoch })
  return { state: { ...state, phase: { kind: 'ended', ending } }, effects }
}

/** D3: the task has its one result. */
function afterEnd(state: Delegation, input: DelegationInput): Step {
  if (input.type !== 'result' && input.type !== 'renew') return stay(state)
  return { state, effects: [{ type: 'refuse', node: input.node, epoch: input.epoch, code: 'E_STALE_LEASE' }] }
}

function holds(state: Delegation, of: { readonly node: string; readonly epoch: number }): boolean {
  const { phase } = state
  const holding = phase.kind === 'held' || phase.kind === 'binding' || phase.kind === 'suspect'
  return holding && phase.node === of.node && state.epoch === of.epoch
}

function avoiding(state: Delegation, node: string): Delegation {
  return state.avoid.includes(node) ? state : { ...state, avoid: [...state.avoid, node] }
}

function wake(state: Delegation, at: number): DelegationEffect {
  return { type: 'wake', at: state.deadline === undefined ? at : Math.min(at, state.deadline) }
}

function waitMore(state: Delegation, at: number): Step {
  return { state, effects: [wake(state, at)] }
}

function withEffects(step: Step, first: readonly DelegationEffect[]): Step {
  return { state: step.state, effects: [...first, ...step.effects] }
}

function stay(state: Delegation): Step {
  return { state, effects: [] }
}
