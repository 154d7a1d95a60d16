/**
 * What a user of the SDK waits for, against two real daemons on this host (own processes, loopback, private network on):
 * a never-seen 1 KB program from call to result; calls of a session, here and on the peer; delegating to the peer; and a map with a fresh isolate
 * for every input on this node alone. Beside them, taking turns, workerd's Worker Loader over HTTP, and the least that gives the same by hand
 * (support/by-hand/chain.ts): it says what of a number is this machine's.
 *
 * Every way is warm when it is measured, as in a daemon that runs for days: V8 compiles what is used often, and the first runs take up to twice as long; they
 * have a row of their own. Not measured: real networks (loopback has no round trip), disks other than this one, programs that import packages.
 * Noise: client, two daemons and their isolate hosts share the cores of one machine, so rates are those of the whole chain.
 */
import type { Result } from '../scripts/bench/result.ts'
import { RealMesh, type RealNode } from '../test/support/real-mesh.ts'
import { type Chain, startChain } from './support/by-hand/chain.ts'
import { callsPerSecond, INPUT_JSON, latencies, quantile, unseenModule } from './support/isolate-load.ts'
import { startWorkerLoader } from './support/worker-loader.ts'

const ROUNDS = 3
const RUNS = 100
const FIRST = 100
const WARM_UP = 600
const CALLS = 700
const IN_FLIGHT = 256
const MAP_INPUTS = 4_000

const print = (result: Result): void => console.log(JSON.stringify(result))
const INPUT: unknown = JSON.parse(INPUT_JSON)
const median = (values: number[]): number => quantile(values, 0.5)

/** Milliseconds of each way's calls, once it is warm; the ways take turns. */
async function inTurn(count: number, ways: readonly (() => Promise<unknown>)[], warmUp = 0): Promise<number[][]> {
  for (const way of ways) await latencies(warmUp, 0, way)
  const taken = ways.map((): number[] => [])
  for (let round = 0; round < ROUNDS; round++)
    for (const [index, way] of ways.entries()) taken[index]?.push(...(await latencies(count, 0, way)))
  return taken
}

const byHand = (chain: Chain, away: boolean) => () =>
  chain.ask({ op: 'run', source: unseenModule(), text: INPUT_JSON, away })

const mesh = await RealMesh.start({ name: 'here' }, { name: 'peer' })
const loader = await startWorkerLoader()
if (loader === undefined) console.log('workerd: not available here, its row is left out')
const chain = await startChain()
try {
  const [here] = mesh.nodes as [RealNode, RealNode]
  const sdk = await here.sdk()
  const runOn = (on: 'local' | 'other') => () => sdk.run(unseenModule(), { input: INPUT, requires: { on } })
  const first = median(await latencies(FIRST, 0, runOn('local')))
  const firstAway = median(await latencies(FIRST, 0, runOn('other')))
  let worker = 0
  const runs = [
    runOn('local'),
    byHand(chain, false),
    ...(loader === undefined ? [] : [() => loader.run(`s${++worker}`, unseenModule(), INPUT_JSON)]),
  ]
  const [local = [], hand = [], rival] = await inTurn(RUNS, runs, WARM_UP)
  const run = {
    what: 'run a never-seen 1 KB program once, SDK to result',
    value: median(local),
    unit: 'ms',
    bar: '<= 1.8',
    note: `median of ${local.length}; p95 ${quantile(local, 0.95).toFixed(2)} ms; of the first ${FIRST} in a new daemon ${first.toFixed(2)} ms`,
  }
  print({ ...run, against: 'by hand', rival: median(hand), ratio: median(hand) / median(local) })
  if (rival !== undefined)
    print({
      ...run,
      against: 'workerd Worker Loader over HTTP, nothing durable',
      rival: median(rival),
      ratio: median(rival) / median(local),
      ratioBar: '>= 3',
    })

  const [delegated = [], handed = []] = await inTurn(RUNS, [runOn('other'), byHand(chain, true)], WARM_UP)
  print({
    what: 'delegate a never-seen program to the peer, SDK to result',
    value: median(delegated),
    unit: 'ms',
    bar: '<= 4',
    against: 'by hand, without lease and receipt',
    rival: median(handed),
    ratio: median(handed) / median(delegated),
    note: `bind, run, durable result; p95 ${quantile(delegated, 0.95).toFixed(2)} ms; of the first ${FIRST} ${firstAway.toFixed(2)} ms`,
  })

  for (const [on, bar, rateBar, total] of [
    ['local', '<= 0.15', '>= 40000', 200_000],
    ['other', '<= 0.35', '>= 25000', 120_000],
  ] as const) {
    const session = await sdk.session<unknown, unknown>(unseenModule(), { requires: { on } })
    const where = on === 'local' ? 'on this node' : 'on the peer'
    const away = on === 'other'
    await chain.ask({ op: 'load', source: unseenModule(), away })
    const [calls = [], asked = []] = await inTurn(CALLS, [
      () => session.call(INPUT),
      () => chain.ask({ op: 'call', text: INPUT_JSON, away }),
    ])
    print({
      what: `call a session again, ${where}`,
      value: median(calls),
      unit: 'ms',
      bar,
      against: 'by hand',
      rival: median(asked),
      ratio: median(asked) / median(calls),
      note: `median of ${calls.length}; p95 ${quantile(calls, 0.95).toFixed(3)} ms`,
    })
    const small = await sdk.session<number, number>('export default (n) => n + 1', { requires: { on } })
    await callsPerSecond(20_000, IN_FLIGHT, () => small.call(1))
    const rate = await callsPerSecond(total, IN_FLIGHT, () => small.call(1))
    print({ what: `calls of a session ${where}, ${IN_FLIGHT} in flight`, value: rate, unit: '/s', bar: rateBar })
    await session.close()
    await small.close()
  }

  const inputs = Array.from({ length: MAP_INPUTS }, () => INPUT)
  await sdk.map(unseenModule(), inputs.slice(0, 500), { fresh: true, requires: { on: 'local' } }).all()
  const startedAt = performance.now()
  await sdk.map(unseenModule(), inputs, { fresh: true, requires: { on: 'local' } }).all()
  print({
    what: 'map, a fresh isolate for every input, one node',
    value: MAP_INPUTS / ((performance.now() - startedAt) / 1000),
    unit: '/s',
    bar: '>= 900',
    note: `${MAP_INPUTS} inputs, both cores`,
  })
} finally {
  loader?.close()
  chain.close()
  await mesh.close()
}
