import { getEventListeners } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { orderHooks } from '../../test/support/orders.ts'
import { DEFAULT_LIMITS, type TaskNode, taskMesh, taskNode } from '../../test/support/task-node.ts'
import type { TaskView } from '../../protocol/api.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { JobFailure, Limits } from '../../protocol/job.ts'
import { verifyReceipt } from '../../protocol/receipt/receipt.ts'
import type { NewRecord } from '../journal/journal.ts'
import { MemoryJournal } from '../journal/memory-journal.ts'
import { MemoryNetwork } from '../net/memory-net.ts'
import { TASK_ENGINE_RECORDS } from './records.ts'
import type { CallerHooks } from './tasks.ts'

const caller = { subject: 'local' }

/** Has no room for some pieces, as a journal whose disk is slow while many large results come in. */
class CrowdedJournal extends MemoryJournal {
  refusals = 3
  override append(record: NewRecord): Promise<number> {
    if (record.type !== 'piece.ended' || this.refusals === 0) return super.append(record)
    this.refusals -= 1
    return Promise.reject(new MeshError('E_OVERLOADED', 'Too many wait', { retryAfterMs: 5 }))
  }
}

const double = { program: { source: 'export default (n) => n * 2' } }
const open: TaskNode[] = []

afterEach(async () => {
  for (const node of open.splice(0)) await node.close()
})

async function mesh(...args: Parameters<typeof taskMesh>): Promise<[TaskNode, TaskNode, TaskNode]> {
  const nodes = await taskMesh(...args)
  open.push(...nodes)
  return nodes as [TaskNode, TaskNode, TaskNode]
}

async function run(
  node: TaskNode,
  request: Parameters<TaskNode['engine']['run']>[0],
  hooks?: CallerHooks & { hostFunctions?: string[] },
): Promise<TaskView> {
  const task = await node.engine.run(request, caller, hooks)
  return node.engine.ended(task.id)
}

