/** A simulated member: the membership machine and the directory, wired as the services wire them. */
import { createHash } from 'node:crypto'
import { type CardsPage, type CardsQuery, PAGE_CARDS, pageOf } from '../../protocol/card/card-page.ts'
import { openCard, type SignedCard, signCard } from '../../protocol/card/card.ts'
import { cardsWith, type Directory, EMPTY_DIRECTORY, withCard, withoutNode } from '../../protocol/card/directory.ts'
import type { PendingAdd } from '../../protocol/membership/admin.ts'
import type { Change } from '../../protocol/membership/change.ts'
import { chainSince, type Effective, effective } from '../../protocol/membership/held-lists.ts'
import { type MemberList, type Role, type SignedList, signList } from '../../protocol/membership/member-list.ts'
import {
  admitsPeer,
  type MembershipEffect,
  type MembershipInput,
  type MembershipState,
  startMembership,
  stepMembership,
} from '../../protocol/membership/membership.ts'
import type { SignedBody } from '../../protocol/signing/signed.ts'
import { type Signer, signerFromSeed } from '../../protocol/signing/signing.ts'
import type { Out, SimNode } from './simulator.ts'

export type MemberMessage =
  | { readonly type: 'hello'; readonly epoch: number; readonly digest: Uint8Array; readonly card: SignedBody }
  | { readonly type: 'fetch'; readonly fromEpoch: number }
  | { readonly type: 'lists'; readonly list: SignedBody; readonly chain: readonly SignedBody[] }
  | { readonly type: 'notice'; readonly epoch: number; readonly digest: Uint8Array }
  | { readonly type: 'cards'; readonly query: CardsQuery }
  | { readonly type: 'page'; readonly page: CardsPage }

export const MESH_ID = 'c0ffee'.padEnd(32, '0')
const TICK_MS = 250

const signers: Signer[] = []
/** The same keys in every run: making one costs more than a whole small simulation. */
export function simSigner(index: number): Signer {
  const seed = createHash('sha256').update(`simulated node ${index}`).digest()
  return (signers[index] ??= signerFromSeed(seed))
}

const byId = new Map<string, Signer>()
export function signerOf(id: string): Signer {
  const signer = byId.get(id)
  if (!signer) throw new Error(`no key of ${id}`)
  return signer
}

/** The first list of a mesh of nodes 0..count-1, the first `admins` of which are admins. */
export function simList(count: number, admins: number): SignedList {
  const members = Array.from({ length: count }, (_, index) => {
    const signer = simSigner(index)
    byId.set(signer.nodeId, signer)
    const role: Role = index < admins ? 'admin' : 'member'
    return { nodeId: signer.nodeId, name: `n${index}`, role, sinceEpoch: 1 }
  })
  const list: MemberList = { meshId: MESH_ID, epoch: 1, previous: new Uint8Array(), members, revoked: [] }
  return signList(simSigner(0), list)
}

export function simNewcomer(index: number): string {
  const signer = simSigner(index)
  byId.set(signer.nodeId, signer)
  return signer.nodeId
}

interface Durable {
  readonly held: Effective
  readonly pending: readonly PendingAdd[]
  readonly boot: number
}

export class MemberNode implements SimNode<MemberMessage> {
  readonly #id: string
  readonly #first: SignedList
  #state: MembershipState | undefined
  #durable: Map<string, unknown> = new Map()
  directory: Directory = EMPTY_DIRECTORY
  #card: SignedCard | undefined
  #exchanges = 0
  /** Everyone this life of the node ever said may be served */
  readonly served: { peer: string; epoch: number }[] = []

  constructor(id: string, first: SignedList) {
    this.#id = id
    this.#first = first
  }

