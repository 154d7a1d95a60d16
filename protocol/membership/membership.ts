/**
 * The membership state machine: `(state, input, now) -> state + effects`. It decides which list is in force, whom this node serves, whom it puts out, and what it
 * tells whom. Times are monotonic milliseconds.
 *
 * Invariants
 * 1. Nobody outside `held.active` is ever in `ready`.
 * 2. A `persist` effect comes before any effect that tells others about the new list.
 * 3. Whoever leaves `active` is named by an `expel` effect in the same step.
 */
import type { SignedBody } from '../signing/signed.ts'
import { sameBytes } from '../signing/signed.ts'
import type { Signer } from '../signing/signing.ts'
import { applyChange, type PendingAdd, reissue, signAgain, stillPending } from './admin.ts'
import type { Change } from './change.ts'
import { considerList } from './consider-list.ts'
import type { Effective } from './held-lists.ts'
import { openList, type SignedList } from './member-list.ts'
import { awakened, helloHeard, type SyncState, settle, startSync, unheard } from './sync.ts'

export interface MembershipConfig {
  readonly signer: Signer
  /** How long a node that just started looks for someone who knows a newer list before it serves whoever is there, milliseconds */
  readonly settleMs: number
  /** Without any peer, or stopped, for longer than this a node counts as cut off and settles again, milliseconds */
  readonly cutOffMs: number
}

export const MEMBERSHIP_DEFAULTS = { settleMs: 3_000, cutOffMs: 30_000 } as const

/** `list`: it holds another list, which we asked for. `sync`: we may not know who belongs. `ready`: it may be served */
export type Standing = 'list' | 'sync' | 'ready'

export interface MembershipState {
  readonly config: MembershipConfig
  readonly held: Effective
  readonly pending: readonly PendingAdd[]
  /** Peers that said hello on the connection they have now */
  readonly peers: ReadonlyMap<string, Standing>
  readonly sync: SyncState
  /** When an admin that is not its author writes a lost revocation into the next list; undefined: nothing to write */
  readonly healAt: number | undefined
  /** When it took its last step: it takes one at every tick */
  readonly steppedAt: number
}

export type MembershipInput =
  | { readonly type: 'hello'; readonly peer: string; readonly epoch: number; readonly digest: Uint8Array }
  | { readonly type: 'notice'; readonly peer: string; readonly epoch: number; readonly digest: Uint8Array }
  /** Answer to `fetch-list`, or a push */
  | { readonly type: 'lists'; readonly peer: string; readonly list: SignedBody; readonly chain: readonly SignedBody[] }
  | { readonly type: 'fetch-failed'; readonly peer: string }
  | { readonly type: 'peer-down'; readonly peer: string }
  /** Every address known at start was tried once */
  | { readonly type: 'dialed' }
  /** By the operator of this node. @throws MeshError E_FORBIDDEN, E_NOT_FOUND, E_BAD_REQUEST */
  | { readonly type: 'change'; readonly change: Change }
  | { readonly type: 'tick' }

export type MembershipEffect =
  | { readonly type: 'persist' }
  | { readonly type: 'ready'; readonly peer: string }
  /** No longer served, until it is ready again */
  | { readonly type: 'wait'; readonly peer: string }
  | { readonly type: 'fetch-list'; readonly peer: string; readonly fromEpoch: number }
  /** Send these lists whole, as fast as can be */
  | { readonly type: 'push'; readonly peers: readonly string[]; readonly lists: readonly SignedBody[] }
  | { readonly type: 'notify'; readonly peers: readonly string[] }
  /** Close its connections, fence its leases */
  | { readonly type: 'expel'; readonly peer: string; readonly name: string; readonly epoch: number }
  | { readonly type: 'joined'; readonly peer: string; readonly name: string }
  /** A connected node that does not belong */
  | { readonly type: 'refuse'; readonly peer: string; readonly code: 'E_NOT_MEMBER' | 'E_REVOKED' }
  | { readonly type: 'alarm'; readonly what: string; readonly detail: string }

export interface Step {
  readonly state: MembershipState
  readonly effects: readonly MembershipEffect[]
}

export function startMembership(
  config: MembershipConfig,
  held: Effective,
  pending: readonly PendingAdd[],
  now: number,
): MembershipState {
  const sync = startSync(now, config.settleMs)
  return { config, held, pending, peers: new Map(), sync, healAt: undefined, steppedAt: now }
}