describe('runs', () => {
  test('run here: the result, its lease, and a receipt that verifies', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a'])
    const task = await run(a, { ...double, input: 21 })
    expect(task).toMatchObject({ state: 'completed', output: 42, lease: { node: a.id, epoch: 1 }, attempts: 1 })
    const [receipt] = await a.engine.receipts(task.id)
    expect(receipt && verifyReceipt(receipt)).toMatchObject({
      valid: true,
      node: a.id,
      task: task.id,
      outcome: 'completed',
    })
  })

  test('are listed in pages, and after no task that is not there', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a'])
    const ids = [(await run(a, double)).id, (await run(a, double)).id, (await run(a, double)).id]
    const first = await a.engine.list({ limit: 2 })
    const second = await a.engine.list({ limit: 2, after: first.next ?? '' })
    expect([...first.tasks, ...second.tasks].map(({ id }) => id).toSorted()).toEqual(ids.toSorted())
    await expect(a.engine.list({ limit: 2, after: 't0nosuchtask' })).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  })

  test('run on another node: offered, bid, bound, and signed by who did it', async () => {
    const [a, b] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const task = await run(a, { ...double, input: 4, requires: { on: 'other' } })
    expect(task).toMatchObject({ state: 'completed', output: 8, lease: { node: b.id, epoch: 1 } })
    const [receipt] = await a.engine.receipts(task.id)
    expect(receipt && verifyReceipt(receipt)).toMatchObject({ valid: true, node: b.id })
    const { rounds } = await a.engine.explain(task.id)
    expect(rounds[0]?.candidates).toContainEqual(expect.objectContaining({ node: b.id, outcome: 'chosen' }))
    expect(rounds[0]?.candidates).toContainEqual(expect.objectContaining({ node: a.id, outcome: 'filtered' }))
  })

  test('a large input and a large result cross in parts', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const input = 'x'.repeat(900_000)
    const task = await run(a, {
      program: { source: 'export default (s) => s + s' },
      input: input.slice(0, 450_000),
      requires: { on: 'other' },
    })
    expect(task.output).toBe(input)
  })

  test('a limit of none at all is none on another node too', async () => {
    const [a, b] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const take = b.hands.take.bind(b.hands)
    const seen: Limits[] = []
    b.hands.take = (order, events) => {
      seen.push(order.limits)
      return take(order, events)
    }
    const limits = { logBytes: 0, hostCalls: 0, hostCallBytes: 0 }
    await run(a, { ...double, input: 1, limits, requires: { on: 'other' } })
    expect(seen).toEqual([{ ...DEFAULT_LIMITS, ...limits }])
  })

  test('a failing program fails the task with its error', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const task = await run(a, {
      program: { source: 'export default () => { throw new Error("no") }' },
      requires: { on: 'other' },
    })
    expect(task).toMatchObject({ state: 'failed', error: { code: 'E_GUEST', message: 'no' } })
  })

  test('host functions of the caller are called from the other node', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const request = {
      program: { source: 'export default async (n, env) => (await env.add(n, 1)) * 2' },
      input: 4,
      requires: { on: 'other' },
    }
    const onHostCall = async (name: string, args: string): Promise<string> => {
      const numbers = JSON.parse(args) as number[]
      return JSON.stringify(name === 'add' ? numbers.reduce((sum, n) => sum + n) : null)
    }
    expect(await run(a, request, { hostFunctions: ['add'], onHostCall })).toMatchObject({ output: 10 })
  })

  test('host calls that were answered leave nothing on the signal of their job', async () => {
    const [a, b] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const take = b.hands.take.bind(b.hands)
    const { signal } = new AbortController()
    const onHostCall = async (): Promise<string> => '1'
    b.hands.take = (order, events) =>
      take(order, { ...events, onHostCall: (name, args) => events.onHostCall(name, args, signal) })
    const request = {
      program: { source: 'export default async (n, env) => { for (let i = 0; i < n; i++) await env.one(); return n }' },
      input: 5,
      requires: { on: 'other' },
    }
    expect(await run(a, request, { hostFunctions: ['one'], onHostCall })).toMatchObject({ output: 5 })
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  test('work that a node gives back goes on elsewhere at the next epoch', async () => {
    const [a, b, c] = await mesh(new MemoryNetwork(), ['a', 'b', 'c'])
    b.executor.losses = 1
    c.executor.losses = 1
    const task = await run(a, { ...double, input: 1, requires: { on: 'other' } })
    expect(task).toMatchObject({ state: 'completed', output: 2 })
    expect(task.attempts).toBeGreaterThan(1)
  })

  test('a demanded grade that nobody offers is refused with the reason', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const task = await run(a, { ...double, input: 1, requires: { grade: 'microvm' } })
    expect(task).toMatchObject({ state: 'failed', error: { code: 'E_GRADE' } })
  })

  test('a place that no node is called is told at once, for a run and for a map', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const message: unknown = expect.stringContaining('called "nope"')
    const wanted = { state: 'failed', error: { code: 'E_NOT_FOUND', message } }
    expect(await run(a, { ...double, input: 1, requires: { on: 'nope' } })).toMatchObject(wanted)
    const map = await a.engine
      .map({ ...double, inputs: [1], requires: { on: 'nope' } }, caller)
      .catch((error: unknown) => error)
    expect(map).toMatchObject(wanted.error)
  })

  test('cancel ends a task that runs elsewhere', async () => {
    const [a, b] = await mesh(new MemoryNetwork(), ['a', 'b'])
    b.executor.gate = new Promise(() => undefined)
    const task = await a.engine.run({ ...double, input: 1, requires: { on: 'other' } }, caller)
    while (a.engine.get(task.id)?.state !== 'working') await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await a.engine.cancel(task.id)).toMatchObject({ state: 'canceled', error: { code: 'E_CANCELED' } })
  })
})