  get state(): MembershipState {
    if (!this.#state) throw new Error('not started')
    return this.#state
  }

  start(durable: Map<string, unknown>, now: number, out: Out<MemberMessage>): void {
    this.#durable = durable
    const kept = durable.get('membership') as Durable | undefined
    const boot = (kept?.boot ?? 0) + 1
    const held = kept?.held ?? effective({ current: this.#first, history: [], extra: [] })
    const config = { signer: signerOf(this.#id), settleMs: 3_000, cutOffMs: 30_000 }
    this.#state = startMembership(config, held, kept?.pending ?? [], now)
    durable.set('membership', { held, pending: this.#state.pending, boot } satisfies Durable)
    this.#card = this.#makeCard(boot)
    out.wake(TICK_MS, 'tick')
    out.wake(1_000, 'dialed')
  }

  #makeCard(boot: number): SignedCard {
    const executor = {
      kind: 'isolate',
      grade: 'jailed',
      slots: 2,
      free: 2,
      queued: 0,
      maxMemoryBytes: 0,
      maxWallMs: 0,
    } as const
    const texts = { nodeId: this.#id, meshId: MESH_ID, name: 'n', version: '0', labels: ['isolate'], addresses: [] }
    const numbers = { sequence: boot * 2 ** 32, ttlMs: 600_000, issuedAtMs: 0, listEpoch: 1 }
    return signCard(signerOf(this.#id), { ...texts, ...numbers, executors: [executor], coordinate: undefined })
  }

  admits(peer: string): boolean {
    return admitsPeer(this.state, peer)
  }

  linkUp(peer: string, _now: number, out: Out<MemberMessage>): void {
    const { current } = this.state.held
    if (this.#card)
      out.send(peer, { type: 'hello', epoch: current.list.epoch, digest: current.digest, card: this.#card.signed })
    // as the directory service: all cards from the first few, hellos bring the rest
    if (this.#exchanges++ < 3)
      out.send(peer, { type: 'cards', query: { label: undefined, max: PAGE_CARDS, after: undefined } })
  }

  linkDown(peer: string, now: number, out: Out<MemberMessage>): void {
    this.#step({ type: 'peer-down', peer }, now, out)
  }

  wake(tag: string, now: number, out: Out<MemberMessage>): void {
    if (tag === 'dialed') return this.#step({ type: 'dialed' }, now, out)
    this.#step({ type: 'tick' }, now, out)
    out.wake(TICK_MS, 'tick')
  }

  /** @throws MeshError as the machine does */
  change(change: Change, now: number, out: Out<MemberMessage>): void {
    this.#step({ type: 'change', change }, now, out)
  }

  message(from: string, message: MemberMessage, now: number, out: Out<MemberMessage>): void {
    switch (message.type) {
      case 'hello':
        this.#takeCard(message.card, 0, now)
        return this.#step({ ...message, peer: from }, now, out)
      case 'notice':
      case 'lists':
        return this.#step({ ...message, peer: from }, now, out)
      case 'fetch': {
        const { held } = this.state
        const chain = chainSince(held, message.fromEpoch, 1 << 20)
        return out.send(from, { type: 'lists', list: held.current.signed, chain })
      }
      case 'cards': {
        const page = pageOf(this.directory, message.query, (node) => this.state.held.active.has(node), now)
        return out.send(from, { type: 'page', page })
      }
      case 'page':
        return this.#takePage(from, message.page, now, out)
    }
  }

  #takePage(from: string, page: CardsPage, now: number, out: Out<MemberMessage>): void {
    for (const { signed, ageMs } of page.cards) this.#takeCard(signed, ageMs, now)
    if (page.next !== undefined)
      out.send(from, { type: 'cards', query: { label: undefined, max: PAGE_CARDS, after: page.next } })
  }

  #takeCard(signed: SignedBody, ageMs: number, now: number): void {
    const known = this.directory.byNode.get(signed.signer)
    if (signed.signer === this.#id || !this.state.held.active.has(signed.signer) || known?.signed.signed === signed)
      return
    // Checked once for all simulated nodes: they share the object, and a real node checks each card that is news to it.
    const card = opened.get(signed) ?? openCard(signed)
    opened.set(signed, card)
    this.directory = withCard(this.directory, card, now, ageMs)[0]
  }

  providers(now: number): string[] {
    return cardsWith(this.directory, 'isolate', now).map(({ nodeId }) => nodeId)
  }

  #step(input: MembershipInput, now: number, out: Out<MemberMessage>): void {
    const { state, effects } = stepMembership(this.state, input, now)
    this.#state = state
    for (const effect of effects) this.#perform(effect, out)
  }

  #perform(effect: MembershipEffect, out: Out<MemberMessage>): void {
    const { held, pending } = this.state
    switch (effect.type) {
      case 'persist': {
        const { boot } = this.#durable.get('membership') as Durable
        this.#durable.set('membership', { held, pending, boot } satisfies Durable)
        return
      }
      case 'ready':
        this.served.push({ peer: effect.peer, epoch: held.current.list.epoch })
        return
      case 'fetch-list':
        return out.send(effect.peer, { type: 'fetch', fromEpoch: effect.fromEpoch })
      case 'push':
        return effect.peers.forEach((peer) => {
          const list = effect.lists.at(-1)
          if (list) out.send(peer, { type: 'lists', list, chain: effect.lists.slice(0, -1) })
        })
      case 'notify':
        return effect.peers.forEach((peer) =>
          out.send(peer, { type: 'notice', epoch: held.current.list.epoch, digest: held.current.digest }),
        )
      case 'expel':
        this.directory = withoutNode(this.directory, effect.peer)
        return out.disconnect(effect.peer)
      case 'refuse':
        return out.disconnect(effect.peer)
      case 'wait':
      case 'joined':
      case 'alarm':
        return
    }
  }
}

const opened = new WeakMap<SignedBody, SignedCard>()
