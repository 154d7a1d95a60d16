/**
 * From starting the process of a built daemon to being joined through its bootstrap peer, hellos exchanged; then its memory and CPU when nothing happens.
 * Beside it in the same run: bare Node starting and ending.
 *
 * Not measured: the first start of a node (making keys), a cold disk cache, the compile cache being empty (the first round warms it), isolate host processes (they are
 * separate processes of about 50 MB each and start after joining).
 */
import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Result } from '../scripts/bench/result.ts'
import { RealMesh, type RealNode } from '../test/support/real-mesh.ts'
import { quantile } from './support/isolate-load.ts'

const ROUNDS = 11
const IDLE_MS = 30_000
/** After a start a daemon has things to do that it does once. */
const SETTLE_MS = 10_000

const print = (result: Result): void => console.log(JSON.stringify(result))

/** CPU milliseconds of all threads of a process, and its resident bytes. */
async function usage(pid: number): Promise<{ cpuMs: number; rss: number }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const pages = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[21])
  let nanoseconds = 0
  for (const thread of await readdir(`/proc/${pid}/task`))
    nanoseconds += Number((await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')).split(' ')[0])
  return { cpuMs: nanoseconds / 1e6, rss: pages * 4096 }
}

const mesh = await RealMesh.start({ name: 'bootstrap' }, { name: 'joiner' })
try {
  const [, joiner] = mesh.nodes as [RealNode, RealNode]
  const joined: number[] = []
  const bare: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    await joiner.down()
    const started = performance.now()
    await promisify(execFile)(process.execPath, ['-e', ''])
    bare.push(performance.now() - started)
    const sdk = await joiner.up()
    joined.push((await sdk.status()).joinedAfterMs ?? Number.NaN)
  }
  const value = quantile(joined.slice(1), 0.5)
  const rival = quantile(bare.slice(1), 0.5)
  print({
    what: 'process start to joined by bootstrap',
    value,
    unit: 'ms',
    bar: '<= 150',
    against: 'bare Node, start to end',
    rival,
    ratio: rival / value,
    note: `median of ${ROUNDS - 1} restarts`,
  })
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
  const before = await usage(joiner.pid)
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS))
  const after = await usage(joiner.pid)
  print({
    what: 'memory of an idle daemon',
    value: after.rss / 2 ** 20,
    unit: 'MiB',
    bar: '<= 120',
    note: 'RSS of the daemon process, one peer connected',
  })
  print({
    what: 'CPU of an idle daemon',
    value: ((after.cpuMs - before.cpuMs) / IDLE_MS) * 100,
    unit: '%',
    bar: '<= 0.5',
    note: `over ${IDLE_MS / 1000} s, all threads`,
  })
} finally {
  await mesh.close()
}
