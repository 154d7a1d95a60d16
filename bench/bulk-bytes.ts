/**
 * Bytes of one stream between two processes on one host, private network on, beside raw TCP in the same run; and the memory of both ends while the reader
 * is slow. Not measured: a network with real delay, where one window per round trip is the limit.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { connect as connectTcp, createServer } from 'node:net'
import type { ByteStream, MeshNet } from '../daemon/net/mesh-net.ts'
import { benchNode, median } from './support/mesh-pair.ts'

const MIB = 1 << 20
const TOTAL_MIB = 192
const CHUNK = new Uint8Array(64 << 10)
const ROUNDS = 5
const SINK = '/manyhands/bench-sink/1'
const SLOW = '/manyhands/bench-slow/1'
const SLOW_MS = 3000

interface Ready {
  readonly id: string
  readonly addresses: string[]
  readonly tcp: number
}

const key = Buffer.alloc(32, 11)
const message = <T>(child: ChildProcess): Promise<T> =>
  new Promise((resolve) => child.once('message', (value) => resolve(value as T)))
const rssMib = (): number => Math.round(process.memoryUsage.rss() / MIB)

async function count(stream: ByteStream): Promise<void> {
  let bytes = 0
  for await (const chunk of stream.chunks()) bytes += chunk.length
  await stream.write(new TextEncoder().encode(String(bytes)))
  await stream.end()
}

async function readSlowly(stream: ByteStream): Promise<void> {
  for await (const _chunk of stream.chunks()) await new Promise((resolve) => setTimeout(resolve, 10))
}

async function answer(): Promise<void> {
  const net = await benchNode(key)
  net.handleStream(SINK, (stream) => void count(stream))
  net.handleStream(SLOW, (stream) => void readSlowly(stream))
  const server = createServer((socket) => {
    let bytes = 0
    socket
      .on('error', () => undefined)
      .on('data', (data) => {
        bytes += data.length
        if (bytes === TOTAL_MIB * MIB) socket.end('k')
      })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  process.send?.({ id: net.self, addresses: net.addresses(), tcp: typeof address === 'object' ? address?.port : 0 })
  process.on('message', () => process.send?.(rssMib()))
  process.on('disconnect', () => process.exit())
}

/** MB/s until the other side has counted every byte. */
async function meshRound(net: MeshNet, peer: string): Promise<number> {
  const stream = await net.openStream(peer, SINK)
  const start = performance.now()
  for (let sent = 0; sent < TOTAL_MIB * MIB; sent += CHUNK.length) await stream.write(CHUNK)
  await stream.end()
  let counted = ''
  for await (const chunk of stream.chunks()) counted += new TextDecoder().decode(chunk)
  if (Number(counted) !== TOTAL_MIB * MIB) throw new Error(`the sink counted ${counted} bytes`)
  return (TOTAL_MIB * MIB) / 1e6 / ((performance.now() - start) / 1000)
}

async function tcpRound(port: number): Promise<number> {
  const socket = connectTcp(port, '127.0.0.1')
  await new Promise((resolve) => socket.once('connect', resolve))
  const start = performance.now()
  const done = new Promise((resolve) => socket.once('data', resolve))
  for (let sent = 0; sent < TOTAL_MIB * MIB; sent += CHUNK.length) {
    if (!socket.write(CHUNK)) await new Promise((resolve) => socket.once('drain', resolve))
  }
  await done
  socket.destroy()
  return (TOTAL_MIB * MIB) / 1e6 / ((performance.now() - start) / 1000)
}

/** How much both processes grow while one writes as it may and the other reads 6 MB/s at most, MiB. */
async function slowReader(net: MeshNet, peer: string, child: ChildProcess): Promise<number> {
  const remote = async (): Promise<number> => {
    const answer = message<number>(child)
    child.send('rss')
    return answer
  }
  const before = [rssMib(), await remote()]
  const stream = await net.openStream(peer, SLOW)
  const until = performance.now() + SLOW_MS
  const writing = (async () => {
    while (performance.now() < until) await stream.write(CHUNK, AbortSignal.timeout(SLOW_MS))
  })().catch(() => undefined)
  let most = 0
  while (performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 250))
    most = Math.max(most, rssMib() - (before[0] ?? 0), (await remote()) - (before[1] ?? 0))
  }
  stream.abort(new Error('done'))
  await writing
  return most
}

async function main(): Promise<void> {
  const child = fork(new URL(import.meta.url), ['answer'])
  const ready = await message<Ready>(child)
  const net = await benchNode(key)
  await net.connect(ready.id, ready.addresses)
  await meshRound(net, ready.id)
  await tcpRound(ready.tcp)
  const mesh: number[] = []
  const tcp: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    mesh.push(await meshRound(net, ready.id))
    tcp.push(await tcpRound(ready.tcp))
  }
  const value = Math.round(median(mesh))
  const rival = Math.round(median(tcp))
  const note = `median of ${ROUNDS} x ${TOTAL_MIB} MiB in 64 KiB chunks, two processes, private network on`
  const ratio = Math.round((value / rival) * 100) / 100
  console.log(
    JSON.stringify({
      what: 'bulk bytes, one stream',
      value,
      unit: 'MB/s',
      bar: '>= 300',
      against: 'raw TCP',
      rival,
      ratio,
      note,
    }),
  )
  const growth = await slowReader(net, ready.id, child)
  const slowNote = `most either process grew in ${SLOW_MS / 1000} s`
  console.log(
    JSON.stringify({
      what: 'bulk bytes, slow reader: memory',
      value: growth,
      unit: 'MiB',
      bar: '<= 100',
      note: slowNote,
    }),
  )
  await net.close()
  child.disconnect()
}

await (process.argv[2] === 'answer' ? answer() : main())
