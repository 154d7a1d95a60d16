/** Real daemons under crashes, hangs and restarts. Leases are short so that their ends come soon; everything else is as users have it. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { connect, verifyReceipt } from '../../sdk/src/index.ts'
import { type NodeOptions, RealMesh, type RealNode, until } from '../support/real-mesh.ts'

const LEASE_MS = 2_000
const SHORT_LEASES = { 'lease.durationMs': String(LEASE_MS), 'lease.renewMs': '600', 'lease.marginMs': '200' }
const named = (name: string, settings: NodeOptions['settings'] = {}): NodeOptions => ({
  name,
  settings: { ...SHORT_LEASES, ...settings },
})

let mesh: RealMesh | undefined

afterEach(async () => {
  await mesh?.close()
  mesh = undefined
})

async function start(...options: NodeOptions[]): Promise<[RealNode, RealNode, RealNode]> {
  mesh = await RealMesh.start(...options)
  return mesh.nodes as [RealNode, RealNode, RealNode]
}

const slow = (ms: number): string =>
  `export default (n) => new Promise((resolve) => setTimeout(() => resolve(n * 2), ${ms}))`

async function holderOf(node: RealNode, task: string): Promise<string> {
  const sdk = await node.sdk()
  let holder = ''
  await until(async () => {
    const view = await sdk.tasks.get(task)
    holder = view.state === 'working' ? (view.lease?.node ?? '') : ''
    return holder !== ''
  }, 'a node holds the task')
  const peers = await sdk.peers()
  return peers.find(({ id }) => id === holder)?.name ?? 'self'
}

describe('the executor', () => {
  test('F01: killed in the middle: the task goes to another node at the next epoch within three leases', async () => {
    const [alice, bob, carol] = await start(named('alice'), named('bob'), named('carol'))
    const sdk = await alice.sdk()
    const task = await sdk.tasks.start(slow(1_500), { input: 21, requires: { on: 'other' } })
    const first = await holderOf(alice, task.id)
    const killedAt = performance.now()
    await (first === 'bob' ? bob : carol).kill()
    const ended = await sdk.tasks.wait(task.id)
    expect(ended).toMatchObject({ state: 'completed', output: 42, lease: { epoch: 2 } })
    expect(performance.now() - killedAt).toBeLessThan(3 * LEASE_MS + 1_500 + 5_000)
    const [receipt] = await sdk.tasks.receipts(task.id)
    expect(verifyReceipt(receipt)).toMatchObject({ valid: true, epoch: 2 })
  })

  test('F06: stopped and continued: its late result is refused, and the other one counts', async () => {
    const [alice, bob, carol] = await start(named('alice'), named('bob'), named('carol'))
    const sdk = await alice.sdk()
    const task = await sdk.tasks.start(slow(1_000), { input: 4, requires: { on: 'other' } })
    const zombie = (await holderOf(alice, task.id)) === 'bob' ? bob : carol
    zombie.signal('SIGSTOP')
    const ended = await sdk.tasks.wait(task.id)
    expect(ended).toMatchObject({ state: 'completed', output: 8, lease: { epoch: 2 } })
    zombie.signal('SIGCONT')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(await sdk.tasks.get(task.id)).toMatchObject({
      state: 'completed',
      lease: { epoch: 2, node: ended.lease?.node },
    })
  })
})

describe('the delegator', () => {
  test('F01: killed: after the restart it knows every acknowledged task, and a key gives the same task', async () => {
    const [alice] = await start(named('alice'), named('bob'))
    let sdk = await alice.sdk()
    const done = await sdk.tasks.run(slow(1), { input: 1, key: 'done' })
    const open = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        sdk.tasks.start(slow(700), { input: n, key: `open-${n}`, requires: { on: n % 2 ? 'other' : 'local' } }),
      ),
    )
    await alice.kill()
    sdk = await alice.up()
    expect(await sdk.tasks.get(done.id)).toMatchObject({ state: 'completed', output: 2 })
    expect((await sdk.tasks.run(slow(1), { input: 1, key: 'done' })).id).toBe(done.id)
    const ended = await Promise.all(open.map(({ id }) => sdk.tasks.wait(id)))
    expect(ended.map(({ state, output }) => [state, output])).toEqual(open.map((_, n) => ['completed', n * 2]))
    const again = await sdk.tasks.start(slow(700), { input: 3, key: 'open-3', requires: { on: 'other' } })
    expect(again.id).toBe(open[3]?.id)
    await expect(sdk.tasks.start(slow(700), { input: 4, key: 'open-3' })).rejects.toMatchObject({
      code: 'E_KEY_REUSED',
    })
  })

  test.each(['journal.before-batch', 'journal.after-batch'])(
    'F02: killed at every fiftieth %s: a run tried again with its key is one task with one answer',
    async (point) => {
      const env = { MANYHANDS_FAILPOINT: `${point}:kill:50` }
      const [alice] = await start({ ...named('alice'), env }, named('bob'))
      let lives = 1
      let over = false
      const keepAlive = (async () => {
        while (!over) {
          if (!alice.running) {
            lives += 1
            await alice.up().catch(() => undefined)
          }
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      })()
      const client = await connect({ home: alice.home })
      for (let n = 0; n < 60; n++) {
        const options = { input: n, key: `run-${n}`, requires: { on: n % 3 === 0 ? 'other' : 'local' } }
        expect(await client.run(slow(0), options)).toBe(n * 2)
      }
      over = true
      await keepAlive
      await client.close()
      expect(lives).toBeGreaterThan(1)
      if (!alice.running) await alice.up()
      const { tasks } = await (await alice.sdk()).tasks.list({ limit: 200 })
      expect(tasks.map(({ state }) => state)).toEqual(Array.from({ length: 60 }, () => 'completed'))
    },
    120_000,
  )

  test('JRN-13: killed between an outside effect and its record: the effect is not repeated, and its outcome is called unknown', async () => {
    const [alice] = await start(named('alice'))
    const sdk = await alice.sdk()
    let charged = 0
    const charge = async (): Promise<number> => {
      charged += 1
      await alice.kill()
      return charged
    }
    const program = 'export default async (input, env) => env.charge()'
    const lost = sdk.run(program, { key: 'order-7', host: { charge } }).catch((error: unknown) => error)
    await until(() => Promise.resolve(charged === 1 && !alice.running), 'the daemon died after the effect')
    const after = await alice.up()
    const unknown = { code: 'E_CALLER_GONE', hint: expect.stringMatching(/effects .* unknown/) as string }
    await expect(after.run(program, { key: 'order-7', host: { charge } })).rejects.toMatchObject(unknown)
    expect(await lost).toBeInstanceOf(Error)
    expect(charged).toBe(1)
  })

  test('a map goes on after its daemon was killed, and repeats no piece that was done', async () => {
    const [alice] = await start(named('alice'), named('bob'))
    let sdk = await alice.sdk()
    const inputs = Array.from({ length: 400 }, (_, n) => n)
    const run = sdk.map<number>(slow(20), inputs, { key: 'map', pieceSize: 5, fresh: true })
    const tasks = run.tasks().catch(() => [])
    await until(() => run.progress.value.done > 40, 'a part is done', 60_000)
    await alice.kill()
    run.cancel()
    await tasks
    sdk = await alice.up()
    const { tasks: found } = await sdk.tasks.list({ kind: 'map' })
    const [task] = found
    expect(task).toBeDefined()
    const before = task?.progress?.done ?? 0
    expect(before).toBeGreaterThan(0)
    const ended = await sdk.tasks.wait(task?.id ?? '')
    expect(['completed', 'canceled']).toContain(ended.state)
    if (ended.state === 'completed') {
      const { items } = await sdk.tasks.results(ended.id, 0, 400)
      expect(items.map((item) => (item?.ok === true ? item.output : undefined))).toEqual(inputs.map((n) => n * 2))
    }
  })

  test('F29: restarts in a row neither lose tasks nor let the node grow', async () => {
    const [alice] = await start(named('alice'))
    const ids: string[] = []
    for (let round = 0; round < 5; round++) {
      const sdk = await alice.sdk()
      ids.push((await sdk.tasks.start(slow(20), { input: round })).id)
      await alice.kill()
      await alice.up()
    }
    const sdk = await alice.sdk()
    const ended = await Promise.all(ids.map((id) => sdk.tasks.wait(id)))
    expect(ended.map(({ output }) => output)).toEqual([0, 2, 4, 6, 8])
    expect((await readdir(join(alice.home, 'run'))).length).toBeLessThan(5)
  })

  test('F30: asked to stop under load, it lets work end, stores it and exits with 0', async () => {
    const [alice] = await start(named('alice'))
    const sdk = await alice.sdk()
    const task = await sdk.tasks.start(slow(400), { input: 6 })
    await until(async () => (await sdk.tasks.get(task.id)).state === 'working', 'it works')
    expect(await alice.down()).toBe(0)
    const after = await alice.up()
    expect(await after.tasks.wait(task.id)).toMatchObject({ state: 'completed', output: 12 })
  })

  test('F30: Ctrl-C in its terminal, which all processes of its group get, lets work end too', async () => {
    const [alice] = await start(named('alice'))
    const sdk = await alice.sdk()
    const task = await sdk.tasks.start(slow(1_500), { input: 6 })
    await until(async () => (await sdk.tasks.get(task.id)).state === 'working', 'it works')
    await new Promise((resolve) => setTimeout(resolve, 300))
    process.kill(-alice.pid, 'SIGINT')
    await until(() => !alice.running, 'it has ended')
    const after = await alice.up()
    expect(await after.tasks.wait(task.id)).toMatchObject({ state: 'completed', output: 12, attempts: 1 })
  })

  test('F30: asked to stop the moment it answers, it exits with 0 too', async () => {
    const [alice] = await start(named('alice'))
    const codes = [await alice.down()]
    for (let round = 0; round < 4; round++) {
      await alice.up()
      codes.push(await alice.down())
    }
    expect(codes).toEqual([0, 0, 0, 0, 0])
  })
})

describe('the mesh', () => {
  test('D2: without index and mDNS a node that joins late finds every provider', async () => {
    const quiet = { 'discovery.dht': 'false', 'discovery.mdns': 'false' }
    const [alice] = await start(named('alice', quiet), named('bob', { ...quiet, labels: 'gpu' }))
    const late = await mesh?.add(named('late', quiet))
    const sdk = await late?.sdk()
    await until(
      async () =>
        ((await sdk?.capabilities('gpu')) ?? []).some(({ nodes }) => nodes.some(({ name }) => name === 'bob')),
      'late knows of bob',
    )
    const task = await sdk?.tasks.run(slow(1), { input: 5, requires: { labels: ['gpu'] } })
    expect(task).toMatchObject({ state: 'completed', output: 10 })
    expect(alice.running).toBe(true)
  })

  test('a whole cluster that was killed comes back by itself', async () => {
    const nodes = await start(named('alice'), named('bob'), named('carol'))
    await Promise.all(nodes.map((node) => node.kill()))
    await Promise.all(nodes.map((node) => node.up()))
    await mesh?.connected()
    const sdk = await nodes[1].sdk()
    expect(await sdk.run(slow(1), { input: 9, requires: { on: 'carol' } })).toBe(18)
  })
})
