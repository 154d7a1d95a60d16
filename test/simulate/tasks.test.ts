/** Leases on many nodes under loss, partition, crash and restart. A failure names its seed: run it alone with that seed to see it again. */
import { describe, expect, test } from 'vitest'
import type { Ending } from '../../protocol/task/delegation.ts'
import { type Random, seededRandom } from './random.ts'
import { Simulator } from './simulator.ts'
import { type TaskMessage, TaskSimNode, type Witness } from './task-node.ts'

/** Checks while the run goes on what must hold at every moment, and keeps what must hold at the end. */
class Checker implements Witness {
  readonly acknowledged = new Set<string>()
  readonly endings = new Map<string, Ending[]>()
  readonly acceptances = new Map<string, number[]>()
  /** Who runs a task now, by task */
  readonly #running = new Map<string, Map<string, number>>()
  readonly violations: string[] = []

  submitted(task: string): void {
    this.acknowledged.add(task)
  }

  accepted(task: string, epoch: number, by: string, now: number): void {
    const before = this.acceptances.get(task) ?? []
    if (before.length > 0)
      this.violations.push(`${now}: a second result of ${task} accepted, of epoch ${epoch} by ${by}`)
    this.acceptances.set(task, [...before, epoch])
  }

  settled(task: string, ending: Ending): void {
    this.endings.set(task, [...(this.endings.get(task) ?? []), ending])
  }

  began(task: string, epoch: number, on: string, now: number): void {
    if (!this.acknowledged.has(task)) this.violations.push(`${now}: ${on} began ${task}, which is on no disk`)
    const running = this.#running.get(task) ?? new Map<string, number>()
    for (const [other, older] of running) {
      if (other !== on)
        this.violations.push(`${now}: ${on} began epoch ${epoch} of ${task} while ${other} works on epoch ${older}`)
    }
    this.#running.set(task, running.set(on, epoch))
  }

  stopped(task: string, on: string): void {
    this.#running.get(task)?.delete(on)
  }

  crashed(node: string): void {
    for (const running of this.#running.values()) running.delete(node)
  }
}

interface Storm {
  readonly seed: number
  readonly nodes: number
  readonly tasks: number
  readonly loss: number
  readonly faults: number
}

function weather({ seed, nodes, tasks, loss, faults }: Storm): Checker {
  const checker = new Checker()
  const sim = new Simulator<TaskMessage, TaskSimNode>({
    seed,
    loss,
    create: (id, random) => new TaskSimNode(id, random, checker),
  })
  const ids = Array.from({ length: nodes }, (_, index) => `n${index}`)
  sim.add(...ids)
  // Each knows a few others, as nodes of a large mesh do.
  ids.forEach((id, index) => {
    for (let step = 1; step <= Math.min(4, nodes - 1); step++) sim.connect(id, ids[(index + step) % nodes] ?? id)
  })
  sim.run(100)
  const random = seededRandom(seed ^ 0x5eed)
  for (let task = 0; task < tasks; task++) sim.after(random.next() * 60_000, () => submit(sim, ids, `t${task}`, random))
  for (let fault = 0; fault < faults; fault++)
    sim.after(random.next() * 60_000, () => strike(sim, ids, random, checker))
  sim.run(60_000)
  sim.heal()
  for (const id of ids) sim.restart(id)
  sim.run(300_000)
  return checker
}

/** One task, whose delegator or executor ends within moments and is soon there again. */
function killedSoonAfter(seed: number): Checker {
  const checker = new Checker()
  const sim = new Simulator<TaskMessage, TaskSimNode>({
    seed,
    loss: 0,
    create: (id, random) => new TaskSimNode(id, random, checker),
  })
  const ids = ['n0', 'n1', 'n2', 'n3', 'n4']
  sim.add(...ids)
  for (const id of ids.slice(1)) sim.connect('n0', id)
  sim.run(100)
  const random = seededRandom(seed)
  sim.call('n0', (node, now, out) => node.submit('t0', 5 + random.next() * 3_000, now, out))
  const victim = random.next() < 0.8 ? 'n0' : pick(ids, random)
  sim.after(random.next() * 200, () => {
    sim.crash(victim)
    checker.crashed(victim)
    sim.after(random.next() * 400, () => sim.restart(victim))
  })
  sim.run(120_000)
  return checker
}

function pick(ids: readonly string[], random: Random): string {
  return ids[Math.floor(random.next() * ids.length)] ?? ''
}

function submit(sim: Simulator<TaskMessage, TaskSimNode>, ids: readonly string[], task: string, random: Random): void {
  const id = pick(ids, random)
  // From a few milliseconds to longer than a lease.
  const workMs = 5 + random.next() ** 3 * 25_000
  if (sim.isUp(id)) sim.call(id, (node, now, out) => node.submit(task, workMs, now, out))
}

function strike(
  sim: Simulator<TaskMessage, TaskSimNode>,
  ids: readonly string[],
  random: Random,
  checker: Checker,
): void {
  const what = random.next()
  const victim = pick(ids, random)
  if (what < 0.5) {
    sim.crash(victim)
    checker.crashed(victim)
    sim.after(100 + random.next() * 20_000, () => sim.restart(victim))
  } else if (what < 0.8) {
    const cut = new Set(ids.filter(() => random.next() < 0.4))
    sim.partition((id) => (cut.has(id) ? 1 : 0))
    sim.after(100 + random.next() * 15_000, () => sim.heal())
  } else if (sim.isUp(victim)) {
    sim.call(victim, (node, now, out) => node.cancel(`t${Math.floor(random.next() * 100)}`, now, out))
  }
}

function judge(checker: Checker, storm: Storm): void {
  const because = `seed ${storm.seed}, ${JSON.stringify(storm)}`
  expect(checker.violations, because).toEqual([])
  const lost = [...checker.acknowledged].filter((task) => !checker.endings.has(task))
  expect(lost, `tasks without an end: ${because}`).toEqual([])
  const twice = [...checker.endings].filter(([, endings]) => endings.length !== 1)
  expect(twice, `tasks with several ends: ${because}`).toEqual([])
}

describe('leases under faults', () => {
  test('in calm weather every task completes on its first lease', () => {
    const storm = { seed: 1, nodes: 20, tasks: 100, loss: 0, faults: 0 }
    const checker = weather(storm)
    judge(checker, storm)
    expect([...checker.endings.values()].every(([ending]) => ending?.state === 'completed')).toBe(true)
    expect([...checker.acceptances.values()].every(([epoch]) => epoch === 1)).toBe(true)
  })

  test('in any weather: one result a task, one worker at a time, no acknowledged task lost', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const storm = { seed, nodes: 6, tasks: 40, loss: 0.002, faults: 12 }
      judge(weather(storm), storm)
    }
  })

  test('F02: killed at any moment between submission and result, between two syncs above all: the same', () => {
    for (let seed = 1; seed <= 400; seed++) {
      const checker = killedSoonAfter(seed)
      judge(checker, { seed, nodes: 5, tasks: 1, loss: 0, faults: 1 })
    }
  })

  test('the same on 120 nodes', () => {
    const storm = { seed: 7, nodes: 120, tasks: 600, loss: 0.001, faults: 80 }
    const checker = weather(storm)
    judge(checker, storm)
    expect(checker.acknowledged.size).toBeGreaterThan(400)
  })
})
