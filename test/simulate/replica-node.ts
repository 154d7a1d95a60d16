/** A node that replicates artifacts, without Git: the state machine, admission and digests of `protocol/artifact`, records as plain data, everything else as the daemon does it. */
import { admitRecord } from '../../protocol/artifact/admission.ts'
import { keptFor } from '../../protocol/artifact/give-up.ts'
import { type Head, type Heads, headsDigest } from '../../protocol/artifact/heads.ts'
import {
  type Contract,
  type Holder,
  isAtRest,
  REPLICA_TIMES,
  type ReplicaEffect,
  type ReplicaInput,
  type ReplicaState,
  startReplica,
  stepReplica,
  type Surroundings,
} from '../../protocol/artifact/replication.ts'
import type { Random } from './random.ts'
import type { Out, SimNode } from './simulator.ts'

export interface SimRecord {
  readonly artifact: string
  readonly owner: string
  readonly writer: string
  readonly sequence: number
  readonly digest: string
  readonly previous: string | null
}

/** What is on its disk. */
interface Held {
  readonly owner: string
  readonly contract: Contract
  readonly chains: Map<string, SimRecord[]>
  /** By writer: the record that proves that it signed two histories */
  readonly frozen: Map<string, SimRecord>
  readonly holders: Map<string, Holder>
  placed: boolean
}

export type ReplicaMessage =
  | { readonly type: 'holding'; readonly artifact: string; readonly heads: Heads; readonly placed: boolean }
  | { readonly type: 'unknown' | 'find' | 'hold' | 'release' | 'refused'; readonly artifact: string }
  | { readonly type: 'released' | 'agreed'; readonly artifact: string }
  | { readonly type: 'get'; readonly artifact: string; readonly have: ReadonlyMap<string, number> }
  | {
      readonly type: 'records'
      readonly artifact: string
      readonly contract: Contract
      readonly records: readonly SimRecord[]
      readonly holders: readonly string[]
    }
  | { readonly type: 'check'; readonly items: readonly (readonly [artifact: string, digest: string])[] }

const TIMES = { ...REPLICA_TIMES, graceMs: 5_000, placeMs: 10_000 }
const TICK_MS = 250
const CHECK_MS = 10_000
/** All of it, by artifact. */
class HeldSet extends Map<string, Held> {
  copy(): HeldSet {
    const copied = [...this].map(([id, held]): [string, Held] => [
      id,
      { ...held, chains: new Map(held.chains), frozen: new Map(held.frozen), holders: new Map(held.holders) },
    ])
    return new HeldSet(copied)
  }
}

type Sender = Out<ReplicaMessage>

export class ReplicaNode implements SimNode<ReplicaMessage> {
  readonly id: string
  readonly #random: Random
  readonly #active = new Map<string, ReplicaState>()
  readonly #links = new Map<string, number>()
  readonly #downAt = new Map<string, number>()
  /** Fetches of artifacts that are not here yet, for a peer that asked */
  readonly #taking = new Map<string, string>()
  #held = new HeldSet()
  #startedAt = 0
  #count = 0

  constructor(id: string, random: Random) {
    this.id = id
    this.#random = random
  }

