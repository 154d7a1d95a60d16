/** What is optional: the label index and finding peers on the LAN. */
import { networkInterfaces } from 'node:os'
import { afterEach, expect, test, vi } from 'vitest'
import { createNet, type NetConfig } from './libp2p-net.ts'
import type { MeshNet } from './mesh-net.ts'

const nets: MeshNet[] = []
afterEach(() => Promise.all(nets.splice(0).map((net) => net.close())))

async function node(fill: number, config: Partial<NetConfig>): Promise<MeshNet> {
  const net = await createNet({
    meshId: 'found',
    seed: new Uint8Array(32).fill(fill),
    networkKey: new Uint8Array(32).fill(1),
    gate: { admits: () => true, serves: () => true },
    listen: ['/ip4/127.0.0.1/tcp/0'],
    allowLoopback: true,
    inboundPerSecond: 1000,
    ...config,
  })
  nets.push(net)
  return net
}

const found = async (net: MeshNet, label: string): Promise<string[]> => {
  const peers: string[] = []
  for await (const peer of net.findProviders(label, AbortSignal.timeout(3000))) peers.push(peer)
  return peers
}

test('a label provided by one node is found by another that is only connected through a third', async () => {
  const [a, b, c] = [await node(1, { dht: true }), await node(2, { dht: true }), await node(3, { dht: true })]
  await a.connect(b.self, b.addresses())
  await c.connect(b.self, b.addresses())
  await vi.waitFor(
    async () => {
      await a.provide('tool/search', AbortSignal.timeout(2000))
      expect(await found(c, 'tool/search')).toEqual([a.self])
    },
    { timeout: 20_000, interval: 200 },
  )
  expect(await found(c, 'tool/other')).toEqual([])
}, 30_000)

test('without an index nothing is provided or found, and nothing fails', async () => {
  const a = await node(1, {})
  await a.provide('tool/search')
  expect(await found(a, 'tool/search')).toEqual([])
})

const onLan = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ family, internal }) => family === 'IPv4' && !internal),
)

test.skipIf(!onLan)('nodes of a mesh find each other on the LAN, nodes of another mesh do not', async () => {
  const lan: Partial<NetConfig> = { mdns: true, listen: ['/ip4/0.0.0.0/tcp/0'], meshId: `lan-${process.pid}` }
  const a = await node(1, lan)
  const seen: string[] = []
  a.on((event) => event.type === 'peer-found' && seen.push(event.peer))
  const other = await node(2, { ...lan, meshId: 'another' })
  const b = await node(3, lan)
  await vi.waitFor(() => expect(seen).toContain(b.self), 8000)
  expect(seen).not.toContain(other.self)
})
