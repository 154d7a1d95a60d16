/**
 * Sandboxes as a program has them: through the SDK, the local API and the daemon, on this node and on a peer, with two real daemons and one engine. Beside
 * it in the same run, taking turns: dockerode's exec in the very container.
 *
 * Not measured: a network with real delay between the nodes; making and waking sandboxes (`sandbox.ts`); the agent alone (`sandbox-exec.ts`).
 * Noise: client, both daemons, the agent and the engine share the cores, so what is streamed to a peer pays for every process on its way.
 */
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { get } from 'node:http'
import Dockerode from 'dockerode'
import type { Result } from '../scripts/bench/result.ts'
import type { Mesh, Sandbox } from '../sdk/src/index.ts'
import { findTestEngine, type TestEngine } from '../test/support/docker-engine.ts'
import { RealMesh, type RealNode, until } from '../test/support/real-mesh.ts'
import { latencies, quantile } from './support/isolate-load.ts'

const ROUNDS = 4
const EXECS = 100
const RIVAL_EXECS = 5
const STREAM_BYTES = 100_000_000
const STREAMS = 4
const MIB = 1 << 20
const WEB_PORT = 3000
const ECHO_PORT = 3001

const print = (result: Result): void => console.log(JSON.stringify(result))
const middle = (samples: readonly number[]): number => quantile(samples, 0.5)

interface Place {
  /** As it is told */
  readonly where: 'this node' | 'a peer'
  readonly box: Sandbox
  /** Processes that its bytes pass */
  readonly daemons: readonly RealNode[]
  readonly execBar: string
}

async function dockerodeExec(container: Dockerode.Container): Promise<void> {
  const exec = await container.exec({ Cmd: ['true'], AttachStdout: true, AttachStderr: true })
  const stream = await exec.start({ hijack: true, stdin: false })
  await new Promise<void>((resolve) => {
    stream.once('end', resolve)
    stream.once('close', resolve)
    stream.resume()
  })
  const { ExitCode } = await exec.inspect()
  if (ExitCode !== 0) throw new Error(`It ended with ${ExitCode}`)
}

async function execTrue(box: Sandbox): Promise<void> {
  const { exitCode } = await box.exec(['true'])
  if (exitCode !== 0) throw new Error(`It ended with ${exitCode}`)
}

async function smallFile(box: Sandbox): Promise<void> {
  await box.files.write('small', SMALL)
  const read = await box.files.read('small')
  if (read.length !== SMALL.length) throw new Error(`Read ${read.length} bytes`)
}
const SMALL = Buffer.alloc(1024, 'small')

async function commands(engine: TestEngine, places: readonly Place[]): Promise<void> {
  const docker = new Dockerode({ socketPath: engine.socket, host: '' })
  const [{ Id: id } = { Id: '' }] = await docker.listContainers()
  const container = docker.getContainer(id)
  const execs = new Map(places.map((place) => [place, [] as number[]]))
  const files = new Map(places.map((place) => [place, [] as number[]]))
  const rival: number[] = []
  for (const { box } of places) await latencies(50, 0, () => execTrue(box))
  for (const { box } of places) await latencies(50, 0, () => smallFile(box))
  for (let round = 0; round < ROUNDS; round++) {
    for (const place of places) {
      execs.get(place)?.push(...(await latencies(EXECS, 1, () => execTrue(place.box))))
      files.get(place)?.push(...(await latencies(EXECS, 1, () => smallFile(place.box))))
    }
    rival.push(...(await latencies(RIVAL_EXECS, 0, () => dockerodeExec(container))))
  }
  for (const place of places) {
    const own = execs.get(place) ?? []
    print({
      ...{ what: `SDK: exec true on ${place.where}`, value: middle(own), unit: 'ms', bar: place.execBar },
      ...{ against: 'dockerode exec', rival: middle(rival), ratio: middle(rival) / middle(own), ratioBar: '>= 10' },
      note: `p95 ${quantile(own, 0.95).toFixed(2)} ms`,
    })
  }
  for (const place of places) {
    const own = files.get(place) ?? []
    print({
      ...{ what: `SDK: write and read 1 KB on ${place.where}`, value: middle(own), unit: 'ms', bar: '<= 3' },
      note: `p95 ${quantile(own, 0.95).toFixed(2)} ms`,
    })
  }
}

/** MB/s of the fastest of some turns: what the machine can do when others let it. */
async function rate(turn: () => Promise<void>): Promise<number> {
  let best = 0
  for (let n = 0; n < STREAMS; n++) {
    const start = performance.now()
    await turn()
    best = Math.max(best, STREAM_BYTES / 1000 / (performance.now() - start))
  }
  return best
}

const PART = Buffer.alloc(MIB, 'content')
async function* parts(): AsyncGenerator<Uint8Array> {
  for (let sent = 0; sent < STREAM_BYTES; sent += PART.length) yield PART.subarray(0, STREAM_BYTES - sent)
}

async function drain(source: AsyncIterable<Uint8Array>): Promise<void> {
  let bytes = 0
  for await (const piece of source) bytes += piece.length
  if (bytes !== STREAM_BYTES) throw new Error(`Read ${bytes} bytes`)
}

function residentMb({ pid }: RealNode): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