export function stepMembership(state: MembershipState, input: MembershipInput, now: number): Step {
  const awake = afterStandstill(state, now)
  const step = react({ ...awake.state, steppedAt: now }, input, now)
  return { state: step.state, effects: [...awake.effects, ...step.effects] }
}

/**
 * A process that was stopped, or whose machine was, has been cut off without noticing: its connections still seem to be there, and what it heard is from before.
 * It holds back towards those whom it would not serve right after a start.
 */
function afterStandstill(state: MembershipState, now: number): Step {
  const { config, held, sync } = state
  if (now - state.steppedAt <= config.cutOffMs) return { state, effects: [] }
  const peers = new Map(state.peers)
  const effects: MembershipEffect[] = []
  for (const [peer, standing] of isOnlyAdmin(state) ? [] : state.peers) {
    if (standing !== 'ready' || held.active.get(peer)?.role === 'admin') continue
    peers.set(peer, 'sync')
    effects.push({ type: 'wait', peer })
  }
  return { state: { ...state, peers, sync: { ...sync, heard: new Set(), settledAt: now + config.settleMs } }, effects }
}

function react(state: MembershipState, input: MembershipInput, now: number): Step {
  switch (input.type) {
    case 'hello':
      return hello(state, input, now)
    case 'notice':
      return notice(state, input)
    case 'lists':
      return lists(state, input, now)
    case 'fetch-failed':
      return unanswered(state, input.peer, now)
    case 'peer-down':
      return peerDown(state, input.peer, now)
    case 'dialed':
      return { state: { ...state, sync: settle(state.sync, now + state.config.settleMs) }, effects: [] }
    case 'change':
      return change(state, input.change, now)
    case 'tick':
      return tick(state, now)
  }
}

/** Whether this node itself still belongs. */
export function isIn(state: MembershipState): boolean {
  return state.held.active.has(state.config.signer.nodeId)
}

/** Whether connections with this node may exist. */
export function admitsPeer(state: MembershipState, peer: string): boolean {
  return isIn(state) && state.held.active.has(peer)
}

function withPeer(state: MembershipState, peer: string, standing: Standing | undefined): MembershipState {
  const peers = new Map(state.peers)
  if (standing) peers.set(peer, standing)
  else peers.delete(peer)
  return { ...state, peers }
}

function hello(state: MembershipState, input: MembershipInput & { type: 'hello' }, now: number): Step {
  const { peer, epoch, digest } = input
  if (!admitsPeer(state, peer)) {
    const code = state.held.revoked.has(peer) ? 'E_REVOKED' : 'E_NOT_MEMBER'
    return { state, effects: [{ type: 'refuse', peer, code }] }
  }
  const awake = { ...state, sync: awakened(state.sync, now, state.config) }
  const isAhead = wants(state, epoch, digest)
  // Both sides say hello, and a peer may say it again: what it is let do already it goes on doing.
  const isReady = state.peers.get(peer) === 'ready'
  const next = isReady ? awake : withPeer(awake, peer, isAhead ? 'list' : 'sync')
  if (isAhead) return { state: next, effects: [fetchFrom(state, peer)] }
  return resolved(next, peer, now, [])
}

/** Whether that list may be news. Of two lists of one epoch both sides look at the other's: its revocations count even if it loses. */
function wants(state: MembershipState, epoch: number, digest: Uint8Array): boolean {
  const { current } = state.held
  return epoch > current.list.epoch || (epoch === current.list.epoch && !sameBytes(digest, current.digest))
}

function fetchFrom(state: MembershipState, peer: string): MembershipEffect {
  return { type: 'fetch-list', peer, fromEpoch: state.held.current.list.epoch }
}

function notice(state: MembershipState, { peer, epoch, digest }: MembershipInput & { type: 'notice' }): Step {
  const isNews = state.peers.has(peer) && admitsPeer(state, peer) && wants(state, epoch, digest)
  return { state, effects: isNews ? [fetchFrom(state, peer)] : [] }
}

/** The question what list `peer` holds is settled: it counts as heard, and whoever may now be served is. */
function resolved(state: MembershipState, peer: string, now: number, effects: readonly MembershipEffect[]): Step {
  const known = state.peers.get(peer)
  if (!known) return { state, effects }
  const next = known === 'list' ? withPeer(state, peer, 'sync') : state
  return serveWhoMay({ ...next, sync: helloHeard(state.sync, peer) }, now, effects)
}

