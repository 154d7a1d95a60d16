/** Real daemons in network namespaces of their own, joined by a pair of virtual Ethernet devices, so that one of them can get another address. */
import { execFileSync, spawnSync } from 'node:child_process'
import { afterEach, expect, test } from 'vitest'
import type { Mesh } from '../../sdk/src/index.ts'
import { type NodeOptions, RealMesh, until } from '../support/real-mesh.ts'

const BETWEEN_MS = 30_000

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' })
const names = { alice: `mha${process.pid}`, bob: `mhb${process.pid}` } as const

function problem(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may make network namespaces'
  const made = spawnSync('ip', ['netns', 'add', `mh${process.pid}`])
  if (made.status === 0) ip('netns', 'del', `mh${process.pid}`)
  return made.status === 0 ? undefined : 'network namespaces are not to be had here'
}

const missing = problem()
if (missing !== undefined) console.warn(`SKIPPED: F34 changed addresses: ${missing}`)

let mesh: RealMesh | undefined

afterEach(async () => {
  await mesh?.close()
  mesh = undefined
  for (const name of Object.values(names)) spawnSync('ip', ['netns', 'del', name])
})

const inside = (name: keyof typeof names): NodeOptions => ({
  name,
  through: ['ip', 'netns', 'exec', names[name]],
  settings: { 'net.listen': '/ip4/0.0.0.0/tcp/0' },
})

function connectNamespaces(): void {
  const [alice, bob] = [names.alice, names.bob]
  for (const name of [alice, bob]) ip('netns', 'add', name)
  ip('link', 'add', 'eth0', 'netns', alice, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', bob)
  for (const [name, address] of [
    [alice, '10.91.0.1/24'],
    [bob, '10.91.0.2/24'],
  ] as const) {
    ip('-n', name, 'addr', 'add', address, 'dev', 'eth0')
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    ip('-n', name, 'link', 'set', 'lo', 'up')
  }
}

const sees = async (sdk: Mesh): Promise<boolean> => (await sdk.peers()).some(({ connected }) => connected)

test.skipIf(missing !== undefined)(
  'F34: a node gets another address: it is found there again, and its work goes on',
  async () => {
    connectNamespaces()
    mesh = await RealMesh.start(inside('alice'), inside('bob'))
    const [alice, bob] = await Promise.all(mesh.nodes.map((node) => node.sdk()))
    if (alice === undefined || bob === undefined) throw new Error('a node is missing')
    const double = 'export default (n) => n * 2'
    expect(await alice.run(double, { input: 1, requires: { on: 'bob' } })).toBe(2)

    ip('-n', names.bob, 'addr', 'del', '10.91.0.2/24', 'dev', 'eth0')
    ip('-n', names.bob, 'addr', 'add', '10.91.0.7/24', 'dev', 'eth0')
    const works = (asks: Mesh, does: string) => async (): Promise<boolean> =>
      (await Promise.race([
        asks.run(double, { input: 3, requires: { on: does } }).catch(() => undefined),
        new Promise((resolve) => setTimeout(resolve, 2_000)),
      ])) === 6
    await until(works(alice, 'bob'), 'alice reaches bob at the new address', BETWEEN_MS)
    await until(works(bob, 'alice'), 'bob reaches alice', BETWEEN_MS)
    expect((await sees(alice)) && (await sees(bob))).toBe(true)
    await until(
      async () => JSON.stringify(await alice.peers()).includes('10.91.0.7'),
      'the new address is known',
      BETWEEN_MS,
    )
  },
  3 * BETWEEN_MS,
)