/** What the daemon that grows most takes more while `job` runs, MB. */
async function growth(daemons: readonly RealNode[], job: () => Promise<void>): Promise<number> {
  const before = daemons.map(residentMb)
  let most = 0
  const look = (): void => {
    for (const [at, daemon] of daemons.entries()) most = Math.max(most, residentMb(daemon) - (before[at] ?? 0))
  }
  const timer = setInterval(look, 50)
  try {
    await job()
  } finally {
    clearInterval(timer)
  }
  look()
  return most
}

async function streams({ where, box, daemons }: Place): Promise<void> {
  const bar = where === 'this node' ? '>= 200' : '>= 150'
  let into = 0
  let out = 0
  const grown = await growth(daemons, async () => {
    into = await rate(() => box.files.write('large', parts()))
    out = await rate(() => drain(box.files.stream('large')))
  })
  print({ what: `SDK: 100 MB into a file on ${where}`, value: into, unit: 'MB/s', bar })
  print({ what: `SDK: a file of 100 MB out of ${where}`, value: out, unit: 'MB/s', bar })
  const note = `the daemon that grew most, ${2 * STREAMS} streams`
  print({ what: `SDK: memory that streams on ${where} need`, value: grown, unit: 'MB', bar: '<= 100', note })
}

/** A whole request on a connection of its own. */
function request(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = get(url, { agent: false }, (response) => {
      let bytes = 0
      response.on('data', (part: Buffer) => {
        bytes += part.length
      })
      response.on('end', () => resolve(bytes))
      response.on('error', reject)
    })
    asked.on('error', reject)
  })
}

async function ports({ where, box }: Place): Promise<void> {
  await box.start(['httpd', '-f', '-p', `127.0.0.1:${WEB_PORT}`, '-h', '/workspace'])
  await box.start(['nc', '-ll', '-p', `${ECHO_PORT}`, '-e', 'cat'])
  await box.waitForPort(WEB_PORT)
  await box.waitForPort(ECHO_PORT)
  const web = await box.port(WEB_PORT)
  const echo = await box.port(ECHO_PORT)
  try {
    await latencies(20, 0, () => request(`${web.url}/small`))
    const whole = await latencies(EXECS, 1, () => request(`${web.url}/small`))
    print({
      what: `SDK: request to a served port on ${where}`,
      value: middle(whole),
      unit: 'ms',
      note: 'connects anew',
    })
    const socket = connect(echo.port, '127.0.0.1').setNoDelay()
    const kept = await latencies(2 * EXECS, 1, () => echoed(socket, 'x'))
    socket.destroy()
    print({ what: `SDK: a byte and back on an open port of ${where}`, value: middle(kept), unit: 'ms' })
    const served = await rate(async () => {
      const bytes = await request(`${web.url}/large`)
      if (bytes !== STREAM_BYTES) throw new Error(`Read ${bytes} bytes`)
    })
    print({ what: `SDK: 100 MB from a served port on ${where}`, value: served, unit: 'MB/s' })
  } finally {
    await web.close()
    await echo.close()
  }
}

function echoed(socket: Socket, text: string): Promise<void> {
  return new Promise((resolve) => {
    socket.once('data', () => resolve())
    socket.write(text)
  })
}

async function terminal({ where, box }: Place): Promise<void> {
  const shown = await box.terminal({ columns: 80, rows: 24 }, { argv: ['cat'] })
  const pieces = shown.output()
  const key = async (): Promise<void> => {
    await shown.write('x')
    if ((await pieces.next()).done === true) throw new Error('The terminal ended')
  }
  await latencies(20, 0, key)
  const keys = await latencies(2 * EXECS, 1, key)
  await pieces.return()
  print({
    what: `SDK: echo of a key on ${where}`,
    value: middle(keys),
    unit: 'ms',
    note: `p95 ${quantile(keys, 0.95).toFixed(2)} ms`,
  })
}

async function measure(engine: TestEngine, mesh: RealMesh): Promise<void> {
  const [alice, bob] = mesh.nodes as [RealNode, RealNode]
  const sdk: Mesh = await alice.sdk()
  await until(
    async () => (await sdk.capabilities('sandbox')).some(({ nodes }) => nodes.length === 2),
    'both nodes offer sandboxes',
  )
  const limits = { memoryBytes: 512 * MIB, diskBytes: 512 * MIB, inodes: 2_000, pids: 256, cpus: 2 }
  const make = (on: string): Promise<Sandbox> => sdk.sandbox({ on, limits, isolation: 'jailed', idle: 0 })
  const places: Place[] = [
    { where: 'this node', box: await make('local'), daemons: [alice], execBar: '<= 3' },
    { where: 'a peer', box: await make('bob'), daemons: [alice, bob], execBar: '<= 5' },
  ]
  try {
    await commands(engine, places)
    for (const place of places) {
      await streams(place)
      await ports(place)
      await terminal(place)
    }
  } finally {
    for (const { box } of places) await box.remove()
  }
}

const found = await findTestEngine()
if (!found.engine) {
  console.log('sandboxes through the SDK: no engine; left out')
  process.exit(0)
}
const { engine } = found
try {
  const settings = { 'sandbox.engine': engine.host, 'sandbox.image': engine.image, 'sandbox.warmEach': '0' }
  const mesh = await RealMesh.start({ name: 'alice', settings }, { name: 'bob', settings })
  try {
    await measure(engine, mesh)
  } finally {
    await mesh.close()
  }
} finally {
  await engine.close()
}
