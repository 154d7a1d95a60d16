/**
 * Call a loaded program again: from `session.call` to its reply, in the daemon's process. Beside it in the same run, taking turns:
 * isolated-vm used bare in this process (one async `apply` with JSON text), and a kept dynamic worker of workerd's Worker Loader.
 *
 * Not measured: the SDK and the local API in front, and peers.
 */
import ivm from 'isolated-vm'
import { createIsolateExecutor } from '../daemon/exec/isolate/isolate-executor.ts'
import type { Result } from '../scripts/bench/result.ts'
import { callsPerSecond, INPUT_JSON, latencies, quantile, unseenJob, unseenModule } from './support/isolate-load.ts'
import { startWorkerLoader } from './support/worker-loader.ts'

const ROUNDS = 5
const CALLS = 2000
const BURST = 40_000

async function bareSession(): Promise<() => Promise<unknown>> {
  const isolate = new ivm.Isolate({ memoryLimit: 128 })
  const context = isolate.createContextSync()
  const module = isolate.compileModuleSync(unseenModule(), { filename: 'main.js' })
  module.instantiateSync(context, () => {
    throw new Error('no imports')
  })
  await module.evaluate()
  const source = `return async (text) => JSON.stringify(await $0.default(JSON.parse(text)))`
  const call = context.evalClosureSync(source, [module.namespace.derefInto()], { result: { reference: true } })
  return async () => {
    await call.apply(undefined, [INPUT_JSON], { result: { promise: true, copy: true } })
  }
}

const print = (result: Result): void => console.log(JSON.stringify(result))

const executor = await createIsolateExecutor()
await executor.warm()
const waiting = new Map<number, () => void>()
let last = 0
const session = await executor.open(unseenJob(), {
  onReply(id, reply) {
    if (!reply.ok) throw new Error(reply.error.message)
    waiting.get(id)?.()
    waiting.delete(id)
  },
})
const call = (): Promise<void> =>
  new Promise((resolve) => {
    last += 1
    waiting.set(last, resolve)
    session.call(last, INPUT_JSON)
  })
const bare = await bareSession()
const loader = await startWorkerLoader()
const code = unseenModule()
const kept = async (): Promise<string | undefined> => loader?.run('kept', code, INPUT_JSON)

const own: number[] = []
const raw: number[] = []
const workerd: number[] = []
const rates = { own: [] as number[], raw: [] as number[], workerd: [] as number[] }
await callsPerSecond(20_000, 64, call)
for (let round = 0; round < ROUNDS; round++) {
  own.push(...(await latencies(CALLS, 0, call)))
  raw.push(...(await latencies(CALLS, 0, bare)))
  if (loader !== undefined) workerd.push(...(await latencies(CALLS / 10, 0, kept)))
  rates.own.push(await callsPerSecond(BURST, 256, call))
  rates.raw.push(await callsPerSecond(BURST / 2, 256, bare))
  if (loader !== undefined) rates.workerd.push(await callsPerSecond(BURST / 40, 16, kept))
}

const middle = (samples: readonly number[]): number => quantile(samples, 0.5)
print({
  what: 'call again in the daemon',
  value: 1000 * middle(own),
  unit: 'us',
  bar: '<= 80',
  against: 'isolated-vm bare, no process between',
  rival: 1000 * middle(raw),
  ratio: middle(raw) / middle(own),
  note: `p95 ${(1000 * quantile(own, 0.95)).toFixed(0)} us`,
})
print({
  what: 'call again, 256 in flight',
  value: middle(rates.own),
  unit: '/s',
  bar: '>= 100000',
  against: 'isolated-vm bare, no process between',
  rival: middle(rates.raw),
  ratio: middle(rates.own) / middle(rates.raw),
})
if (loader === undefined) console.log('workerd: not available here, its rows are left out')
else {
  print({
    what: 'call again beside a kept dynamic worker',
    value: 1000 * middle(own),
    unit: 'us',
    against: 'workerd',
    rival: 1000 * middle(workerd),
    ratio: middle(workerd) / middle(own),
  })
  print({
    what: 'call again, in flight, beside a kept dynamic worker',
    value: middle(rates.own),
    unit: '/s',
    against: 'workerd (16)',
    rival: middle(rates.workerd),
    ratio: middle(rates.own) / middle(rates.workerd),
  })
  loader.close()
}
session.close()
await executor.close()
// isolated-vm keeps threads
process.exit(0)
