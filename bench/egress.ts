/**
 * The door to the outside beside a direct connection to the same server in the same run, taking turns: what it adds to a request on a kept connection, how many
 * bytes a second go through a tunnel, and what 500 open tunnels cost.
 *
 * The server is a process of its own; the client is this one, on the door's unix socket. Not measured: TLS that ends at the door, name servers, the mesh.
 * Noise: client, proxy and server share the cores, so throughput falls with whatever else runs.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createHttp } from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Result } from '../scripts/bench/result.ts'
import { openEgress } from '../daemon/egress/open-egress.ts'
import { quantile } from './support/isolate-load.ts'

const ROUNDS = 6
const REQUESTS = 150
const BULK_BYTES = 128 << 20
const TUNNELS = 500
const BODY = 'x'.repeat(200)

async function serve(): Promise<void> {
  const chunk = Buffer.alloc(256 << 10)
  const web = createHttp((_request, response) => response.end(BODY)).listen(0, '127.0.0.1')
  const bulk = createServer((socket) => {
    let left = BULK_BYTES
    const push = () => {
      while (left > 0) {
        left -= chunk.length
        if (!socket.write(chunk)) return
      }
      socket.end()
    }
    socket.on('drain', push).on('error', () => undefined)
    push()
  }).listen(0, '127.0.0.1')
  const idle = createServer((socket) => void socket.on('error', () => undefined)).listen(0, '127.0.0.1')
  await Promise.all([web, bulk, idle].map((server) => once(server, 'listening')))
  const port = (server: { address(): unknown }) => (server.address() as AddressInfo).port
  process.send?.({ web: port(web), bulk: port(bulk), idle: port(idle) })
  process.on('disconnect', () => process.exit(0))
}

/** Milliseconds of one request each, on one kept connection. */
async function latencies(socket: Socket, url: string, host: string): Promise<number[]> {
  const request = `GET ${url} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
  const samples: number[] = []
  let text = ''
  let answered = () => {}
  const onData = (part: Buffer) => {
    text += part.toString('latin1')
    if (text.endsWith(BODY) || text.endsWith('\r\n0\r\n\r\n')) answered()
  }
  socket.on('data', onData)
  for (let i = 0; i < REQUESTS; i++) {
    const start = performance.now()
    text = ''
    const answer = new Promise<void>((resolve) => {
      answered = resolve
    })
    socket.write(request)
    await answer
    samples.push(performance.now() - start)
  }
  socket.off('data', onData)
  return samples
}

/** Bytes a second until the end. */
async function drain(socket: Socket): Promise<number> {
  const start = performance.now()
  let bytes = 0
  socket.on('data', (part: Buffer) => {
    bytes += part.length
  })
  socket.resume()
  await once(socket, 'end')
  socket.destroy()
  return bytes / ((performance.now() - start) / 1000)
}

async function tunnel(socketPath: string, target: string): Promise<Socket> {
  const socket = connect(socketPath)
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
  const [head] = (await once(socket, 'data')) as [Buffer]
  socket.pause()
  const end = head.indexOf('\r\n\r\n') + 4
  if (!head.toString('latin1').startsWith('HTTP/1.1 200')) throw new Error(head.toString('latin1'))
  if (end < head.length) socket.unshift(head.subarray(end))
  return socket
}

async function main(): Promise<void> {
  const server = fork(fileURLToPath(import.meta.url), ['serve'])
  const [ports] = (await once(server, 'message')) as [{ web: number; bulk: number; idle: number }]
  const folder = mkdtempSync(join(tmpdir(), 'bench-egress-'))
  const at = (name: string) => join(folder, name)
  const egress = await openEgress({ dataDir: at('data'), stateDir: at('state'), runDir: at('run'), self: 'bench' })
  try {
    await egress.policy.put({ for: ['any'], effect: 'allow', host: '127.0.0.1', ports: [ports.web] })
    await egress.policy.put({
      for: ['any'],
      effect: 'allow',
      host: '127.0.0.1',
      ports: [ports.bulk, ports.idle],
      opaque: true,
    })
    const door = await egress.open({ agent: 'bench' })
    for (const result of [
      ...(await requests(door.socketPath, ports.web)),
      ...(await bulk(door.socketPath, ports.bulk)),
      await many(egress, ports.idle),
    ])
      console.log(JSON.stringify(result))
  } finally {
    await egress.close()
    server.kill()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function requests(socketPath: string, port: number): Promise<Result[]> {
  const host = `127.0.0.1:${port}`
  const direct = connect(port, '127.0.0.1').setNoDelay()
  const proxied = connect(socketPath)
  await latencies(direct, '/', host)
  await latencies(proxied, `http://${host}/`, host)
  const samples = { direct: [] as number[], proxied: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    samples.direct.push(...(await latencies(direct, '/', host)))
    samples.proxied.push(...(await latencies(proxied, `http://${host}/`, host)))
  }
  direct.destroy()
  proxied.destroy()
  const middle = { direct: quantile(samples.direct, 0.5), proxied: quantile(samples.proxied, 0.5) }
  const note = `through it ${middle.proxied.toFixed(3)} ms, directly ${middle.direct.toFixed(3)} ms; p95 ${quantile(samples.proxied, 0.95).toFixed(2)} ms`
  return [
    {
      what: 'egress: added to a request',
      value: middle.proxied - middle.direct,
      unit: 'ms',
      bar: '<= 1',
      against: 'direct',
      rival: middle.direct,
      note,
    },
  ]
}

async function bulk(socketPath: string, port: number): Promise<Result[]> {
  const rates = { direct: [] as number[], tunneled: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    rates.direct.push(await drain(connect(port, '127.0.0.1')))
    rates.tunneled.push(await drain(await tunnel(socketPath, `127.0.0.1:${port}`)))
  }
  const mb = (samples: readonly number[]) => quantile(samples, 0.5) / 1e6
  const value = mb(rates.tunneled)
  return [
    {
      what: 'egress: one tunnel',
      value,
      unit: 'MB/s',
      bar: '>= 200',
      against: 'direct',
      rival: mb(rates.direct),
      ratio: value / mb(rates.direct),
    },
  ]
}

async function many(egress: Awaited<ReturnType<typeof openEgress>>, port: number): Promise<Result> {
  const doors = [await egress.open({ agent: 'a' }), await egress.open({ agent: 'b' })]
  const sockets: Socket[] = []
  for (let i = 0; i < TUNNELS; i++) sockets.push(await tunnel(doors[i % 2]?.socketPath ?? '', `127.0.0.1:${port}`))
  const value = residentMb()
  for (const socket of sockets) socket.destroy()
  return {
    what: 'egress: proxy with 500 tunnels',
    value,
    unit: 'MB',
    bar: '<= 150',
    note: 'resident memory of the proxy process',
  }
}

/** Of this process's child that is the proxy. */
function residentMb(): number {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ')
  const proxy = children.find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('egress'.concat('/proxy/main')),
  )
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${proxy}/status`, 'utf8'))?.[1]) / 1024
}

if (process.argv[2] === 'serve') await serve()
else await main()
