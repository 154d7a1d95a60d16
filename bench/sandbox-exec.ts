/**
 * A command, files and bytes in a running sandbox: from the call of its guest connection to the end, in the daemon's process. Beside it, taking turns in
 * the same container: dockerode's exec and the docker command's.
 *
 * Not measured: the SDK, the local API, waking, and peers. Needs an engine.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { GuestConnection } from '../daemon/exec/sandbox/guest/guest-connection.ts'
import type { Result } from '../scripts/bench/result.ts'
import { findTestEngine } from '../test/support/docker-engine.ts'
import { type GuestContainer, startGuestContainer } from '../test/support/guest-container.ts'
import { latencies, quantile } from './support/isolate-load.ts'

const ROUNDS = 4
const EXECS = 150
const RIVAL_EXECS = 5
const STREAM_BYTES = 100_000_000
const MIB = 1 << 20

const print = (result: Result): void => console.log(JSON.stringify(result))
const middle = (samples: readonly number[]): number => quantile(samples, 0.5)

async function execOnce(box: GuestConnection): Promise<void> {
  const end = await box.exec({ argv: ['true'] }).ended
  if (end.kind !== 'exit') throw new Error(`It ended by ${end.kind}`)
}

/** As its documentation shows it. */
async function dockerodeExec({ docker, id }: GuestContainer): Promise<void> {
  const exec = await docker.getContainer(id).exec({ Cmd: ['true'], AttachStdout: true, AttachStderr: true })
  const stream = await exec.start({ hijack: true, stdin: false })
  await new Promise<void>((resolve) => {
    stream.once('end', resolve)
    stream.once('close', resolve)
    stream.resume()
  })
  const { ExitCode } = await exec.inspect()
  if (ExitCode !== 0) throw new Error(`It ended with ${ExitCode}`)
}

const command = promisify(execFile)

/** MB/s of the fastest of some turns: what the machine can do when others let it. */
async function rate(bytes: number, turn: () => Promise<void>): Promise<number> {
  let best = 0
  for (let n = 0; n < 5; n++) {
    const start = performance.now()
    await turn()
    best = Math.max(best, bytes / 1000 / (performance.now() - start))
  }
  return best
}

async function measure(engineHost: string, container: GuestContainer): Promise<void> {
  const box = container.connection
  const own: number[] = []
  const dockerode: number[] = []
  const cli: number[] = []
  const files: number[] = []
  await latencies(50, 0, () => execOnce(box))
  for (let round = 0; round < ROUNDS; round++) {
    own.push(...(await latencies(EXECS, 1, () => execOnce(box))))
    dockerode.push(...(await latencies(RIVAL_EXECS, 0, () => dockerodeExec(container))))
    cli.push(
      ...(await latencies(RIVAL_EXECS, 0, () => command('docker', ['-H', engineHost, 'exec', container.id, 'true']))),
    )
    files.push(
      ...(await latencies(EXECS, 1, async () => {
        await box.files.write('/workspace/small', Buffer.alloc(1024, round))
        await box.files.read('/workspace/small')
      })),
    )
  }
  const note = `runc, p95 ${quantile(own, 0.95).toFixed(2)} ms`
  print({
    what: 'exec true in a running sandbox',
    value: middle(own),
    unit: 'ms',
    bar: '<= 3',
    against: 'dockerode exec',
    rival: middle(dockerode),
    ratio: middle(dockerode) / middle(own),
    ratioBar: '>= 10',
    note,
  })
  print({
    what: 'exec true beside the docker command',
    value: middle(own),
    unit: 'ms',
    against: 'docker exec',
    rival: middle(cli),
    ratio: middle(cli) / middle(own),
  })
  print({ what: 'write and read a file of 1 KB', value: middle(files), unit: 'ms', bar: '<= 3' })

  const part = Buffer.alloc(MIB, 'content')
  const upload = await rate(STREAM_BYTES, () =>
    box.files.write(
      '/workspace/large',
      (async function* () {
        for (let sent = 0; sent < STREAM_BYTES; sent += part.length) yield part.subarray(0, STREAM_BYTES - sent)
      })(),
    ),
  )
  globalThis.gc?.()
  const before = process.memoryUsage.rss()
  let peak = before
  const download = await rate(STREAM_BYTES, async () => {
    let bytes = 0
    for await (const piece of box.files.readStream('/workspace/large')) {
      bytes += piece.length
      if ((bytes & 0x3f_ffff) < piece.length) peak = Math.max(peak, process.memoryUsage.rss())
    }
    if (bytes !== STREAM_BYTES) throw new Error(`Read ${bytes} bytes`)
  })
  print({ what: 'stream 100 MB into a file of the sandbox', value: upload, unit: 'MB/s', bar: '>= 200' })
  print({ what: 'stream a file of 100 MB out of the sandbox', value: download, unit: 'MB/s', bar: '>= 200' })
  print({ what: 'memory that 5 times 100 MB out need', value: (peak - before) / MIB, unit: 'MB', bar: '<= 100' })
}

const found = await findTestEngine()
if (found.engine === undefined) throw new Error(`This bench needs an engine: ${found.missing}`)
try {
  const container = await startGuestContainer(found.engine.socket, found.engine.image)
  try {
    await measure(found.engine.host, container)
  } finally {
    await container.remove()
  }
} finally {
  await found.engine.close()
}
