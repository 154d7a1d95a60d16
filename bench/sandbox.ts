/**
 * A sandbox from request to first answer of the agent inside, its sleep and its snapshots, on a Docker engine with plain containers (runc). Beside it
 * in the same run, taking turns: the docker command and plain dockerode doing what comes nearest.
 *
 * Not measured: the local API and placement in front; images that are not there yet. Runs as root, since the disks of workspaces want it.
 * Noise: the engine's own start dominates everything cold (about 0.1 s on an idle machine); the ratios are of interleaved rounds.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import Dockerode from 'dockerode'
import { containerBody } from '../daemon/exec/sandbox/profile.ts'
import type { Sandbox } from '../daemon/exec/sandbox/sandbox.ts'
import type { Result } from '../scripts/bench/result.ts'
import { findTestEngine, TEST_IMAGE } from '../test/support/docker-engine.ts'
import { SPEC, sandboxKit, sh } from '../test/support/sandbox-kit.ts'
import { quantile } from './support/isolate-load.ts'

const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 9)
const IDLE = Number(process.env['BENCH_IDLE'] ?? 100)

const run = promisify(execFile)
const print = (result: Result): void => console.log(JSON.stringify(result))
const middle = (samples: readonly number[]): number => quantile(samples, 0.5)

async function timed<T>(samples: number[], job: () => Promise<T>): Promise<T> {
  const start = performance.now()
  const result = await job()
  samples.push(performance.now() - start)
  return result
}

const found = await findTestEngine()
if (!found.engine || process.geteuid?.() !== 0) {
  console.log('sandboxes: no engine, or not root; left out')
  process.exit(0)
}
const { engine } = found
const docker = new Dockerode({ socketPath: engine.socket, host: '' })
const kit = sandboxKit(engine.socket)
const executor = await kit.open()
const pooled = await kit.open({
  nodeId: `${kit.nodeId}-pool`,
  folder: `${kit.folder}/.pool`,
  warm: { each: 1, kinds: 1 },
})
const spec = { ...SPEC, limits: { ...SPEC.limits, diskBytes: 256 << 20, inodes: 20_000 } }

const samples = {
  ...{ cold: [] as number[], plain: [] as number[], cli: [] as number[], pool: [] as number[] },
  ...{ paused: [] as number[], unpause: [] as number[], stopped: [] as number[], start: [] as number[] },
  ...{ snapshot: [] as number[], commit: [] as number[], restore: [] as number[] },
}

/** A container with the options of a sandbox but for its mounts, and with the engine's own way to no network, made and started by the library alone. */
async function plainContainer(): Promise<Dockerode.Container> {
  const { digest } = await executor.images.resolve(TEST_IMAGE)
  const { limits } = first.view()
  const body = containerBody({
    ...{
      profile: 'strict',
      limits,
      runtime: 'runc',
      grade: 'jailed',
      digest,
      workspace: { kind: 'tmpfs' },
      rootQuota: false,
    },
    agent: { argv: ['/bin/sh', '-c', 'sleep 600'], env: {}, init: true, folder: kit.folder },
    etc: `${kit.folder}/.etc`,
    labels: { node: kit.nodeId, sandbox: 'plain', lease: 'bench' },
  })
  const container = await docker.createContainer({ ...body, NetworkDisabled: false })
  await container.start()
  return container
}

const first = await executor.create(spec)
await first.remove()
for (let round = 0; round < ROUNDS; round++) {
  const sandbox = await timed(samples.cold, () => executor.create(spec))
  const container = await timed(samples.plain, plainContainer)
  const args = [
    'run',
    '-d',
    '--rm',
    '--network',
    'none',
    '--label',
    `mesh.node=${kit.nodeId}`,
    TEST_IMAGE,
    'sleep',
    '600',
  ]
  const { stdout } = await timed(samples.cli, () => run('docker', ['-H', engine.host, ...args]))
  await pooled.warm(spec)
  const taken = await timed(samples.pool, () => pooled.create(spec))
  await taken.remove()

  await sandbox.sleep('pause')
  await timed(samples.paused, () => sandbox.guest().then((guest) => guest.ping()))
  await container.pause()
  await timed(samples.unpause, () => container.unpause())
  await sandbox.sleep('stop')
  await timed(samples.stopped, () => sandbox.guest().then((guest) => guest.ping()))
  await container.stop({ t: 0 })
  await timed(samples.start, () => container.start())
  await changeFiles(sandbox)
  await timed(samples.snapshot, () => sandbox.snapshot('now'))
  await timed(samples.commit, () => container.commit({ repo: 'manyhands-bench/commit', tag: `${round}` }))
  await timed(samples.restore, () => sandbox.restore('now'))
  await sandbox.remove()
  await container.remove({ force: true })
  await run('docker', ['-H', engine.host, 'rm', '-f', stdout.trim()])
  await docker.getImage(`manyhands-bench/commit:${round}`).remove()
}

/** 10 MB and 200 files that the snapshot has to hold. */
async function changeFiles(sandbox: Sandbox): Promise<void> {
  await sh(sandbox, 'head -c 9800000 /dev/urandom > big; for i in $(seq 200); do head -c 1000 /dev/urandom > f$i; done')
}

function row(
  what: string,
  own: readonly number[],
  bar: string,
  against: string,
  rival: readonly number[],
  ratioBar?: string,
) {
  const [value, other] = [middle(own), middle(rival)]
  const note = `p95 ${quantile(own, 0.95).toFixed(1)} ms, ${own.length} rounds`
  print({
    what,
    value,
    unit: 'ms',
    bar,
    against,
    rival: other,
    ratio: other / value,
    note,
    ...(ratioBar && { ratioBar }),
  })
}

row('sandbox from the pool', samples.pool, '<= 25', 'docker run -d', samples.cli)
// As slow as 1.2 times the rival is a ratio of 0.833
print({
  ...{ what: 'sandbox, cold', value: middle(samples.cold), unit: 'ms', against: 'dockerode create + start' },
  ...{ rival: middle(samples.plain), ratio: middle(samples.plain) / middle(samples.cold), ratioBar: '>= 0.833' },
  note: `docker run -d: ${middle(samples.cli).toFixed(0)} ms`,
})
row('wake a paused sandbox', samples.paused, '<= 15', 'dockerode unpause', samples.unpause)
row('wake a stopped sandbox', samples.stopped, '<= 250', 'dockerode start', samples.start)
row(
  'snapshot of 10 MB and 200 files',
  samples.snapshot,
  '<= 150',
  'dockerode commit of an unchanged root',
  samples.commit,
)
row('restore it', samples.restore, '<= 250', 'dockerode create + start', samples.plain)
await pooled.close()

/** Resident memory of this process once its garbage is collected. */
function settledRss(): number {
  globalThis.gc?.()
  return process.memoryUsage().rss
}

const before = settledRss()
const made: Sandbox[] = []
for (let i = 0; i < IDLE; i++) {
  const sandbox = await executor.create({ ...spec, limits: { ...spec.limits, diskBytes: 16 << 20, inodes: 1_000 } })
  await sandbox.sleep('pause')
  made.push(sandbox)
}
const each = (settledRss() - before) / IDLE / (1 << 20)
print({
  what: `memory of the daemon for each of ${IDLE} idle sandboxes`,
  value: Math.max(each, 0),
  unit: 'MiB',
  bar: '<= 1',
})
for (let i = 0; i < made.length; i += 4) await Promise.all(made.slice(i, i + 4).map((sandbox) => sandbox.remove()))
await kit.close()
await engine.close()
