/**
 * The state machines of artifacts in which something is under way. One that is at rest is forgotten: the store, the journal and the links say all there is to know
 * about it. Inputs of one artifact take effect in order, also those that come while its state is read.
 */
import type { Heads } from '../../../protocol/artifact/heads.ts'
import {
  type Contract,
  type Holder,
  isAtRest,
  type ReplicaEffect,
  type ReplicaInput,
  type ReplicaState,
  type ReplicaTimes,
  startReplica,
  stepReplica,
  type Surroundings,
} from '../../../protocol/artifact/replication.ts'

export interface ReplicaFacts {
  readonly owner: string
  readonly contract: Contract
  readonly heads: Heads
}

export interface ReplicasOptions {
  readonly times: ReplicaTimes
  /** Read anew for each step; undefined when the artifact is not here */
  readonly facts: (artifact: string) => ReplicaFacts | undefined
  readonly holders: (artifact: string) => Promise<ReadonlyMap<string, Holder>>
  readonly around: (artifact: string) => Surroundings
  readonly act: (artifact: string, effect: ReplicaEffect) => void
  readonly onFault: (what: string, error: unknown) => void
}

/** Above it, what can come up again by itself is left to the next check. */
const MAX_ACTIVE = 8_192
/** One that only waits (for candidates, for a peer to come back) is looked at this often, milliseconds. */
const WAITING_TICK_MS = 5_000

interface Active {
  state: ReplicaState
  /** Earliest time of its next tick */
  tickAt: number
}

export class Replicas {
  readonly #options: ReplicasOptions
  readonly #active = new Map<string, Active>()
  /** Inputs of artifacts whose state is being read */
  readonly #loading = new Map<string, ReplicaInput[]>()
  #closed = false

  constructor(options: ReplicasOptions) {
    this.#options = options
  }

  /** Artifacts with a state in memory. */
  get size(): number {
    return this.#active.size + this.#loading.size
  }

  input(artifact: string, input: ReplicaInput): void {
    if (this.#closed) return
    const active = this.#active.get(artifact)
    const waiting = this.#loading.get(artifact)
    if (active !== undefined) return this.#step(artifact, active, input)
    if (waiting !== undefined) return void waiting.push(input)
    if (this.size >= MAX_ACTIVE && input.type !== 'changed') return
    this.#loading.set(artifact, [input])
    void this.#load(artifact)
  }

  /** What a peer said it holds; known while something is under way. */
  heads(artifact: string, peer: string): Heads | undefined {
    return this.#active.get(artifact)?.state.holders.get(peer)?.heads
  }

  /** For those with a state in memory alone. */
  inputActive(input: ReplicaInput): void {
    for (const [artifact, active] of [...this.#active]) this.#step(artifact, active, input)
  }

  tick(now: number): void {
    for (const [artifact, active] of [...this.#active]) {
      if (active.tickAt <= now) this.#step(artifact, active, { type: 'tick' })
    }
  }

  forget(artifact: string): void {
    this.#active.delete(artifact)
    this.#loading.delete(artifact)
  }

  close(): void {
    this.#closed = true
    this.#active.clear()
    this.#loading.clear()
  }

  async #load(artifact: string): Promise<void> {
    try {
      const holders = await this.#options.holders(artifact)
      const facts = this.#options.facts(artifact)
      const inputs = this.#loading.get(artifact)
      if (facts === undefined || inputs === undefined) return
      const { link } = this.#options.around(artifact)
      const active = { state: startReplica({ ...facts, holders }, link), tickAt: 0 }
      this.#active.set(artifact, active)
      for (const input of inputs) this.#step(artifact, active, input)
    } catch (error) {
      this.#options.onFault('reading who holds an artifact', error)
    } finally {
      this.#loading.delete(artifact)
    }
  }

  #step(artifact: string, active: Active, input: ReplicaInput): void {
    const { times, around, act, facts } = this.#options
    const now = facts(artifact)
    if (now === undefined) return this.forget(artifact)
    const surroundings = around(artifact)
    // What is held is always what the store says; `changed` alone says that others must hear of it.
    const { state, effects } = stepReplica({ ...active.state, ...now }, input, surroundings, times)
    active.state = state
    const busy = state.fetching !== undefined || state.asking.size > 0 || effects.length > 0
    active.tickAt = surroundings.now + (busy || input.type !== 'tick' ? 0 : WAITING_TICK_MS)
    if (effects.length === 0 && isAtRest(state, surroundings, times)) this.#active.delete(artifact)
    else if (!this.#active.has(artifact)) this.#active.set(artifact, active)
    for (const effect of effects) act(artifact, effect)
  }
}
