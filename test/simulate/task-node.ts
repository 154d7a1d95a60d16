/**
 * The lease machines of a node under the simulator: delegates tasks of its own and works on those of others. What it makes durable takes the time of a sync,
 * and is lost when it crashes before.
 */
import {
  DELEGATION_DEFAULTS,
  type Delegation,
  type DelegationConfig,
  type DelegationEffect,
  type DelegationInput,
  type Ending,
  startDelegation,
  stepDelegation,
} from '../../protocol/task/delegation.ts'
import {
  startTenure,
  stepTenure,
  type Tenure,
  type TenureConfig,
  type TenureEffect,
  type TenureInput,
} from '../../protocol/task/tenure.ts'
import type { Random } from './random.ts'
import type { Out, SimNode } from './simulator.ts'

export type TaskMessage =
  | {
      readonly type: 'offer' | 'bid' | 'refuse' | 'bound' | 'accepted' | 'withdraw'
      readonly task: string
      readonly epoch: number
    }
  | { readonly type: 'bind'; readonly task: string; readonly epoch: number; readonly workMs: number }
  | { readonly type: 'renew' | 'renewed'; readonly task: string; readonly epoch: number; readonly number: number }
  | { readonly type: 'result'; readonly task: string; readonly epoch: number; readonly verdict: 'completed' | 'again' }

/** What a checker sees of all nodes. */
export interface Witness {
  /** It is durable, and its client may know of it */
  submitted(task: string): void
  accepted(task: string, epoch: number, by: string, now: number): void
  settled(task: string, ending: Ending, now: number): void
  began(task: string, epoch: number, on: string, now: number): void
  stopped(task: string, on: string): void
}

interface Delegated {
  state: Delegation
  readonly workMs: number
  /** The record of its submission says that the first epoch may have been given */
  readonly isCovered: boolean
  isDurable: boolean
  /** A grant of the first epoch that waits for that record */
  granting: boolean
  /** The result that is being stored */
  accepting?: { readonly node: string; readonly epoch: number }
}

interface Append {
  readonly key: string
  readonly value: unknown
  readonly stored: (now: number, out: Out<TaskMessage>) => void
}

interface Stored {
  /** Of the last lease that may have been given; 0: none was */
  readonly epoch: number
  readonly workMs: number
  readonly ended: boolean
}

interface Working {
  tenure: Tenure
  readonly delegator: string
}

const delegation: DelegationConfig = { ...DELEGATION_DEFAULTS, maxEpochs: 1_000, patienceMs: Number.POSITIVE_INFINITY }
const tenure: TenureConfig = { leaseMs: delegation.leaseMs, renewMs: 3_000, marginMs: 1_000 }
const SLOTS = 4
/** A sync takes up to so long: sometimes longer than a message, sometimes not */
const SYNC_MS = 40

const nothing = (): void => undefined

export class TaskSimNode implements SimNode<TaskMessage> {
  readonly id: string
  readonly #random: Random
  readonly #witness: Witness
  readonly #tasks = new Map<string, Delegated>()
  readonly #working = new Map<string, Working>()
  readonly #linked = new Set<string>()
  readonly #seen = new Map<string, number>()
  #durable = new Map<string, unknown>()
  #appends: Append[] = []
  #syncing: Append[] = []

  constructor(id: string, random: Random, witness: Witness) {
    this.id = id
    this.#random = random
    this.#witness = witness
  }

  start(durable: Map<string, unknown>, now: number, out: Out<TaskMessage>): void {
    this.#durable = durable
    for (const [key, value] of durable) {
      if (!key.startsWith('task/')) continue
      const { ended, epoch, workMs } = value as Stored
      if (ended) continue
      // Who holds the last lease is unknown, so its end is waited for; if none was given, nothing is.
      const held = epoch > 0 ? { heldUntil: now + delegation.leaseMs } : {}
      const step = startDelegation(now, { epoch: Math.max(1, epoch), ...held })
      const task = key.slice(5)
      this.#tasks.set(task, { state: step.state, workMs, isCovered: false, isDurable: true, granting: false })
      this.#act(task, step.effects, now, out)
    }
  }

