/** Real daemons behind links that fail: every byte between them passes a proxy that may delay, hold back or swallow it. */
import { afterEach, expect, test } from 'vitest'
import { type Mesh, verifyReceipt } from '../../sdk/src/index.ts'
import { behindProxy } from '../support/behind-proxy.ts'
import type { Chaos, ChaosProxy } from '../support/chaos-proxy.ts'
import { RealMesh, until } from '../support/real-mesh.ts'

let mesh: RealMesh | undefined
const proxies: ChaosProxy[] = []

afterEach(async () => {
  await mesh?.close()
  mesh = undefined
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()))
})

async function start(): Promise<[Mesh, Mesh]> {
  const behind = [await behindProxy('alice', 1), await behindProxy('bob', 2)]
  proxies.push(...behind.map(({ proxy }) => proxy))
  mesh = await RealMesh.start(...behind.map(({ options }) => options))
  const [alice, bob] = await Promise.all(mesh.nodes.map((node) => node.sdk()))
  if (alice === undefined || bob === undefined) throw new Error('a node is missing')
  expect(proxies.reduce((sum, { open }) => sum + open, 0)).toBeGreaterThan(0)
  return [alice, bob]
}

const degrade = (chaos: Chaos): void => {
  for (const proxy of proxies) proxy.set(chaos)
}

const seesOther = async (sdk: Mesh): Promise<boolean> => (await sdk.peers()).some(({ connected }) => connected)

test('F07: each side of a cut works on alone; healed, they find each other and what was under way ends once', async () => {
  const [alice, bob] = await start()
  const slow = 'export default (n) => new Promise((done) => setTimeout(() => done(n * 2), 1500))'
  const task = await alice.tasks.start(slow, { input: 21, requires: { on: 'bob' } })
  await until(async () => (await alice.tasks.get(task.id)).state === 'working', 'bob works')

  for (const proxy of proxies) {
    proxy.silence()
    proxy.cut()
  }
  await until(async () => !(await seesOther(alice)) && !(await seesOther(bob)), 'the cut is noticed')
  for (const sdk of [alice, bob]) expect(await sdk.run('export default (n) => n + 1', { input: 1 })).toBe(2)
  expect((await alice.tasks.get(task.id)).state).toBe('working')

  for (const proxy of proxies) {
    proxy.unsilence()
    // Dials that were swallowed half-way would only end by their deadline.
    proxy.cut()
  }
  await until(async () => (await seesOther(alice)) && (await seesOther(bob)), 'they are connected again')
  expect(await alice.tasks.wait(task.id)).toMatchObject({ state: 'completed', output: 42 })
  const receipts = await alice.tasks.receipts(task.id)
  expect(receipts.map((receipt) => verifyReceipt(receipt).valid)).toEqual([true])
  for (const [asks, does] of [
    [alice, 'bob'],
    [bob, 'alice'],
  ] as const)
    expect(await asks.run('export default (n) => n + 2', { input: 1, requires: { on: does } })).toBe(3)
})

test('F10: over a narrow link a large input takes its time, at its first attempt', async () => {
  const [alice] = await start()
  degrade({ bytesPerSecond: 300_000 })
  const { state, output, attempts } = await alice.tasks.run('export default (text) => text.length', {
    input: 'x'.repeat(1_500_000),
    requires: { on: 'bob' },
  })
  expect([state, output, attempts]).toEqual(['completed', 1_500_000, 1])
})

test('F10: over a slow link that loses packets tasks take longer, and all of them end at their first attempt', async () => {
  const [alice, bob] = await start()
  degrade({ delayMs: 40, jitterMs: 30, loss: 0.1, lossDelayMs: 200 })
  const all = await Promise.all(
    Array.from({ length: 30 }, (_, n) =>
      alice.tasks.run('export default (n) => n * 3', { input: n, requires: { on: 'bob' } }),
    ),
  )
  expect(all.map(({ state, output, attempts }) => [state, output, attempts])).toEqual(
    all.map((_, n) => ['completed', n * 3, 1]),
  )
  const inputs = Array.from({ length: 300 }, (_, n) => n)
  expect(await bob.map<number>('export default (n) => n + 1', inputs, { pieceSize: 10 }).all()).toEqual(
    inputs.map((n) => n + 1),
  )
  expect((await seesOther(alice)) && (await seesOther(bob))).toBe(true)
})
