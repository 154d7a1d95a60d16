/** Real daemons on hosts that are slow or strange, not broken: a slow disk, hardly any processor, an uptime of its own. Nothing may be lost or given up for it. */
import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { type Mesh, verifyReceipt } from '../../sdk/src/index.ts'
import { RealMesh, type RealNode } from '../support/real-mesh.ts'

let mesh: RealMesh | undefined

afterEach(async () => {
  await mesh?.close()
  mesh = undefined
})

/** Programs are named as they are started: the tests are skipped, with a word, where the host has or allows them not. */
function usable(what: string, [program, ...args]: readonly [string, ...string[]]): boolean {
  const works = spawnSync(program, [...args, 'true']).status === 0
  if (!works) console.warn(`SKIPPED: ${what}: ${program} is not there or not allowed`)
  return works
}

const SLOW_SYNCS = ['strace', '-f', '--seccomp-bpf', '-qq', '-o', '/dev/null', '-e', 'trace=fdatasync,fsync'] as const
/** Each sync of a file takes half a second more */
const INJECT = ['-e', 'inject=fdatasync,fsync:delay_enter=500000'] as const
const OLD_HOST = [
  'unshare',
  '--time',
  '--monotonic',
  '10000000',
  '--boottime',
  '10000000',
  '--fork',
  '--kill-child',
] as const

const double = 'export default (n) => n * 2'
const doubled = (sdk: Mesh, count: number): Promise<unknown[]> =>
  Promise.all(Array.from({ length: count }, (_, n) => sdk.run(double, { input: n })))
const expected = (count: number): number[] => Array.from({ length: count }, (_, n) => 2 * n)

test.skipIf(!usable('F19 slow disk', [...SLOW_SYNCS, ...INJECT]))(
  'F19: with a disk that takes half a second for each sync, work waits and all of it ends',
  async () => {
    mesh = await RealMesh.start({ name: 'alice', through: [...SLOW_SYNCS, ...INJECT] })
    const [alice] = mesh.nodes as [RealNode]
    const sdk = await alice.sdk()
    const began = performance.now()
    expect(await sdk.run(double, { input: 4 })).toBe(8)
    // It is as slow as it was made: what is acknowledged is synced.
    expect(performance.now() - began).toBeGreaterThan(500)
    expect(await doubled(sdk, 100)).toEqual(expected(100))
    const { tasks } = await sdk.tasks.list({ limit: 200 })
    expect(new Set(tasks.map(({ state, attempts }) => `${state} ${attempts}`))).toEqual(new Set(['completed 1']))
    expect((await sdk.status()).health).toBe('ok')
  },
)

test('F27: a node that gets a twentieth of a processor is slow, and nobody takes it for dead', async () => {
  mesh = await RealMesh.start({ name: 'alice' }, { name: 'bob' })
  const [alice, bob] = mesh.nodes as [RealNode, RealNode]
  const sdk = await alice.sdk()
  const starved = new AbortController()
  const starving = (async () => {
    while (!starved.signal.aborted) {
      bob.signal('SIGSTOP')
      await sleep(190)
      bob.signal('SIGCONT')
      await sleep(10)
    }
  })()
  try {
    const task = await sdk.tasks.start('export default () => new Promise((done) => setTimeout(() => done(7), 4000))', {
      requires: { on: 'bob' },
    })
    expect(await sdk.tasks.wait(task.id)).toMatchObject({ state: 'completed', output: 7, attempts: 1 })
    expect((await sdk.peers()).map(({ name, connected }) => [name, connected])).toEqual([['bob', true]])
  } finally {
    starved.abort()
    await starving
  }
})

test.skipIf(!usable('F25 offset of the monotonic clock', [...OLD_HOST]))(
  'F25: a host whose monotonic clock is months ahead of its peer works with it',
  async () => {
    mesh = await RealMesh.start({ name: 'alice' }, { name: 'bob', through: [...OLD_HOST] })
    const sdk = await (mesh.nodes as [RealNode, RealNode])[0].sdk()
    expect(await sdk.run(double, { input: 3, requires: { on: 'bob' } })).toBe(6)
    const back = await (mesh.nodes as [RealNode, RealNode])[1].sdk()
    expect(await back.run(double, { input: 4, requires: { on: 'alice' } })).toBe(8)
    const [receipt] = await sdk.tasks.receipts((await sdk.tasks.list()).tasks[0]?.id ?? '')
    expect(verifyReceipt(receipt)).toMatchObject({ valid: true })
  },
)
