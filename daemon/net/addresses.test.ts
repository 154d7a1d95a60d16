import { expect, it, vi } from 'vitest'
import { nodeIdFromSeed } from '../../protocol/node-id.ts'
import { resolveAddresses } from './addresses.ts'

/** As a resolver that cannot be reached */
vi.mock('node:dns/promises', () => ({ lookup: () => new Promise(() => undefined) }))

const peer = nodeIdFromSeed(new Uint8Array(32))
const both = ['/dns4/home.example/tcp/4000', '/ip4/192.168.1.5/tcp/4000']
const direct = [`/ip4/192.168.1.5/tcp/4000/p2p/${peer}`]

it('waits for a name only so long that the other addresses can still be dialed', async () => {
  expect((await resolveAddresses(peer, both, AbortSignal.timeout(10_000))).map(String)).toEqual(direct)
}, 5_000)

it('waits for no name once its signal aborts', async () => {
  const stop = new AbortController()
  const found = resolveAddresses(peer, both, stop.signal)
  stop.abort()
  expect((await found).map(String)).toEqual(direct)
  expect((await resolveAddresses(peer, both, stop.signal)).map(String)).toEqual(direct)
})
