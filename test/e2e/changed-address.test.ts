/** Real daemons in network namespaces of their own, joined by a pair of virtual Ethernet devices, so that one of them can get another address. */
import { afterEach, expect, test } from 'vitest'
import type { Mesh } from '../../sdk/src/index.ts'
import { RealMesh, until } from '../support/real-mesh.ts'
import { ip, VethPair, vethProblem } from '../support/veth-pair.ts'

const BETWEEN_MS = 30_000

const link = new VethPair()
const missing = vethProblem()
if (missing !== undefined) console.warn(`SKIPPED: F34 changed addresses: ${missing}`)

let mesh: RealMesh | undefined

afterEach(async () => {
  await mesh?.close()
  mesh = undefined
  link.remove()
})

const sees = async (sdk: Mesh): Promise<boolean> => (await sdk.peers()).some(({ connected }) => connected)

test.skipIf(missing !== undefined)(
  'F34: a node gets another address: it is found there again, and its work goes on',
  async () => {
    link.connect()
    mesh = await RealMesh.start(link.inside('alice'), link.inside('bob'))
    const [alice, bob] = await Promise.all(mesh.nodes.map((node) => node.sdk()))
    if (alice === undefined || bob === undefined) throw new Error('a node is missing')
    const double = 'export default (n) => n * 2'
    expect(await alice.run(double, { input: 1, requires: { on: 'bob' } })).toBe(2)

    ip('-n', link.bob, 'addr', 'del', '10.91.0.2/24', 'dev', 'eth0')
    ip('-n', link.bob, 'addr', 'add', '10.91.0.7/24', 'dev', 'eth0')
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
