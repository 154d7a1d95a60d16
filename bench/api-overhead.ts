/**
 * What the local API costs by itself: real server, real unix socket, a task engine that answers at once, in a process of its own.
 * Not measured: running code, the journal, other nodes. The rival is a bare node:http server that reads a body and answers, in the same run.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DUPLEX } from '../protocol/api.ts'
import { FrameBatch, FrameReader } from '../protocol/duplex-frame.ts'
import { UPGRADE } from '../daemon/api/testing/duplex-client.ts'

const WARM_UP = 1_000
const REQUESTS = 5_000
const ROUND_TRIPS = 5_000
const ECHO_MS = 2_000
const IN_FLIGHT = 256

interface Endpoint {
  readonly socket: string
  readonly token: string
  readonly bare: string
}

async function main(): Promise<void> {
  const home = mkdtempSync(join(tmpdir(), 'manyhands-bench-'))
  const child = spawn(process.execPath, [new URL('./lib/api-server.ts', import.meta.url).pathname, home], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as unknown[]
    const endpoint = parseEndpoint(String(line))
    const bare = await median(endpoint.bare, endpoint.token)
    const api = await median(endpoint.socket, endpoint.token)
    print({
      what: 'local API: POST /v0/tasks on a kept connection, engine answers at once',
      value: api,
      unit: 'ms',
      bar: '<= 0.35',
      against: 'bare node:http',
      rival: bare,
      ratio: bare / api,
      note: `median of ${REQUESTS}`,
    })
    const one = await echo(endpoint, 1, ROUND_TRIPS)
    print({
      what: 'local API: session call through the duplex, one at a time',
      value: one.medianMs,
      unit: 'ms',
      note: `median of ${one.calls}`,
    })
    const many = await echo(endpoint, IN_FLIGHT, Number.POSITIVE_INFINITY)
    print({
      what: `local API: session calls through the duplex, ${IN_FLIGHT} in flight`,
      value: Math.round(many.perSecond),
      unit: '/s',
      bar: '>= 100000',
      note: `${many.calls} calls, echo`,
    })
  } finally {
    child.kill('SIGTERM')
    await once(child, 'exit')
    rmSync(home, { recursive: true, force: true })
  }
}

/** Median round trip of one request after the other, milliseconds. */
async function median(socketPath: string, token: string): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const body = JSON.stringify({ program: { source: 'echo' }, input: { text: 'x'.repeat(200) } })
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
  }
  const once = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const sent = request({ agent, socketPath, method: 'POST', path: '/v0/tasks', headers }, (response) => {
        if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`))
        response.resume()
        response.on('end', resolve)
      })
      sent.on('error', reject)
      sent.end(body)
    })
  const times: number[] = []
  for (let i = 0; i < WARM_UP + REQUESTS; i++) {
    const began = performance.now()
    await once()
    if (i >= WARM_UP) times.push(performance.now() - began)
  }
  agent.destroy()
  return middle(times)
}

/** Keeps `inFlight` calls under way, each made when one is answered. */
async function echo(
  endpoint: Endpoint,
  inFlight: number,
  most: number,
): Promise<{ calls: number; perSecond: number; medianMs: number }> {
  const socket = await upgrade(endpoint)
  const batch = new FrameBatch()
  let due = false
  let next = 0
  let calls = 0
  const sentAt = new Float64Array(inFlight)
  const times: number[] = []
  const began = performance.now()
  const flush = (): void => {
    due = false
    for (const part of batch.take()) socket.write(part)
  }
  const call = (): void => {
    const id = next++
    sentAt[id % inFlight] = performance.now()
    batch.idText(1, DUPLEX.type.call, id, `{"n":${id},"text":"some text"}`)
    if (due) return
    due = true
    process.nextTick(flush)
  }
  const finished = new Promise<void>((resolve, reject) => {
    const reader = new FrameReader((_channel, type, bytes, start) => {
      if (type === DUPLEX.type.problem) return reject(new Error(bytes.toString('utf8', start)))
      if (type === DUPLEX.type.opened) for (let i = 0; i < inFlight; i++) call()
      if (type !== DUPLEX.type.reply) return
      calls += 1
      if (inFlight === 1) times.push(performance.now() - (sentAt[bytes.readUInt32LE(start) % inFlight] ?? 0))
      if (calls >= most || performance.now() - began > ECHO_MS) return resolve()
      call()
    })
    socket.on('data', (bytes: Buffer) => reader.push(bytes))
    socket.on('error', reject)
  })
  batch.text(1, DUPLEX.type.session, JSON.stringify({ program: { source: 'echo' } }))
  flush()
  await finished
  const seconds = (performance.now() - began) / 1000
  socket.destroy()
  return { calls, perSecond: calls / seconds, medianMs: times.length > 0 ? middle(times) : 0 }
}

function upgrade(endpoint: Endpoint): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: endpoint.socket })
    socket.once('error', reject)
    socket.once('data', (bytes: Buffer) =>
      bytes.toString().startsWith('HTTP/1.1 101') ? resolve(socket) : reject(new Error(bytes.toString())),
    )
    socket.write(UPGRADE(endpoint.token))
  })
}

function parseEndpoint(line: string): Endpoint {
  const value: unknown = JSON.parse(line)
  if (typeof value === 'object' && value !== null && 'socket' in value && 'token' in value && 'bare' in value)
    return { socket: String(value.socket), token: String(value.token), bare: String(value.bare) }
  throw new TypeError('The server did not say where it is')
}

function middle(times: number[]): number {
  times.sort((a, b) => a - b)
  return times[Math.floor(times.length / 2)] ?? 0
}

function print(result: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(result)}\n`)
}

await main()