  /** While nodes are asked, the submission becomes durable, with the epoch that one of them will get. */
  submit(task: string, workMs: number, now: number, out: Out<TaskMessage>): void {
    const step = startDelegation(now)
    const isCovered = this.#linked.size > 0
    const delegated: Delegated = { state: step.state, workMs, isCovered, isDurable: false, granting: false }
    this.#tasks.set(task, delegated)
    const stored: Stored = { epoch: isCovered ? 1 : 0, workMs, ended: false }
    this.#append(`task/${task}`, stored, out, (at, later) => {
      delegated.isDurable = true
      this.#witness.submitted(task)
      if (delegated.granting) this.#feed(task, { type: 'granted', epoch: 1 }, at, later)
    })
    this.#act(task, step.effects, now, out)
  }

  cancel(task: string, now: number, out: Out<TaskMessage>): void {
    this.#feed(task, { type: 'cancel' }, now, out)
  }

  linkUp(peer: string, _now: number, out: Out<TaskMessage>): void {
    this.#linked.add(peer)
    // A result whose channel was cut is handed in again while the lease lasts.
    for (const [task, { tenure: held, delegator }] of this.#working) {
      if (delegator === peer && held.phase === 'finished')
        out.send(peer, { type: 'result', task, epoch: held.epoch, verdict: 'completed' })
    }
  }

  linkDown(peer: string, now: number, out: Out<TaskMessage>): void {
    this.#linked.delete(peer)
    for (const task of [...this.#tasks.keys()]) this.#feed(task, { type: 'lost', node: peer }, now, out)
  }

  wake(tag: string, now: number, out: Out<TaskMessage>): void {
    const [kind, task = ''] = tag.split(' ')
    if (kind === 'task') this.#feed(task, { type: 'tick' }, now, out)
    if (kind === 'lease') this.#stepTenure(task, { type: 'tick' }, now, out)
    if (kind === 'done') this.#workDone(task, Number(tag.split(' ')[2]), out)
    if (kind === 'synced') this.#synced(now, out)
  }

  message(from: string, message: TaskMessage, now: number, out: Out<TaskMessage>): void {
    const { task, epoch } = message
    switch (message.type) {
      case 'offer':
        return out.send(from, { type: this.#working.size < SLOTS ? 'bid' : 'refuse', task, epoch })
      case 'bid':
        return this.#feed(task, { type: 'bid', bid: { node: from, score: this.#random.next() } }, now, out)
      case 'refuse':
        return this.#feed(task, { type: 'refused', node: from, epoch }, now, out)
      case 'bind':
        return this.#bind(from, message, now, out)
      case 'bound':
        return this.#feed(task, { type: 'bound', node: from, epoch }, now, out)
      case 'renew':
        return this.#feed(task, { type: 'renew', node: from, epoch, number: message.number }, now, out)
      case 'result':
        return this.#feed(task, { type: 'result', node: from, epoch, verdict: message.verdict }, now, out)
      case 'renewed':
        return this.#stepIf(task, epoch, { type: 'renewed', number: message.number }, now, out)
      case 'accepted':
        return this.#stepIf(task, epoch, { type: 'accepted' }, now, out)
      case 'withdraw':
        return this.#stepIf(task, epoch, { type: 'withdrawn' }, now, out)
    }
  }

  // ---- as delegator

  #feed(task: string, input: DelegationInput, now: number, out: Out<TaskMessage>): void {
    const delegated = this.#tasks.get(task)
    if (delegated === undefined) return
    const step = stepDelegation(delegated.state, input, now, delegation)
    delegated.state = step.state
    this.#act(task, step.effects, now, out)
  }

  #act(task: string, effects: readonly DelegationEffect[], now: number, out: Out<TaskMessage>): void {
    for (const effect of effects) this.#do(task, effect, now, out)
  }

  #do(task: string, effect: DelegationEffect, now: number, out: Out<TaskMessage>): void {
    const delegated = this.#tasks.get(task)
    if (delegated === undefined) return
    switch (effect.type) {
      case 'find': {
        const nodes = [...this.#linked].filter((peer) => !effect.avoid.includes(peer)).slice(0, 4)
        return this.#feed(task, { type: 'candidates', nodes }, now, out)
      }
      case 'offer':
        for (const to of effect.to) out.send(to, { type: 'offer', task, epoch: delegated.state.epoch })
        return
      case 'grant':
        return this.#grant(task, delegated, effect.epoch, now, out)
      case 'bind':
        return out.send(effect.node, { type: 'bind', task, epoch: effect.epoch, workMs: delegated.workMs })
      case 'renewed':
        return out.send(effect.node, { type: 'renewed', task, epoch: effect.epoch, number: effect.number })
      case 'withdraw':
      case 'refuse':
        return out.send(effect.node, { type: 'withdraw', task, epoch: effect.epoch })
      case 'accept':
        delegated.accepting = effect
        return
      case 'settle':
        return this.#settle(task, delegated, effect.ending, out)
      case 'wake':
        return out.wake(Math.max(0, effect.at - now), `task ${task}`)
    }
  }

  #grant(task: string, delegated: Delegated, epoch: number, now: number, out: Out<TaskMessage>): void {
    const { isCovered, isDurable, workMs } = delegated
    const granted = (at: number, later: Out<TaskMessage>): void =>
      this.#feed(task, { type: 'granted', epoch }, at, later)
    const covered = epoch === 1 && isCovered
    // The record that names the holder follows
    this.#append(`task/${task}`, { epoch, workMs, ended: false } satisfies Stored, out, covered ? nothing : granted)
    if (!covered) return
    if (isDurable) granted(now, out)
    else delegated.granting = true
  }

  /** Result and end are one record; nobody is told before. */
  #settle(task: string, { state, workMs, accepting }: Delegated, ending: Ending, out: Out<TaskMessage>): void {
    const stored: Stored = { epoch: state.epoch, workMs, ended: true }
    this.#append(`task/${task}`, stored, out, (at, later) => {
      if (accepting !== undefined) {
        const { epoch, node } = accepting
        this.#witness.accepted(task, epoch, node, at)
        later.send(node, { type: 'accepted', task, epoch })
      }
      this.#witness.settled(task, ending, at)
    })
  }

  // ---- the disk: what is appended while it syncs is in the next sync, all of it or nothing

  #append(key: string, value: unknown, out: Out<TaskMessage>, stored: Append['stored'] = nothing): void {
    this.#appends.push({ key, value, stored })
    if (this.#syncing.length === 0) this.#sync(out)
  }

  #sync(out: Out<TaskMessage>): void {
    this.#syncing = this.#appends
    this.#appends = []
    if (this.#syncing.length > 0) out.wake(this.#random.next() ** 2 * SYNC_MS, 'synced')
  }

  #synced(now: number, out: Out<TaskMessage>): void {
    const synced = this.#syncing
    this.#syncing = []
    for (const { key, value } of synced) this.#durable.set(key, value)
    for (const { stored } of synced) stored(now, out)
    if (this.#syncing.length === 0) this.#sync(out)
  }

  // ---- as executor

  #bind(
    from: string,
    { task, epoch, workMs }: Extract<TaskMessage, { type: 'bind' }>,
    now: number,
    out: Out<TaskMessage>,
  ): void {
    const seen = Math.max(this.#seen.get(task) ?? 0, (this.#durable.get(`seen/${task}`) as number | undefined) ?? 0)
    if (epoch <= seen || this.#working.size >= SLOTS) return out.send(from, { type: 'refuse', task, epoch })
    this.#seen.set(task, epoch)
    this.#append(`seen/${task}`, epoch, out)
    const step = startTenure(epoch, now, tenure)
    this.#working.set(task, { tenure: step.state, delegator: from })
    this.#witness.began(task, epoch, this.id, now)
    out.send(from, { type: 'bound', task, epoch })
    out.wake(workMs, `done ${task} ${epoch}`)
    this.#actTenure(task, step.effects, now, out)
  }

  /** The result leaves once its receipt is durable, and the bind before it. */
  #workDone(task: string, epoch: number, out: Out<TaskMessage>): void {
    const working = this.#working.get(task)
    if (working?.tenure.epoch !== epoch || working.tenure.phase !== 'running') return
    this.#append(`receipt/${task}`, epoch, out, (at, later) => {
      if (this.#working.get(task)?.tenure.phase !== 'running') return
      this.#witness.stopped(task, this.id)
      this.#stepIf(task, epoch, { type: 'finished' }, at, later)
    })
  }

  #stepIf(task: string, epoch: number, input: TenureInput, now: number, out: Out<TaskMessage>): void {
    if (this.#working.get(task)?.tenure.epoch === epoch) this.#stepTenure(task, input, now, out)
  }

  #stepTenure(task: string, input: TenureInput, now: number, out: Out<TaskMessage>): void {
    const working = this.#working.get(task)
    if (working === undefined) return
    const step = stepTenure(working.tenure, input, now, tenure)
    working.tenure = step.state
    this.#actTenure(task, step.effects, now, out)
  }

  #actTenure(task: string, effects: readonly TenureEffect[], now: number, out: Out<TaskMessage>): void {
    const working = this.#working.get(task)
    if (working === undefined) return
    const { delegator, tenure: held } = working
    for (const effect of effects) {
      switch (effect.type) {
        case 'renew':
          out.send(delegator, { type: 'renew', task, epoch: held.epoch, number: effect.number })
          break
        case 'offer-result':
          out.send(delegator, { type: 'result', task, epoch: held.epoch, verdict: 'completed' })
          break
        case 'stop':
          this.#witness.stopped(task, this.id)
          break
        case 'forget':
          this.#working.delete(task)
          break
        case 'wake':
          out.wake(Math.max(0, effect.at - now), `lease ${task}`)
          break
      }
    }
  }
}
