/**
 * From starting the process of a built daemon to being joined through its bootstrap peer, hellos exchanged; then its memory and CPU when nothing happens.
 * Beside it in the same run: bare Node starting and ending.
 *
 * Not measured: the first start of a node (making keys), a cold disk cache, the compile cache being empty (the first round warms it), isolate host processes (they are
 * separate processes of about 50 MB each and start after joining).
 */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Result } from '../scripts/bench/result.ts'
import { RealMesh, type RealNode } from '../test/support/real-mesh.ts'
import { quantile } from './support/isolate-load.ts'

const ROUNDS = 11
const IDLE_MS = 10_000

const print = (result: Result): void => console.log(JSON.stringify(result))

/** CPU seconds and resident bytes of a process. */
async function usage(pid: number): Promise<{ cpu: number; rss: number }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[11]) + Number(fields[12])
  return { cpu: ticks / 100, rss: Number(fields[21]) * 4096 }
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
  await new Promise((resolve) => setTimeout(resolve, 3_000))
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
    value: ((after.cpu - before.cpu) / (IDLE_MS / 1000)) * 100,
    unit: '%',
    bar: '<= 0.5',
    note: `over ${IDLE_MS / 1000} s; the clock of the kernel ticks at 10 ms`,
  })
} finally {
  await mesh.close()
}
