/**
 * Small requests between two processes on one host: 256 bytes there and back, 64 in flight, private network on.
 * Beside it, in the same run and interleaved: raw TCP with one write per message, gRPC's kept two-way stream, NATS request and reply through its server
 * (all without encryption). Not measured: a network with real delay, more than one peer.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectTcp, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PeerReady } from './support/control-stream-peer.ts'
import { benchNode, median, rate } from './support/mesh-pair.ts'
import { findNatsServer, installRivals, loadRival } from './support/rivals.ts'

const BODY = new Uint8Array(256).fill(7)
const IN_FLIGHT = 64
const CALLS = 60_000
const ROUNDS = 5
const PROTO =
  'syntax="proto3"; package bench; service Echo { rpc Chat (stream M) returns (stream M); } message M { bytes body = 1; }'

interface Path {
  readonly name: string
  readonly call: () => Promise<unknown>
  readonly close: () => void
}

const message = <T>(child: ChildProcess): Promise<T> =>
  new Promise((resolve) => child.once('message', (value) => resolve(value as T)))

async function meshPath(ready: PeerReady, networkKey: Uint8Array): Promise<Path> {
  const net = await benchNode(networkKey)
  await net.connect(ready.mesh.id, ready.mesh.addresses)
  return { name: 'mesh', call: () => net.request(ready.mesh.id, 'echo', BODY), close: () => void net.close() }
}

async function tcpPath(port: number): Promise<Path> {
  const socket = connectTcp(port, '127.0.0.1').setNoDelay(true)
  await new Promise((resolve) => socket.once('connect', resolve))
  const waiting: (() => void)[] = []
  let have = 0
  socket.on('data', (data) => {
    for (have += data.length; have >= BODY.length; have -= BODY.length) waiting.shift()?.()
  })
  const call = () =>
    new Promise<void>((resolve) => {
      waiting.push(resolve)
      socket.write(BODY)
    })
  return { name: 'raw TCP', call, close: () => socket.destroy() }
}

interface GrpcClient {
  loadPackageDefinition(definition: unknown): {
    bench: { Echo: new (address: string, credentials: unknown) => { chat(): GrpcChat; close(): void } }
  }
  credentials: { createInsecure(): unknown }
}
interface GrpcChat {
  on(event: 'data' | 'error', listener: () => void): void
  write(message: unknown): void
  cancel(): void
}

async function grpcPath(port: number, protoFile: string): Promise<Path> {
  const grpc = (await loadRival('@grpc/grpc-js')) as unknown as GrpcClient
  const loader = (await loadRival('@grpc/proto-loader')) as unknown as { loadSync(file: string): unknown }
  const client = new (grpc.loadPackageDefinition(loader.loadSync(protoFile)).bench.Echo)(
    `127.0.0.1:${port}`,
    grpc.credentials.createInsecure(),
  )
  const chat = client.chat()
  const waiting: (() => void)[] = []
  chat.on('data', () => waiting.shift()?.())
  chat.on('error', () => undefined)
  const call = () =>
    new Promise<void>((resolve) => {
      waiting.push(resolve)
      chat.write({ body: BODY })
    })
  const close = () => {
    chat.cancel()
    client.close()
  }
  return { name: 'gRPC two-way stream', call, close }
}

interface NatsClient {
  connect(options: {
    port: number
  }): Promise<{ request(subject: string, body: Uint8Array, options: object): Promise<unknown>; close(): Promise<void> }>
}

async function natsPath(server: string, child: ChildProcess): Promise<Path> {
  const port = await freePort()
  const process = spawn(server, ['-a', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
  await new Promise((resolve) => setTimeout(resolve, 700))
  const answering = message(child)
  child.send(port)
  await answering
  const nats = (await loadRival('@nats-io/transport-node')) as unknown as NatsClient
  const connection = await nats.connect({ port })
  const close = () => void connection.close().finally(() => process.kill())
  return { name: 'NATS', call: () => connection.request('echo', BODY, { timeout: 5000 }), close }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

async function main(): Promise<void> {
  const rivals = installRivals()
  const folder = mkdtempSync(join(tmpdir(), 'manyhands-bench-'))
  const protoFile = join(folder, 'echo.proto')
  writeFileSync(protoFile, PROTO)
  const networkKey = crypto.getRandomValues(new Uint8Array(32))
  const args = [protoFile, Buffer.from(networkKey).toString('hex'), rivals ? 'rivals' : 'alone']
  const child = fork(new URL('./support/control-stream-peer.ts', import.meta.url), args)
  const ready = await message<PeerReady>(child)
  const paths = [await meshPath(ready, networkKey), await tcpPath(ready.tcp)]
  if (ready.grpc !== undefined) paths.push(await grpcPath(ready.grpc, protoFile))
  const natsServer = rivals ? findNatsServer() : undefined
  if (natsServer !== undefined) paths.push(await natsPath(natsServer, child))
  report(await measure(paths))
  for (const path of paths) path.close()
  child.disconnect()
  rmSync(folder, { recursive: true, force: true })
  // rivals keep timers
  setTimeout(() => process.exit(), 500).unref()
}

/** Rounds are interleaved, so that a noisy moment hits all. */
async function measure(paths: readonly Path[]): Promise<Map<string, number>> {
  const rates = new Map<string, number[]>()
  for (const path of paths) await rate(CALLS / 4, IN_FLIGHT, path.call)
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, call } of paths)
      rates.set(name, [...(rates.get(name) ?? []), await rate(CALLS, IN_FLIGHT, call)])
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