describe('faults', () => {
  test('F06: a node cut off during the work loses it after its lease, and what it sends later is refused and noted', async () => {
    const network = new MemoryNetwork()
    const [a, b, c] = await mesh(network, ['a', 'b', 'c'], { leaseMs: 1_000 })
    const gate = Promise.withResolvers<void>()
    b.executor.gate = gate.promise
    c.executor.gate = gate.promise
    const task = await a.engine.run({ ...double, input: 5, requires: { on: 'other' } }, caller)
    while (a.engine.get(task.id)?.state !== 'working') await new Promise((resolve) => setTimeout(resolve, 5))
    const first = a.engine.get(task.id)?.lease?.node === b.id ? b : c
    const second = first === b ? c : b
    network.partition([[], [first.id]])
    second.executor.gate = undefined
    const ended = await a.engine.ended(task.id)
    expect(ended).toMatchObject({ state: 'completed', output: 10, lease: { node: second.id, epoch: 2 } })
    gate.resolve()
    network.heal()
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(a.engine.get(task.id)).toMatchObject({ lease: { node: second.id, epoch: 2 } })
  })

  test('SDK-06: fifty requests with one key make one task, run once', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a'])
    const tasks = await Promise.all(
      Array.from({ length: 50 }, () => a.engine.run({ ...double, input: 3 }, { ...caller, key: 'k1' })),
    )
    expect(new Set(tasks.map((task) => task.id)).size).toBe(1)
    await a.engine.ended(tasks[0]?.id ?? '')
    expect(a.executor.runs).toBe(1)
    await expect(a.engine.run({ ...double, input: 4 }, { ...caller, key: 'k1' })).rejects.toMatchObject({
      code: 'E_KEY_REUSED',
    })
  })

  test('F01: after a restart an acknowledged task ends, and its key gives the same task', async () => {
    const network = new MemoryNetwork()
    const journal = new MemoryJournal({ types: TASK_ENGINE_RECORDS })
    const before = taskNode({ network, name: 'a', mesh: () => [before], journal })
    before.executor.gate = new Promise(() => undefined)
    const task = await before.engine.run({ ...double, input: 8 }, { ...caller, key: 'again' })
    await before.net.close()
    const after = taskNode({ network, name: 'a', mesh: () => [after], journal })
    open.push(after)
    expect(await after.engine.recover()).toBe(1)
    expect(await after.engine.ended(task.id)).toMatchObject({ state: 'completed', output: 16, lease: { epoch: 2 } })
    expect((await after.engine.run({ ...double, input: 8 }, { ...caller, key: 'again' })).id).toBe(task.id)
  })

  test('a task that ended while the disk was full can be waited for once its end is stored', async () => {
    const journal = new MemoryJournal({ types: TASK_ENGINE_RECORDS })
    const node = taskNode({ network: new MemoryNetwork(), name: 'a', mesh: () => [node], journal })
    open.push(node)
    const gate = Promise.withResolvers<void>()
    node.executor.gate = gate.promise
    const keyed = { ...caller, key: 'full' }
    const { id } = await node.engine.run({ ...double, input: 4 }, keyed)
    const waiting = node.engine.ended(id)
    journal.setFailing('its disk is full')
    node.engine.cancel(id).catch(() => undefined)
    await expect(waiting).rejects.toMatchObject({ code: 'E_STORAGE' })
    journal.setFailing(undefined)
    await expect.poll(() => node.engine.get(id)?.state, { timeout: 5_000 }).toBe('canceled')
    expect((await node.engine.run({ ...double, input: 4 }, keyed)).id).toBe(id)
    expect(await node.engine.ended(id)).toMatchObject({ state: 'canceled' })
    gate.resolve()
  })

  test('P2P-10: a replayed bind is refused', async () => {
    const [a, b] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const { RemoteWorker } = await import('./remote-worker.ts')
    const { specOf } = await import('./submission.ts')
    const { DEFAULT_LIMITS } = await import('../../test/support/task-node.ts')
    const spec = specOf(double, ['1'], [], { defaults: DEFAULT_LIMITS, ceilings: DEFAULT_LIMITS })
    const order = {
      task: 't1',
      epoch: 1,
      kind: 'run' as const,
      program: spec.program,
      digest: spec.digest,
      inputs: ['1'],
      limits: spec.limits,
      grade: undefined,
      hostFunctions: [],
      fresh: false,
      delegator: a.id,
      leaseMs: 2_000,
      deadlineMs: undefined,
      path: [a.id],
    }
    const place = (): Promise<string> =>
      new Promise((resolve) => {
        const hooks = orderHooks({
          onRefused: (error) => resolve(error.code),
          onResult: () => resolve('result'),
          onLost: () => resolve('lost'),
        })
        new RemoteWorker(b.id, a.net).place(order, hooks)
      })
    expect(await place()).toBe('result')
    expect(await place()).toBe('E_REPLAYED')
    expect(b.notes).toContainEqual(expect.objectContaining({ what: 'refused a replayed bind' }))
  })
})