/** It may hold a list that puts others out: it does not hold up anybody for ever, but vouches for nobody either. */
function unanswered(state: MembershipState, peer: string, now: number): Step {
  const next = state.peers.get(peer) === 'list' ? withPeer(state, peer, 'sync') : state
  return serveWhoMay({ ...next, sync: unheard(state.sync, peer) }, now, [])
}

function serveWhoMay(state: MembershipState, now: number, before: readonly MembershipEffect[]): Step {
  const effects = [...before]
  const waiting = [...state.peers].filter(([, standing]) => standing === 'sync')
  if (waiting.length === 0) return { state, effects }
  const peers = new Map(state.peers)
  const witnesses = twoWitnesses(state)
  const needsNone = now >= state.sync.settledAt || isOnlyAdmin(state)
  for (const [peer] of waiting) {
    const isAdmin = state.held.active.get(peer)?.role === 'admin'
    if (!needsNone && !isAdmin && !witnesses.some((other) => other !== peer)) continue
    peers.set(peer, 'ready')
    effects.push({ type: 'ready', peer })
  }
  return { state: { ...state, peers }, effects }
}

/**
 * A node that was away may hold a list that still names someone put out since. So it serves P only if it knows what another member than P knows, or P is an admin and
 * could have signed a list saying the same, or no other could have made a newer list, or it has looked for the others long enough.
 * What remains: a node put out while this one was away is served if for the whole settle time it is the only one that this one reaches.
 *
 * Of the members heard two suffice: one of them is another than P.
 */
function twoWitnesses({ held, sync }: MembershipState): readonly string[] {
  const witnesses: string[] = []
  for (const peer of sync.heard) {
    if (held.active.has(peer)) witnesses.push(peer)
    if (witnesses.length === 2) break
  }
  return witnesses
}

function isOnlyAdmin({ held, config }: MembershipState): boolean {
  for (const { nodeId, role } of held.active.values())
    if (role === 'admin' && nodeId !== config.signer.nodeId) return false
  return held.active.get(config.signer.nodeId)?.role === 'admin'
}

function lists(state: MembershipState, input: MembershipInput & { type: 'lists' }, now: number): Step {
  let next = state
  const effects: MembershipEffect[] = []
  for (const signed of [...input.chain, input.list]) {
    const step = considerOne(next, signed, input.peer, now)
    next = step.state
    effects.push(...step.effects)
  }
  return resolved(next, input.peer, now, effects)
}

function considerOne(state: MembershipState, signed: SignedBody, from: string, now: number): Step {
  const incoming = openQuietly(signed)
  if (typeof incoming === 'string') return { state, effects: [alarm(from, incoming)] }
  const verdict = considerList(state.held, incoming)
  switch (verdict.type) {
    case 'adopt':
    case 'learned':
      return adopt(state, verdict.held, { from, loser: verdict.type === 'learned' ? signed : undefined }, now)
    case 'refuse':
      return { state, effects: [alarm(from, verdict.reason)] }
    case 'unknown-signer':
      return { state, effects: [alarm(from, 'nothing shows that its signer is an admin'), askAdmins(state)] }
    case 'older':
      return confirm(state, incoming)
    case 'known':
      return { state, effects: [] }
  }
}

function openQuietly(signed: SignedBody): SignedList | string {
  try {
    return openList(signed)
  } catch (error) {
    return error instanceof Error ? error.message : 'it does not parse'
  }
}

function alarm(from: string, why: string): MembershipEffect {
  return { type: 'alarm', what: 'member-list-refused', detail: `A member list sent by ${from} was refused: ${why}` }
}

/** The list in force here, for those who are admins by it: one of them may know whose the other list is, and say so. */
function askAdmins({ held, peers }: MembershipState): MembershipEffect {
  const admins = [...peers.keys()].filter((peer) => held.active.get(peer)?.role === 'admin')
  return { type: 'push', peers: admins, lists: [held.current.signed] }
}

/**
 * Two sides of a partition went on, and the list in force here is signed by somebody who became an admin on this side: by the other list, which an admin sent,
 * nobody can tell. Signed again by this node, an admin by both, it can be judged there. After that there is nothing to confirm, so this comes to an end.
 */
