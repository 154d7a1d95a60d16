/** A daemon of the local API's contract inside the test process: what the SDK and the CLI are tested against without a real one. */
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MapRequest, MeshEvent, Problem, RunRequest, StatusView, TaskView } from '../../protocol/api.ts'
import { type ErrorCode, ERRORS } from '../../protocol/errors.ts'
import { makeReceipt, NO_RECEIPTS, verifyReceipt } from '../../protocol/receipt/receipt.ts'
import { NO_USAGE } from '../../protocol/job.ts'
import { signerFromSeed } from '../../protocol/signing/signing.ts'
import { serveDuplex } from './sdk-fake-duplex.ts'
import { type FakeTask, FakeTasks } from './sdk-fake-tasks.ts'
import type { SdkTarget } from './sdk-target.ts'

const ZERO = '0'.repeat(64)
const signer = signerFromSeed(new Uint8Array(32).fill(7))
const mesh = { id: 'mesh-1', name: 'lab', epoch: 3, members: 2, role: 'admin' } as const

class Refusal extends Error {
  readonly code: ErrorCode
  constructor(code: ErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

interface Call {
  readonly request: http.IncomingMessage
  readonly response: http.ServerResponse
  readonly url: URL
  readonly body: unknown
}

export interface FakeDaemon extends SdkTarget {
  readonly tasks: FakeTasks
  readonly token: string
  /** Requests seen, as "METHOD path" */
  readonly seen: string[]
  emit(event: MeshEvent): void
  /** Whether the node counts as put out of the mesh */
  putOut(isOut: boolean): void
}

export async function startFake(): Promise<FakeDaemon> {
  const home = await mkdtemp(join(tmpdir(), 'mh-sdk-'))
  const token = randomBytes(24).toString('hex')
  await mkdir(join(home, 'run'), { mode: 0o700 })
  await mkdir(join(home, 'data'), { mode: 0o700 })
  await writeFile(join(home, 'data', 'token'), `${token}\n`, { mode: 0o600 })
  const tasks = new FakeTasks()
  const sockets = new Set<Socket>()
  const events: MeshEvent[] = []
  const listeners = new Set<() => void>()
  const seen: string[] = []
  let drops = 0
  let isOut = false

  const routes: readonly (readonly [RegExp, (call: Call, id: string) => unknown])[] = [
    [/^GET \/v0\/challenge$/, ({ url }) => challenge(token, url)],
    [/^GET \/v0\/status$/, () => status(home, isOut)],
    [/^GET \/v0\/peers$/, () => ({ peers: [] })],
    [/^GET \/v0\/capabilities$/, () => ({ capabilities: [{ label: 'isolate', nodes: [{ id: 'n', name: 'a' }] }] })],
    [
      /^GET \/v0\/doctor$/,
      () => ({ checks: [{ name: 'isolation', ok: true, level: 'ok', found: 'jailed' }], ok: true }),
    ],
    [/^GET \/v0\/config$/, () => ({ config: { name: 'a' }, origin: { name: 'file' } })],
    [/^GET \/v0\/members$/, () => members()],
    [/^POST \/v0\/invites$/, () => invite()],
    [/^POST \/v0\/members\/([^/]+)\/revoke$/, (_, id) => ({ ...members(), revoked: [{ id, epoch: 4 }] })],
    [/^GET \/v0\/events$/, (call) => stream(call, events, (listener) => subscribe(listeners, listener))],
    [/^POST \/v0\/(?:tasks|maps)$/, (call) => submit(call)],
    [/^GET \/v0\/tasks$/, () => ({ tasks: [...tasks.all.values()].map((task) => task.view) })],
    [/^GET \/v0\/tasks\/([^/]+)$/, (_, id) => find(id).view],
    [/^GET \/v0\/tasks\/([^/]+)\/results$/, ({ url }, id) => results(find(id), url)],
    [/^GET \/v0\/tasks\/([^/]+)\/events$/, (call, id) => taskEvents(call, find(id))],
    [/^GET \/v0\/tasks\/([^/]+)\/explain$/, (_, id) => ({ task: find(id).view.id, rounds: [] })],
    [/^GET \/v0\/tasks\/([^/]+)\/receipts$/, (_, id) => ({ task: id, receipts: [receipt(find(id))] })],
    [/^POST \/v0\/tasks\/([^/]+)\/cancel$/, (_, id) => cancel(find(id))],
    [/^POST \/v0\/receipts\/verify$/, ({ body }) => verifyReceipt(body)],
    [/^POST \/v0\/shutdown$/, () => ({ stopping: true })],
  ]

  const find = (id: string): FakeTask => {
    const task = tasks.all.get(decodeURIComponent(id))
    if (task) return task
    throw new Refusal('E_NOT_FOUND', 'There is no such task')
  }
  const cancel = (task: FakeTask): TaskView => {
    tasks.end(task, { state: 'canceled' })
    return task.view
  }
  const submit = async ({ request, response, body }: Call): Promise<TaskView | undefined> => {
    const key = request.headers['idempotency-key']
    const task = tasks.submit(typeof key === 'string' ? key : undefined, body as RunRequest | MapRequest)
    if (!task) throw new Refusal('E_KEY_REUSED', 'The key was used for another request')
    if (drops > 0) {
      drops--
      response.socket?.destroy()
      return undefined
    }
    return (body as RunRequest).detach ? task.view : tasks.ended(task)
  }

  const handle = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const name = `${request.method} ${url.pathname}`
    seen.push(name)
    const open = url.pathname === '/v0/challenge'
    if (open && request.headers.authorization !== undefined)
      throw new Refusal('E_BAD_REQUEST', 'A challenge takes no token')
    if (!open && request.headers.authorization !== `Bearer ${token}`)
      throw new Refusal('E_UNAUTHENTICATED', 'The token is wrong')
    const text = await readAll(request)
    const body: unknown = text === '' ? undefined : JSON.parse(text)
    for (const [pattern, serve] of routes) {
      const match = pattern.exec(name)
      if (!match) continue
      const answer = await serve({ request, response, url, body }, match[1] ?? '')
      if (answer !== undefined) sendJson(response, 200, answer)
      return
    }
    throw new Refusal('E_NOT_FOUND', `There is no ${name}`)
  }

  const server = http.createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      const code = error instanceof Refusal ? error.code : 'E_INTERNAL'
      const { status: statusCode, title } = ERRORS[code]
      const problem: Problem = { type: 'about:blank', title, status: statusCode, detail: String(error), code }
      if (!response.headersSent) sendJson(response, statusCode, problem, 'application/problem+json')
    })
  })
  server.on('upgrade', (request, socket, head) => {
    const authorized = request.headers.authorization === `Bearer ${token}` && request.url === '/v0/duplex'
    if (!authorized) {
      socket.end('HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n')
      return
    }
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: manyhands-duplex-1\r\n\r\n')
    serveDuplex(socket as Socket, head, tasks)
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(join(home, 'run', 'daemon.sock'), resolve))

  const cutConnections = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    home,
    token,
    tasks,
    seen,
    emit: (event) => {
      events.push(event)
      for (const listener of listeners) listener()
    },
    putOut: (value) => {
      isOut = value
    },
    faults: {
      dropAnswers: (count) => {
        drops = count
      },
      cutConnections,
      started: () => tasks.started,
    },
    async stop() {
      cutConnections()
      await new Promise((resolve) => server.close(resolve))
      await rm(home, { recursive: true, force: true })
    },
  }
}