describe('maps', () => {
  test('results of one piece that are too much together fail alone, and the piece is run once', async () => {
    const [a, b] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const request = {
      program: { source: 'export default (n) => "x".repeat(n)' },
      inputs: Array.from({ length: 20 }, (_, index) => (index === 7 ? 3 : 1_000_000)),
      pieceSize: 20,
      requires: { on: 'other' },
    }
    const task = await a.engine.map(request, caller)
    const ended = await a.engine.ended(task.id)
    expect(ended).toMatchObject({ state: 'completed', progress: { total: 20, done: 20, retried: 0 } })
    expect(b.hands.outcomes.get('ok')).toBe(1)
    const { items } = await a.engine.results(task.id, 0, 20)
    const good = items.filter((item) => item !== null && 'output' in item)
    expect(good.length).toBeGreaterThan(10)
    expect(items[19]).toMatchObject({
      error: { code: 'E_OUTPUT', hint: expect.stringContaining('pieceSize') as string },
    })
  })

  test('a map spreads over all nodes, in input order, with receipts of each', async () => {
    const [a, b, c] = await mesh(new MemoryNetwork(), ['a', 'b', 'c'])
    const inputs = Array.from({ length: 500 }, (_, index) => index)
    const task = await a.engine.map(
      {
        program: { source: 'export default async (n) => { await new Promise((r) => setTimeout(r, 1)); return n * 2 }' },
        inputs,
        pieceSize: 10,
      },
      caller,
    )
    const ended = await a.engine.ended(task.id)
    expect(ended).toMatchObject({ state: 'completed', progress: { total: 500, done: 500, failed: 0 } })
    expect(Object.keys(ended.progress?.byNode ?? {}).sort()).toEqual([a.id, b.id, c.id].sort())
    const { items } = await a.engine.results(task.id, 0, 500)
    expect(items).toEqual(inputs.map((n) => ({ ok: true, output: n * 2 })))
    const receipts = await a.engine.receipts(task.id)
    expect(receipts).toHaveLength(50)
    expect(receipts.every((receipt) => verifyReceipt(receipt).valid)).toBe(true)
  })

  test('a result that is null is told from one that is not there', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a'])
    const program = { source: 'export default (n) => (n < 2 ? null : new Promise(() => undefined))' }
    const task = await a.engine.map({ program, inputs: [0, 1, 2, 3], pieceSize: 2 }, caller)
    const page = () => a.engine.results(task.id, 0, 4)
    await expect
      .poll(async () => (await page()).items, { timeout: 20_000 })
      .toEqual([{ ok: true, output: null }, { ok: true, output: null }, null, null])
    expect(await page()).toMatchObject({ complete: false })
    await a.engine.cancel(task.id)
    const { items, complete } = await page()
    expect([items.slice(2), complete]).toEqual([[null, null], true])
  })

  test('pieces of a lost node are done again by others', async () => {
    const network = new MemoryNetwork()
    const [a, b] = await mesh(network, ['a', 'b', 'c'], { leaseMs: 800 })
    b.executor.gate = new Promise(() => undefined)
    const inputs = Array.from({ length: 300 }, (_, index) => index)
    const task = await a.engine.map({ ...double, inputs, pieceSize: 10, fresh: true }, caller)
    await expect.poll(() => b.executor.runs).toBeGreaterThan(0)
    // It has said so, too
    await new Promise((resolve) => setTimeout(resolve, 50))
    network.partition([[], [b.id]])
    const ended = await a.engine.ended(task.id)
    expect(ended).toMatchObject({ state: 'completed', progress: { done: 300 } })
    expect(ended.progress?.retried).toBeGreaterThan(0)
    const { items } = await a.engine.results(task.id, 0, 300)
    expect(items.every((item, index) => item?.ok === true && item.output === index * 2)).toBe(true)
  })

  test('a map whose only node is lost for good ends after its patience, as a run does', async () => {
    const [a, b] = await mesh(new MemoryNetwork(), ['a', 'b'], { leaseMs: 500, patienceMs: 500 })
    b.executor.gate = new Promise(() => undefined)
    const request = { ...double, inputs: [1, 2, 3, 4], pieceSize: 1, fresh: true, requires: { on: b.id } }
    const task = await a.engine.map(request, caller)
    await expect.poll(() => a.engine.get(task.id)?.state).toBe('working')
    await b.net.close()
    expect(await a.engine.ended(task.id)).toMatchObject({ state: 'failed', error: { code: 'E_NO_CANDIDATE' } })
  })

  test('canceled while it waits for the leases of before a restart, a map stays ended and writes nothing more', async () => {
    const network = new MemoryNetwork()
    const journal = new MemoryJournal({ types: TASK_ENGINE_RECORDS })
    const leaseMs = 150
    const before = taskNode({ network, name: 'a', mesh: () => [before], journal, leaseMs })
    before.executor.gate = new Promise(() => undefined)
    const { id } = await before.engine.map({ ...double, inputs: [1, 2, 3], fresh: true }, caller)
    await before.net.close()
    const after = taskNode({ network, name: 'a', mesh: () => [after], journal, leaseMs })
    open.push(after)
    expect(await after.engine.recover()).toBe(1)
    expect(await after.engine.cancel(id)).toMatchObject({ state: 'canceled' })
    const { head } = journal
    await new Promise((resolve) => setTimeout(resolve, 2 * leaseMs))
    expect(journal.head).toBe(head)
    expect(after.executor.runs).toBe(0)
  })

  test('pieces for which the journal has no room at the moment wait for it', async () => {
    const journal = new CrowdedJournal({ types: TASK_ENGINE_RECORDS })
    const [a] = await mesh(new MemoryNetwork(), ['a'], { journal })
    const inputs = Array.from({ length: 20 }, (_, index) => index)
    const task = await a.engine.map({ ...double, inputs, pieceSize: 2 }, caller)
    expect(await a.engine.ended(task.id)).toMatchObject({ state: 'completed', progress: { total: 20, done: 20 } })
    expect(journal.refusals).toBe(0)
    const { items } = await a.engine.results(task.id, 0, 20)
    expect(items).toEqual(inputs.map((n) => ({ ok: true, output: n * 2 })))
  })

  test('an input that fails fails alone', async () => {
    const [a] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const source = 'export default (n) => { if (n === 7) throw new Error("seven"); return n }'
    const task = await a.engine.map({ program: { source }, inputs: [6, 7, 8] }, caller)
    expect(await a.engine.ended(task.id)).toMatchObject({ state: 'completed', progress: { done: 3, failed: 1 } })
    const { items } = await a.engine.results(task.id, 0, 3)
    expect(items[1]).toMatchObject({ ok: false, error: { code: 'E_GUEST', message: 'seven' } })
  })
})