function confirm(state: MembershipState, other: SignedList): Step {
  const { config, held } = state
  const self = config.signer.nodeId
  const isTrusted = held.active.get(other.signed.signer)?.role === 'admin'
  const isAdminOfBoth = held.active.get(self)?.role === 'admin' && isAdminBy(other, self)
  const isDue = isTrusted && isAdminOfBoth && !isAdminBy(other, held.current.signed.signer)
  const again = isDue ? signAgain(config.signer, held) : undefined
  return again === undefined ? { state, effects: [] } : issue(state, again, [])
}

function isAdminBy({ list }: SignedList, nodeId: string): boolean {
  return list.members.some((member) => member.nodeId === nodeId && member.role === 'admin')
}

interface Source {
  readonly from: string | undefined
  /** A list that told of revocations but is not in force; passed on so that others learn them too */
  readonly loser?: SignedBody | undefined
}

function adopt(state: MembershipState, held: Effective, source: Source, now: number): Step {
  const lost = held.current !== state.held.current && held.extra.length > 0 ? state.held.current.signed : source.loser
  const peers = new Map([...state.peers].filter(([peer]) => held.active.has(peer)))
  const next = { ...state, held, peers, pending: stillPending(state.pending, held) }
  const effects: MembershipEffect[] = [{ type: 'persist' }, ...changesOf(state.held, held)]
  const others = [...peers.keys()].filter((peer) => peer !== source.from)
  if (lost) effects.push({ type: 'push', peers: others, lists: [lost, held.current.signed] })
  else effects.push({ type: 'notify', peers: others })
  return reissueIfLost(next, effects, now)
}

function changesOf(before: Effective, after: Effective): MembershipEffect[] {
  const effects: MembershipEffect[] = []
  const epoch = after.current.list.epoch
  for (const [peer, { name }] of before.active) {
    if (!after.active.has(peer)) effects.push({ type: 'expel', peer, name, epoch: after.revoked.get(peer) ?? epoch })
  }
  for (const [peer, { name }] of after.active) {
    if (!before.active.has(peer)) effects.push({ type: 'joined', peer, name })
  }
  return effects
}

function reissueIfLost(state: MembershipState, effects: readonly MembershipEffect[], now: number): Step {
  const list = reissue(state.config.signer, state.held, state.pending)
  if (list === 'later') return { state: { ...state, healAt: state.healAt ?? now + healDelay(state) }, effects }
  if (!list) return { state: { ...state, healAt: undefined }, effects }
  return issue(state, list, effects)
}

/** Admins other than the author take turns, so that they do not all write the same thing at once. */
function healDelay(state: MembershipState): number {
  const admins = [...state.held.active.values()]
    .filter((member) => member.role === 'admin')
    .map((member) => member.nodeId)
  return 1_000 * (1 + Math.max(0, admins.sort().indexOf(state.config.signer.nodeId)))
}

/** Puts a list made here in force and sends it whole to everyone connected. */
function issue(state: MembershipState, held: Effective, before: readonly MembershipEffect[]): Step {
  const peers = new Map([...state.peers].filter(([peer]) => held.active.has(peer)))
  const effects: MembershipEffect[] = [
    ...before,
    { type: 'persist' },
    ...changesOf(state.held, held),
    { type: 'push', peers: [...peers.keys()], lists: [held.current.signed] },
  ]
  return { state: { ...state, held, peers, healAt: undefined }, effects }
}

function change(state: MembershipState, wanted: Change, now: number): Step {
  const { held, pending } = applyChange(state.config.signer, state.held, state.pending, wanted)
  void now
  return issue({ ...state, pending }, held, [])
}

function peerDown(state: MembershipState, peer: string, now: number): Step {
  const next = withPeer(state, peer, undefined)
  const aloneSince = next.peers.size === 0 ? (state.sync.aloneSince ?? now) : undefined
  return { state: { ...next, sync: { ...state.sync, aloneSince } }, effects: [] }
}

function tick(state: MembershipState, now: number): Step {
  const served = serveWhoMay(state, now, [])
  if (state.healAt === undefined || now < state.healAt) return served
  const list = reissue(state.config.signer, state.held, state.pending, true)
  if (!list || list === 'later') return { ...served, state: { ...served.state, healAt: undefined } }
  return issue(served.state, list, served.effects)
}
