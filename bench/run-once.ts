/**
 * Run a never-seen program of 1 KB once: from `executor.run` to its result, in the daemon's process, JSON text in and out. Beside it in the same
 * run, taking turns: isolated-vm used bare in this process (a fresh isolate each, no jail, no limits), and workerd's Worker Loader.
 *
 * Not measured: the SDK, the local API and placement in front of the executor.
 * Noise: absolutes follow the machine's load; the ratios are of interleaved rounds.
 */
import ivm from 'isolated-vm'
import { createIsolateExecutor } from '../daemon/exec/isolate/isolate-executor.ts'
import type { Result } from '../scripts/bench/result.ts'
import { callsPerSecond, INPUT_JSON, latencies, quantile, unseenJob, unseenModule } from './support/isolate-load.ts'
import { startWorkerLoader } from './support/worker-loader.ts'

const ROUNDS = 5
const RUNS = 80
const BURST = 400

/** The shortest way through isolated-vm's own interface. */
async function bare(): Promise<string> {
  const isolate = new ivm.Isolate({ memoryLimit: 128 })
  try {
    const context = isolate.createContextSync()
    const module = isolate.compileModuleSync(unseenModule(), { filename: 'main.js' })
    module.instantiateSync(context, () => {
      throw new Error('no imports')
    })
    await module.evaluate()
    const call = `return (async () => JSON.stringify(await $0.default(JSON.parse($1))))()`
    const args = [module.namespace.derefInto(), INPUT_JSON]
    return String(await context.evalClosure(call, args, { result: { promise: true, copy: true } }))
  } finally {
    isolate.dispose()
  }
}

const print = (result: Result): void => console.log(JSON.stringify(result))

const executor = await createIsolateExecutor()
await executor.warm()
const loader = await startWorkerLoader()
let worker = 0
const once = async (): Promise<void> => {
  const outcome = await executor.run(unseenJob(), INPUT_JSON)
  if (!outcome.ok) throw new Error(outcome.error.message)
}
const loaded = (): Promise<string> | undefined => loader?.run(`w${++worker}`, unseenModule(), INPUT_JSON)

const spaced: number[] = []
const packed: number[] = []
const raw: number[] = []
const workerd: number[] = []
const rates = { own: [] as number[], raw: [] as number[], workerd: [] as number[] }
await latencies(40, 0, once)
for (let round = 0; round < ROUNDS; round++) {
  spaced.push(...(await latencies(RUNS, 4, once)))
  packed.push(...(await latencies(RUNS, 0, once)))
  raw.push(...(await latencies(RUNS, 4, bare)))
  if (loader !== undefined) workerd.push(...(await latencies(RUNS, 4, async () => loaded())))
  rates.own.push(await callsPerSecond(BURST, 8, once))
  rates.raw.push(await callsPerSecond(BURST, 8, bare))
  if (loader !== undefined) rates.workerd.push(await callsPerSecond(BURST / 4, 8, async () => loaded()))
}

const middle = (samples: readonly number[]): number => quantile(samples, 0.5)
const jail = `${executor.jail.tools.mechanism}, p95 ${quantile(spaced, 0.95).toFixed(2)} ms`
print({
  what: 'run once in the daemon',
  value: middle(spaced),
  unit: 'ms',
  bar: '<= 1.0',
  against: 'isolated-vm bare',
  rival: middle(raw),
  ratio: middle(raw) / middle(spaced),
  note: jail,
})
print({
  what: 'run once in the daemon, back to back',
  value: middle(packed),
  unit: 'ms',
  against: 'isolated-vm bare',
  rival: middle(raw),
  ratio: middle(raw) / middle(packed),
})
print({
  what: 'run once, 8 in flight',
  value: middle(rates.own),
  unit: '/s',
  bar: '>= 900',
  against: 'isolated-vm bare',
  rival: middle(rates.raw),
  ratio: middle(rates.own) / middle(rates.raw),
})
if (loader === undefined) console.log('workerd: not available here, its rows are left out')
else {
  print({
    what: 'run once beside Worker Loader',
    value: middle(spaced),
    unit: 'ms',
    against: 'workerd',
    rival: middle(workerd),
    ratio: middle(workerd) / middle(spaced),
    ratioBar: '>= 3',
  })
  print({
    what: 'run once, 8 in flight, beside Worker Loader',
    value: middle(rates.own),
    unit: '/s',
    against: 'workerd',
    rival: middle(rates.workerd),
    ratio: middle(rates.own) / middle(rates.workerd),
  })
  loader.close()
}
await executor.close()
// isolated-vm keeps threads
process.exit(0)
