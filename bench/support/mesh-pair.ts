import { keepHeapSmall } from '../../daemon/cli/small-heap.ts'
import type { MeshNet } from '../../daemon/net/mesh-net.ts'

// As a daemon does at its start, before most of its code is there
keepHeapSmall()
const { createNet } = await import('../../daemon/net/libp2p-net.ts')

const everyone = { admits: () => true, serves: () => true }

/** A node of a bench mesh on loopback, private network included, that serves whoever connects. */
export async function benchNode(networkKey: Uint8Array | undefined): Promise<MeshNet> {
  const seed = crypto.getRandomValues(new Uint8Array(32))
  const listen = ['/ip4/127.0.0.1/tcp/0']
  const net = await createNet({ meshId: 'bench', seed, networkKey, gate: everyone, listen, allowLoopback: true })
  net.on((event) => event.type === 'peer-up' && net.setReady(event.peer))
  return net
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN

/** Calls per second of `total` calls with `inFlight` at once. */
export async function rate(total: number, inFlight: number, call: () => Promise<unknown>): Promise<number> {
  let left = total
  const start = performance.now()
  const worker = async () => {
    while (left-- > 0) await call()
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  return total / ((performance.now() - start) / 1000)
}
