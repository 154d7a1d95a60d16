/**
 * Small requests between two processes on one host: 256 bytes there and back, 64 in flight, private network on.
 * Beside it, in the same run and interleaved: raw TCP with one write per message, gRPC's kept two-way stream, NATS request and reply through its server
 * (all without encryption). Each of them has two processes of its own, so that none runs on what another left of the heap or of compiled code.
 * Not measured: a network with real delay, more than one peer.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../test/support/free-port.ts'
import type { EndOrder, Round } from './support/control-end.ts'
import { type Given, type PathName, PROTO, type Where } from './support/control-paths.ts'
import { median } from './support/mesh-pair.ts'
import { findNatsServer, installRivals } from './support/rivals.ts'

const IN_FLIGHT = 64
const CALLS = 60_000
const ROUNDS = 5
/** Rates rise until the code is compiled. */
const FIRST_CALLS = 2 * CALLS

interface Path {
  readonly name: PathName
  /** Calls per second */
  readonly round: (calls: number) => Promise<number>
  readonly close: () => void
}

async function startPath(name: PathName, given: Given): Promise<Path> {
  const answerer = startEnd()
  const where = await asked<Where>(answerer, { path: name, given } satisfies EndOrder)
  const asker = startEnd()
  await asked(asker, { path: name, given, where } satisfies EndOrder)
  const round = (calls: number): Promise<number> => asked(asker, { calls, inFlight: IN_FLIGHT } satisfies Round)
  const close = (): void => {
    asker.disconnect()
    answerer.disconnect()
  }
  return { name, round, close }
}

const startEnd = (): ChildProcess => fork(new URL('./support/control-end.ts', import.meta.url))

function asked<T>(child: ChildProcess, order: EndOrder | Round): Promise<T> {
  return new Promise((resolve, reject) => {
    child.once('message', (value) => resolve(value as T))
    child.once('exit', () => reject(new Error('an end of a path ended')))
    child.send(order)
  })
}

async function startNats(port: number): Promise<ChildProcess | undefined> {
  const server = findNatsServer()
  if (server === undefined) return undefined
  const child = spawn(server, ['-a', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
  await new Promise((resolve) => setTimeout(resolve, 700))
  return child
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'manyhands-bench-'))
  const protoFile = join(folder, 'echo.proto')
  writeFileSync(protoFile, PROTO)
  const networkKey = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')
  const given: Given = { networkKey, protoFile, natsPort: await freePort() }
  const hasRivals = installRivals()
  const natsServer = hasRivals ? await startNats(given.natsPort) : undefined
  const names: PathName[] = ['mesh', 'raw TCP']
  if (hasRivals) names.push('gRPC two-way stream')
  if (natsServer !== undefined) names.push('NATS')
  const paths = await Promise.all(names.map((name) => startPath(name, given)))
  report(await measure(paths))
  for (const path of paths) path.close()
  natsServer?.kill()
  rmSync(folder, { recursive: true, force: true })
}

/** Rounds are interleaved, so that a noisy moment hits all. */
async function measure(paths: readonly Path[]): Promise<Map<string, number>> {
  const rates = new Map<string, number[]>()
  for (const path of paths) await path.round(FIRST_CALLS)
  for (let turn = 0; turn < ROUNDS; turn++) {
    for (const { name, round } of paths) rates.set(name, [...(rates.get(name) ?? []), await round(CALLS)])
  }
  return new Map([...rates].map(([name, values]) => [name, Math.round(median(values))]))
}

function report(rates: ReadonlyMap<string, number>): void {
  const value = rates.get('mesh') ?? 0
  const common = { what: 'control stream, 256 B requests, 64 in flight', value, unit: '/s' }
  const note = `median of ${ROUNDS} rounds of ${CALLS} calls, two processes, private network on`
  for (const [name, rival] of rates) {
    if (name === 'mesh') continue
    const ratio = Math.round((value / rival) * 100) / 100
    const bars = name === 'raw TCP' ? { bar: '>= 100000' } : { ratioBar: '>= 2' }
    console.log(JSON.stringify({ ...common, ...bars, against: name, rival, ratio, note }))
  }
}

await main()
