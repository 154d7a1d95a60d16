/**
 * The executor's side of a lease: from the bind to the moment it may forget the task. Pure, like `delegation.ts`.
 *
 * Invariants
 * T1  The lease as seen here ends no later than as seen by the delegator: it is counted from when the renewal was *sent*, there from when it was answered.
 * T2  Work stops `marginMs` before the lease ends here, so a delegator that grants the next epoch at the end meets no work still running.
 * T3  A result is offered until it is accepted, refused, or the lease is over; never after.
 */
import type { ErrorCode } from '../errors.ts'

export interface TenureConfig {
  readonly leaseMs: number
  /** A renewal is sent this often */
  readonly renewMs: number
  readonly marginMs: number
}

export type TenurePhase = 'running' | 'finished' | 'over'

export interface Tenure {
  readonly phase: TenurePhase
  readonly epoch: number
  readonly leaseEnds: number
  readonly nextRenewal: number
  /** Number of the last renewal sent */
  readonly renewals: number
  /** When each unanswered renewal was sent, by number */
  readonly sent: ReadonlyMap<number, number>
}

export type TenureInput =
  | { readonly type: 'renewed'; readonly number: number }
  /** The work ended by itself and its result is durable here. */
  | { readonly type: 'finished' }
  /** The delegator stored the result. */
  | { readonly type: 'accepted' }
  /** The delegator wants no result: canceled, or given to another node. */
  | { readonly type: 'withdrawn' }
  | { readonly type: 'tick' }

export type TenureEffect =
  | { readonly type: 'renew'; readonly number: number }
  | { readonly type: 'offer-result' }
  | { readonly type: 'stop'; readonly code: ErrorCode }
  | { readonly type: 'forget' }
  | { readonly type: 'wake'; readonly at: number }

export interface TenureStep {
  readonly state: Tenure
  readonly effects: readonly TenureEffect[]
}

/** @param boundAt when the bind arrived */
export function startTenure(epoch: number, boundAt: number, config: TenureConfig): TenureStep {
  const state: Tenure = {
    phase: 'running',
    epoch,
    leaseEnds: boundAt + config.leaseMs,
    nextRenewal: boundAt + config.renewMs,
    renewals: 0,
    sent: new Map(),
  }
  return { state, effects: [{ type: 'wake', at: state.nextRenewal }] }
}

export function stepTenure(state: Tenure, input: TenureInput, now: number, config: TenureConfig): TenureStep {
  if (state.phase === 'over') return { state, effects: [] }
  switch (input.type) {
    case 'renewed':
      return onRenewed(state, input.number, config)
    case 'finished':
      return state.phase === 'running'
        ? { state: { ...state, phase: 'finished' }, effects: [{ type: 'offer-result' }] }
        : { state, effects: [] }
    case 'accepted':
      return over(state, [])
    case 'withdrawn':
      return over(state, state.phase === 'running' ? [{ type: 'stop', code: 'E_CANCELED' }] : [])
    case 'tick':
      return onTick(state, now, config)
  }
}

function onRenewed(state: Tenure, number: number, config: TenureConfig): TenureStep {
  const sentAt = state.sent.get(number)
  if (sentAt === undefined) return { state, effects: [] }
  const sent = new Map([...state.sent].filter(([other]) => other > number))
  return { state: { ...state, sent, leaseEnds: Math.max(state.leaseEnds, sentAt + config.leaseMs) }, effects: [] }
}

function onTick(state: Tenure, now: number, config: TenureConfig): TenureStep {
  const stopAt = state.leaseEnds - config.marginMs
  if (now >= stopAt) return over(state, state.phase === 'running' ? [{ type: 'stop', code: 'E_STALE_LEASE' }] : [])
  if (now < state.nextRenewal) return { state, effects: [{ type: 'wake', at: Math.min(stopAt, state.nextRenewal) }] }
  const number = state.renewals + 1
  const nextRenewal = now + config.renewMs
  const sent = new Map(state.sent).set(number, now)
  return {
    state: { ...state, renewals: number, nextRenewal, sent },
    effects: [
      { type: 'renew', number },
      { type: 'wake', at: Math.min(stopAt, nextRenewal) },
    ],
  }
}

function over(state: Tenure, effects: readonly TenureEffect[]): TenureStep {
  return { state: { ...state, phase: 'over' }, effects: [...effects, { type: 'forget' }] }
}