  start(durable: Map<string, unknown>, now: number, out: Sender): void {
    const stored = durable.get('held')
    if (stored instanceof HeldSet) this.#held = stored
    else durable.set('held', this.#held)
    this.#startedAt = now
    for (const artifact of this.#held.keys()) this.#input(artifact, { type: 'tick' }, now, out)
    out.wake(TICK_MS, 'tick')
    out.wake(CHECK_MS, 'check')
  }

  /** What is on its disk now, to be put back later. */
  backup(): unknown {
    return this.#held.copy()
  }

  held(artifact: string): boolean {
    return this.#held.has(artifact)
  }

  heads(artifact: string): Heads {
    const held = this.#held.get(artifact)
    return new Map(
      [...(held?.chains ?? [])].map(([writer, chain]): [string, Head] => {
        const last = chain.at(-1)
        return [
          writer,
          { sequence: chain.length, digest: last?.digest ?? '', frozen: held?.frozen.has(writer) ?? false },
        ]
      }),
    )
  }

  digestAt(artifact: string, writer: string, sequence: number): string | undefined {
    return this.#held.get(artifact)?.chains.get(writer)?.[sequence - 1]?.digest
  }

  /** Other nodes that said they hold the record. */
  acknowledged(artifact: string, writer: string, sequence: number): number {
    const holders = [...(this.#held.get(artifact)?.holders.values() ?? [])]
    return holders.filter(({ heads }) => (heads.get(writer)?.sequence ?? 0) >= sequence).length
  }

  /** Artifacts in which something is under way. */
  get busy(): readonly string[] {
    return [...this.#active.keys()]
  }

  create(artifact: string, contract: Contract, now: number, out: Sender): void {
    const chains = new Map<string, SimRecord[]>()
    this.#held.set(artifact, { owner: this.id, contract, chains, frozen: new Map(), holders: new Map(), placed: false })
    this.write(artifact, now, out)
  }

  /** Signs a record of its own. @param variant another text under the same number, for those who lie. @returns its sequence */
  write(artifact: string, now: number, out: Sender, variant = ''): number {
    const held = this.#held.get(artifact)
    if (!held) throw new Error(`${this.id} does not hold ${artifact}`)
    const chain = held.chains.get(this.id) ?? []
    const sequence = chain.length + 1
    const previous = chain.at(-1)?.digest ?? null
    const digest = `${this.id}/${artifact}/${sequence}${variant}<${previous?.length ?? 0}`
    held.chains.set(this.id, [...chain, { artifact, owner: held.owner, writer: this.id, sequence, digest, previous }])
    this.#changed(artifact, held, now, out)
    return sequence
  }

  wake(tag: string, now: number, out: Sender): void {
    if (tag === 'check') {
      for (const peer of this.#links.keys()) this.#check(peer, out)
      out.wake(CHECK_MS, 'check')
      return
    }
    // A holder that is away too long is noticed by looking at all: there are few here.
    for (const artifact of this.#held.keys()) this.#input(artifact, { type: 'tick' }, now, out)
    out.wake(TICK_MS, 'tick')
  }

  linkUp(peer: string, now: number, out: Sender): void {
    this.#links.set(peer, ++this.#count)
    this.#check(peer, out)
    for (const artifact of [...this.#active.keys()]) this.#input(artifact, { type: 'tick' }, now, out)
  }

  linkDown(peer: string, now: number, out: Sender): void {
    this.#links.delete(peer)
    this.#downAt.set(peer, now)
    for (const [artifact, from] of this.#taking) if (from === peer) this.#taking.delete(artifact)
    for (const [artifact, state] of [...this.#active]) {
      if (state.fetching === peer) this.#input(artifact, { type: 'fetched', peer, ok: false }, now, out)
      if (state.asking.has(peer)) this.#input(artifact, { type: 'asked', peer, accepted: false }, now, out)
      if (state.releasing.has(peer)) this.#input(artifact, { type: 'released', peer, done: false }, now, out)
    }
  }

  message(peer: string, message: ReplicaMessage, now: number, out: Sender): void {
    const { type } = message
    if (type === 'check') return this.#answerCheck(peer, message.items, out)
    const { artifact } = message
    const held = this.#held.get(artifact)
    if (type === 'hold') return this.#agree(peer, artifact, now, out)
    if (type === 'records') return this.#take(peer, message, now, out)
    if (!held) return void (type !== 'unknown' && out.send(peer, { type: 'unknown', artifact }))
    switch (type) {
      case 'holding': {
        const holder = { heads: message.heads, placed: message.placed }
        held.holders.set(peer, holder)
        return this.#input(artifact, { type: 'holding', peer, ...holder }, now, out)
      }
      case 'unknown':
        held.holders.delete(peer)
        if (this.#active.get(artifact)?.fetching === peer) {
          this.#input(artifact, { type: 'fetched', peer, ok: false }, now, out)
        }
        return this.#input(artifact, { type: 'gone', peer }, now, out)
      case 'agreed':
        return this.#input(artifact, { type: 'asked', peer, accepted: true }, now, out)
      case 'refused':
        this.#input(artifact, { type: 'asked', peer, accepted: false }, now, out)
        return this.#input(artifact, { type: 'released', peer, done: false }, now, out)
      case 'released':
        held.holders.delete(peer)
        return this.#input(artifact, { type: 'released', peer, done: true }, now, out)
      case 'release':
        return this.#release(peer, artifact, held, now, out)
      case 'get':
        return out.send(peer, this.#recordsFor(artifact, held, message.have))
      case 'find':
        return out.send(peer, this.#holding(artifact))
    }
  }

  #recordsFor(artifact: string, held: Held, have: ReadonlyMap<string, number>): ReplicaMessage {
    const records = [...held.chains].flatMap(([writer, chain]) => {
      const after = have.get(writer) ?? 0
      const proof = held.frozen.get(writer)
      return [...chain.slice(after), ...(after === 0 && proof !== undefined ? [proof] : [])]
    })
    return { type: 'records', artifact, contract: held.contract, records, holders: [...held.holders.keys()] }
  }

  #agree(peer: string, artifact: string, now: number, out: Sender): void {
    out.send(peer, { type: 'agreed', artifact })
    if (this.#held.has(artifact)) return this.#changed(artifact, this.#held.get(artifact), now, out, peer)
    if (this.#taking.has(artifact)) return
    this.#taking.set(artifact, peer)
    out.send(peer, { type: 'get', artifact, have: new Map() })
  }

  #release(peer: string, artifact: string, held: Held, now: number, out: Sender): void {
    const { owner, contract, placed, holders } = held
    const kept = keptFor({
      ...{ self: this.id, asker: peer, owner, contract, placed },
      mine: { heads: this.heads(artifact) },
      isOwnerLost: !this.#links.has(owner) && now - (this.#downAt.get(owner) ?? this.#startedAt) >= TIMES.graceMs,
      linked: [...holders.keys()].filter((node) => this.#links.has(node)),
      stated: holders,
    })
    if (kept !== undefined) {
      return out.send(peer, { type: 'refused', artifact })
    }
    this.#held.delete(artifact)
    this.#active.delete(artifact)
    out.send(peer, { type: 'released', artifact })
  }

  #take(peer: string, message: ReplicaMessage & { type: 'records' }, now: number, out: Sender): void {
    const { artifact, records, contract, holders } = message
    let held = this.#held.get(artifact)
    const [first] = records
    if (!held && first && this.#taking.get(artifact) === peer) {
      const chains = new Map<string, SimRecord[]>()
      held = { owner: first.owner, contract, chains, frozen: new Map(), holders: new Map(), placed: true }
      this.#held.set(artifact, held)
      for (const holder of [peer, ...holders])
        if (holder !== this.id) held.holders.set(holder, { heads: new Map(), placed: false })
      out.send(peer, { type: 'find', artifact })
    }
    this.#taking.delete(artifact)
    if (!held) return
    let taken = 0
    for (const record of records) taken += this.#admit(artifact, held, record)
    if (taken > 0) this.#changed(artifact, held, now, out)
    this.#input(artifact, { type: 'fetched', peer, ok: taken > 0 }, now, out)
  }

  #admit(artifact: string, held: Held, record: SimRecord): number {
    const chain = held.chains.get(record.writer) ?? []
    const facts = {
      ...record,
      signer: record.writer,
      epoch: 0,
      hasSettings: false,
      genesis: record.sequence === 1 && record.writer === record.owner ? { artifact, owner: record.owner } : undefined,
    }
    const digestAt = (sequence: number): string | undefined => chain[sequence - 1]?.digest
    const head = this.heads(artifact).get(record.writer)
    const verdict = admitRecord(facts, { artifact, owner: held.owner, head, digestAt, isMember: () => true })
    if (verdict.type === 'equivocation' && !held.frozen.has(record.writer)) {
      held.frozen.set(record.writer, record)
      return 1
    }
    if (verdict.type !== 'accept') return 0
    held.chains.set(record.writer, [...chain, record])
    return 1
  }

  #changed(artifact: string, held: Held | undefined, now: number, out: Sender, also?: string): void {
    if (!held) return
    if (also !== undefined && !held.holders.has(also)) held.holders.set(also, { heads: new Map(), placed: false })
    this.#input(artifact, { type: 'changed', heads: this.heads(artifact), contract: held.contract }, now, out)
  }

  #input(artifact: string, input: ReplicaInput, now: number, out: Sender): void {
    const held = this.#held.get(artifact)
    if (!held) return
    const around = this.#around(now)
    const facts = { owner: held.owner, contract: held.contract, heads: this.heads(artifact) }
    const before = this.#active.get(artifact) ?? startReplica({ ...facts, holders: held.holders }, around.link)
    const { state, effects } = stepReplica({ ...before, ...facts }, input, around, TIMES)
    if (effects.length === 0 && isAtRest(state, around, TIMES)) this.#active.delete(artifact)
    else this.#active.set(artifact, state)
    for (const effect of effects) this.#act(artifact, effect, state, out)
  }

  #act(artifact: string, { type, peer }: ReplicaEffect, state: ReplicaState, out: Sender): void {
    switch (type) {
      case 'tell':
        return out.send(peer, this.#holding(artifact))
      case 'ask':
        return out.send(peer, { type: 'hold', artifact })
      case 'release':
        return out.send(peer, { type: 'release', artifact })
      case 'fetch': {
        const theirs = state.holders.get(peer)?.heads ?? new Map<string, Head>()
        const mine = [...this.heads(artifact)].map(([writer, { sequence }]): [string, number] => {
          // Where both claim more than one history, from the start
          const their = theirs.get(writer)
          const isSure = their === undefined || (their.frozen !== true && this.#agrees(artifact, writer, their))
          return [writer, isSure ? sequence : 0]
        })
        return out.send(peer, { type: 'get', artifact, have: new Map(mine) })
      }
    }
  }

  #agrees(artifact: string, writer: string, { sequence, digest }: Head): boolean {
    const own = this.digestAt(artifact, writer, sequence)
    return own === digest
  }

  #holding(artifact: string): ReplicaMessage {
    return { type: 'holding', artifact, heads: this.heads(artifact), placed: this.#held.get(artifact)?.placed ?? false }
  }

  #around(now: number): Surroundings {
    return {
      self: this.id,
      now,
      random: () => this.#random.next(),
      link: (peer) => this.#links.get(peer),
      awayMs: (peer) => (this.#links.has(peer) ? 0 : now - (this.#downAt.get(peer) ?? this.#startedAt)),
      candidates: () => [...this.#links.keys()].sort(),
    }
  }

  #check(peer: string, out: Sender): void {
    const shared = [...this.#held].filter(([, { holders }]) => holders.has(peer))
    const items = shared.map(([artifact]) => [artifact, headsDigest(this.heads(artifact))] as const)
    if (items.length > 0) out.send(peer, { type: 'check', items })
  }

  #answerCheck(peer: string, items: readonly (readonly [string, string])[], out: Sender): void {
    for (const [artifact, digest] of items) {
      const held = this.#held.get(artifact)
      if (!held) out.send(peer, { type: 'unknown', artifact })
      else if (headsDigest(this.heads(artifact)) !== digest || !held.holders.has(peer)) {
        out.send(peer, this.#holding(artifact))
        out.send(peer, { type: 'find', artifact })
      }
    }
  }
}