describe('sessions', () => {
  test('binds once and answers thousands of calls, here and elsewhere, under one receipt', async () => {
    const [a, b] = await mesh(new MemoryNetwork(), ['a', 'b'])
    for (const [on, node] of [
      ['local', a],
      ['other', b],
    ] as const) {
      const replies = new Map<number, string>()
      const done = Promise.withResolvers<TaskView>()
      const program = {
        main: 'main.js',
        modules: [{ name: 'main.js', type: 'js' as const, source: 'export default (n) => n + 1' }],
      }
      const session = await a.engine.session({ program, hostFunctions: [], requires: { on } }, caller, {
        onReply: (id, output) => replies.set(id, output),
        onCallFailed: (id) => replies.set(id, 'failed'),
        onEnd: (task) => done.resolve(task),
      })
      for (let id = 0; id < 2_000; id++) session.call(id, String(id))
      session.finish()
      const task = await done.promise
      expect(task).toMatchObject({ state: 'completed', lease: { node: node.id } })
      expect(replies.size).toBe(2_000)
      expect(replies.get(1_999)).toBe('2000')
      const [receipt] = await a.engine.receipts(task.id)
      expect(receipt && verifyReceipt(receipt)).toMatchObject({ valid: true, node: node.id })
    }
  })

  test.each([
    ['many large answers', 64, '"x".repeat(200_000)', 1],
    ['many large inputs', 64, 'input.length', 200_000],
    ['answers in parts', 3, '"x".repeat(900_000)', 1],
    ['inputs in parts', 3, 'input.length', 900_000],
    ['very many small ones', 20_000, '"x".repeat(500)', 1],
  ])('elsewhere, %s all arrive before the end', async (_, count, answer, inputChars) => {
    const [a] = await mesh(new MemoryNetwork(), ['a', 'b'])
    const replied: number[] = []
    const failed: JobFailure[] = []
    const done = Promise.withResolvers<TaskView>()
    const source = `export default (input) => ${answer}`
    const program = { main: 'main.js', modules: [{ name: 'main.js', type: 'js' as const, source }] }
    const session = await a.engine.session({ program, hostFunctions: [], requires: { on: 'other' } }, caller, {
      onReply: (id) => replied.push(id),
      onCallFailed: (_id, failure) => failed.push(failure),
      onEnd: (task) => done.resolve(task),
    })
    for (let id = 0; id < count; id++) session.call(id, JSON.stringify('y'.repeat(inputChars)))
    session.finish()
    expect(await done.promise).toMatchObject({ state: 'completed' })
    expect(failed).toEqual([])
    expect(replied.length).toBe(count)
  })

  test('ends with its node: open calls fail, and the task says so', async () => {
    const network = new MemoryNetwork()
    const [a, b] = await mesh(network, ['a', 'b'])
    const failed: number[] = []
    const done = Promise.withResolvers<TaskView>()
    const program = {
      main: 'main.js',
      modules: [{ name: 'main.js', type: 'js' as const, source: 'export default () => new Promise(() => {})' }],
    }
    const session = await a.engine.session({ program, hostFunctions: [], requires: { on: 'other' } }, caller, {
      onReply: () => undefined,
      onCallFailed: (id) => failed.push(id),
      onEnd: (task) => done.resolve(task),
    })
    session.call(1, '1')
    session.call(2, '2')
    await new Promise((resolve) => setTimeout(resolve, 20))
    network.cut(a.id, b.id)
    expect(await done.promise).toMatchObject({ state: 'failed', error: { code: 'E_EXECUTOR_LOST' } })
    expect(failed).toEqual([1, 2])
  })
})
