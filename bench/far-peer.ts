/**
 * How many times what a user waits for crosses the network: three real daemons whose bytes pass proxies, first as it is and then with 25 ms more each
 * way. What is slower, in round trips of a bare TCP connection through the same proxy. Loopback has no distance, so the other benches cannot show this.
 *
 * Not measured: loss, jitter, narrow links.
 */
import { type AddressInfo, connect as dial, createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import type { Result } from '../scripts/bench/result.ts'
import type { Mesh } from '../sdk/src/index.ts'
import { behindProxy } from '../test/support/behind-proxy.ts'
import { ChaosProxy } from '../test/support/chaos-proxy.ts'
import { RealMesh } from '../test/support/real-mesh.ts'
import { INPUT_JSON, latencies, quantile, unseenModule } from './support/isolate-load.ts'

const DELAY_MS = 25
const RUNS = 40
const MAP_INPUTS = 4_000

const INPUT: unknown = JSON.parse(INPUT_JSON)
const ON_PEER = { requires: { on: 'far' } } as const
const DOUBLE = 'export default (n) => n * 2'

const print = (result: Result): void => console.log(JSON.stringify(result))
const median = (values: number[]): number => quantile(values, 0.5)

/** A byte there and back through a proxy, without anything else. */
async function bareRoundTrip(
  proxies: ChaosProxy[],
): Promise<{ ask(): Promise<unknown>; server: Server; socket: Socket }> {
  const server = createServer((socket) => void socket.setNoDelay(true).pipe(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy = await ChaosProxy.listen({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
  proxies.push(proxy)
  const socket = dial(proxy.port, '127.0.0.1').setNoDelay(true)
  await once(socket, 'connect')
  return {
    ask() {
      const back = once(socket, 'data')
      socket.write('x')
      return back
    },
    server,
    socket,
  }
}

interface Way {
  readonly what: string
  readonly bar?: string
  readonly note: string
  run(): Promise<unknown>
}

async function waysOf(sdk: Mesh): Promise<Way[]> {
  const session = await sdk.session<unknown, unknown>(DOUBLE, ON_PEER)
  return [
    {
      what: 'delegate a never-seen program to the nearer of two far peers',
      bar: '<= 2',
      note: 'offers and bids, order and result',
      run: () => sdk.run(unseenModule(), { input: INPUT, requires: { on: 'other' } }),
    },
    {
      what: 'delegate a never-seen program to the only able peer',
      bar: '<= 2',
      note: 'order and result',
      run: () => sdk.run(unseenModule(), { input: INPUT, ...ON_PEER }),
    },
    { what: 'call a session on a far peer', note: 'there and back', run: () => session.call(1) },
    {
      what: 'open a session on a far peer, and close it',
      note: 'order and loaded, close and receipt',
      run: async () => (await sdk.session(unseenModule(), ON_PEER)).close(),
    },
  ]
}

const inputs = Array.from({ length: MAP_INPUTS }, (_, index) => index)

async function mapRate(sdk: Mesh): Promise<number> {
  const began = performance.now()
  await sdk.map(DOUBLE, inputs, ON_PEER).all()
  return MAP_INPUTS / ((performance.now() - began) / 1000)
}

const behind = [await behindProxy('near'), await behindProxy('far'), await behindProxy('far-too')]
const proxies = behind.map(({ proxy }) => proxy)
const delay = (delayMs: number): void => {
  for (const proxy of proxies) proxy.set({ delayMs })
}
const mesh = await RealMesh.start(...behind.map(({ options }) => options))
const bare = await bareRoundTrip(proxies)
try {
  const sdk = await mesh.nodes[0]?.sdk()
  if (sdk === undefined) throw new Error('the first node is missing')
  const ways = await waysOf(sdk)
  const measure = async (): Promise<number[]> => {
    const medians: number[] = []
    for (const { run } of ways) {
      await latencies(5, 0, run)
      medians.push(median(await latencies(RUNS, 0, run)))
    }
    return medians
  }
  await mapRate(sdk)
  const near = await measure()
  const nearRate = await mapRate(sdk)
  delay(DELAY_MS)
  const roundTrip = median(await latencies(RUNS, 0, bare.ask))
  const far = await measure()
  const farRate = await mapRate(sdk)
  for (const [index, { what, bar, note }] of ways.entries()) {
    const [here = Number.NaN, there = Number.NaN] = [near[index], far[index]]
    print({
      what,
      value: Number(((there - here) / roundTrip).toFixed(2)),
      unit: 'round trips',
      ...(bar === undefined ? {} : { bar }),
      note: `${note}; ${there.toFixed(1)} ms where a round trip takes ${roundTrip.toFixed(1)} ms, ${here.toFixed(1)} ms without the way`,
    })
  }
  print({
    what: `map of ${MAP_INPUTS} small inputs on a far peer alone`,
    value: farRate,
    unit: '/s',
    against: 'the same without the way',
    rival: nearRate,
    ratio: farRate / nearRate,
  })
} finally {
  await mesh.close()
  bare.socket.destroy()
  bare.server.close()
  await Promise.all(proxies.map((proxy) => proxy.close()))
}