function subscribe(listeners: Set<() => void>, listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

function taskEvents(call: Call, task: FakeTask): undefined {
  return stream(call, task.events, (listener) => {
    task.changed.on('event', listener)
    return () => task.changed.off('event', listener)
  })
}

/** Everything after Last-Event-ID, then what comes. */
function stream(
  { request, response }: Call,
  events: readonly unknown[],
  listen: (listener: () => void) => () => void,
): undefined {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  response.write(': hello\n\n')
  let sent = Number(request.headers['last-event-id'] ?? 0)
  const push = (): void => {
    for (; sent < events.length; sent++) response.write(`id: ${sent + 1}\ndata: ${JSON.stringify(events[sent])}\n\n`)
  }
  const stop = listen(push)
  response.on('close', stop)
  push()
  return undefined
}

function results(task: FakeTask, url: URL) {
  const from = Number(url.searchParams.get('from') ?? 0)
  const limit = Number(url.searchParams.get('limit') ?? 100)
  return { from, items: task.items.slice(from, from + limit), complete: task.view.endedAt !== undefined }
}

function receipt(task: FakeTask) {
  const facts = {
    task: task.view.id,
    epoch: 1,
    kind: 'run',
    delegator: signer.nodeId,
    program: task.view.program,
    input: ZERO,
    output: ZERO,
    grade: 'process',
    limits: { wallMs: 1, cpuMs: 1, memoryBytes: 1, outputBytes: 1, logBytes: 1, hostCalls: 1, hostCallBytes: 1 },
    usage: NO_USAGE,
    startedAtMs: 0,
    endedAtMs: 1,
  } as const
  return makeReceipt(signer, facts, NO_RECEIPTS).envelope
}

function challenge(token: string, url: URL) {
  const nonce = url.searchParams.get('nonce') ?? ''
  const verifier = sha256(token)
  const id = url.searchParams.get('token') ?? sha256(verifier).slice(0, 16)
  if (id !== sha256(verifier).slice(0, 16)) throw new Refusal('E_UNAUTHENTICATED', 'Cannot answer the challenge')
  return {
    proof: createHmac('sha256', verifier).update('manyhands-daemon\0').update(nonce).digest('hex'),
    version: '0.1.0',
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function members() {
  return {
    meshId: mesh.id,
    meshName: mesh.name,
    epoch: mesh.epoch,
    members: [{ id: 'n', name: 'a', role: 'admin', sinceEpoch: 1 }],
    revoked: [],
  }
}

function invite() {
  return {
    invite: 'mh1-invite',
    expiresAt: new Date(0).toISOString(),
    role: 'member',
    meshId: mesh.id,
    meshName: mesh.name,
    inviter: 'n',
    fingerprint: 'amber-otter',
  }
}

function status(home: string, isOut: boolean): StatusView {
  return {
    id: 'n',
    name: 'a',
    version: '0.1.0',
    mesh: { ...mesh, isMember: !isOut },
    addresses: ['/ip4/127.0.0.1/tcp/4001'],
    peers: { known: 1, connected: 1 },
    executors: [{ kind: 'isolate', grade: 'jailed', slots: 2, free: 2, queued: 0 }],
    tasks: { working: 0, queued: 0, total: 0 },
    journal: { sequence: 1, healthy: true },
    health: isOut ? 'degraded' : 'ok',
    uptimeSeconds: 1,
    pid: process.pid,
    memoryBytes: 1,
    startedAt: new Date(0).toISOString(),
    paths: { dataDir: join(home, 'data') },
  }
}

function sendJson(response: http.ServerResponse, code: number, value: unknown, type = 'application/json'): void {
  const text = JSON.stringify(value)
  response.writeHead(code, { 'content-type': type, 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

async function readAll(request: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
