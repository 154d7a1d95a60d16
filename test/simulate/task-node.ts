/** The lease machines of a node under the simulator: delegates tasks of its own and works on those of others. */
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
  submitted(task: string): void
  accepted(task: string, epoch: number, by: string, now: number): void
  settled(task: string, ending: Ending, now: number): void
  began(task: string, epoch: number, on: string, now: number): void
  stopped(task: string, on: string): void
}

interface Delegated {
  state: Delegation
  readonly workMs: number
}

interface Stored {
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

export class TaskSimNode implements SimNode<TaskMessage> {
  readonly id: string
  readonly #random: Random
  readonly #witness: Witness
  readonly #tasks = new Map<string, Delegated>()
  readonly #working = new Map<string, Working>()
  readonly #linked = new Set<string>()
  #durable = new Map<string, unknown>()

  constructor(id: string, random: Random, witness: Witness) {
    this.id = id
    this.#random = random
    this.#witness = witness
  }

  start(durable: Map<string, unknown>, now: number, out: Out<TaskMessage>): void {
    this.#durable = durable
    for (const [key, value] of durable) {
      if (!key.startsWith('task/')) continue
      const stored = value as Stored
      if (stored.ended) continue
      // The record of the submission covers epoch 1; who held it last is unknown, so its lease is waited for.
      const step = startDelegation(now, { epoch: Math.max(1, stored.epoch), heldUntil: now + delegation.leaseMs })
      const task = key.slice(5)
      this.#tasks.set(task, { state: step.state, workMs: stored.workMs })
      this.#act(task, step.effects, now, out)
    }
  }

  submit(task: string, workMs: number, now: number, out: Out<TaskMessage>): void {
    this.#durable.set(`task/${task}`, { epoch: 0, workMs, ended: false } satisfies Stored)
    this.#witness.submitted(task)
    const step = startDelegation(now)
    this.#tasks.set(task, { state: step.state, workMs })
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
    if (kind === 'done') this.#workDone(task, Number(tag.split(' ')[2]), now, out)
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
        this.#store(task, { epoch: effect.epoch, workMs: delegated.workMs, ended: false })
        return this.#feed(task, { type: 'granted', epoch: effect.epoch }, now, out)
      case 'bind':
        return out.send(effect.node, { type: 'bind', task, epoch: effect.epoch, workMs: delegated.workMs })
      case 'renewed':
        return out.send(effect.node, { type: 'renewed', task, epoch: effect.epoch, number: effect.number })
      case 'withdraw':
      case 'refuse':
        return out.send(effect.node, { type: 'withdraw', task, epoch: effect.epoch })
      case 'accept':
        this.#store(task, { epoch: effect.epoch, workMs: delegated.workMs, ended: true })
        this.#witness.accepted(task, effect.epoch, effect.node, now)
        return out.send(effect.node, { type: 'accepted', task, epoch: effect.epoch })
      case 'settle':
        this.#store(task, { epoch: delegated.state.epoch, workMs: delegated.workMs, ended: true })
        return this.#witness.settled(task, effect.ending, now)
      case 'wake':
        return out.wake(Math.max(0, effect.at - now), `task ${task}`)
    }
  }

  #store(task: string, stored: Stored): void {
    this.#durable.set(`task/${task}`, stored)
  }

  // ---- as executor

  #bind(
    from: string,
    { task, epoch, workMs }: Extract<TaskMessage, { type: 'bind' }>,
    now: number,
    out: Out<TaskMessage>,
  ): void {
    const seen = (this.#durable.get(`seen/${task}`) as number | undefined) ?? 0
    if (epoch <= seen || this.#working.size >= SLOTS) return out.send(from, { type: 'refuse', task, epoch })
    this.#durable.set(`seen/${task}`, epoch)
    const step = startTenure(epoch, now, tenure)
    this.#working.set(task, { tenure: step.state, delegator: from })
    this.#witness.began(task, epoch, this.id, now)
    out.send(from, { type: 'bound', task, epoch })
    out.wake(workMs, `done ${task} ${epoch}`)
    this.#actTenure(task, step.effects, now, out)
  }

  #workDone(task: string, epoch: number, now: number, out: Out<TaskMessage>): void {
    const working = this.#working.get(task)
    if (working?.tenure.epoch !== epoch || working.tenure.phase !== 'running') return
    this.#witness.stopped(task, this.id)
    this.#stepTenure(task, { type: 'finished' }, now, out)
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
