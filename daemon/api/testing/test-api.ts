/** A real API server on a real socket in a folder of its own, with fakes behind it, and raw clients that send what no decent client would. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MeshError } from '../../../protocol/errors.ts'
import { resolvePaths, type Paths } from '../../config/paths.ts'
import { loadConfig } from '../../config/load.ts'
import { createLogger } from '../../observe/logger.ts'
import { MeshEventLog } from '../mesh-event-log.ts'
import { type ApiAddress, type ApiServer, createApiServer } from '../server.ts'
import type { ApiServices } from '../services.ts'
import { openTokens, type Tokens } from '../tokens.ts'
import { createFakeTasks, type FakeTasks } from './fake-tasks.ts'

export interface TestApi {
  readonly server: ApiServer
  readonly address: ApiAddress
  readonly paths: Paths
  readonly tokens: Tokens
  readonly token: string
  readonly tasks: FakeTasks
  readonly events: MeshEventLog
  /** One for each line logged */
  readonly logged: string[]
  readonly shutdowns: (number | undefined)[]
  /** Port of the TCP listener */
  readonly port: number
  close(): Promise<void>
}

export interface TestApiOptions {
  readonly flags?: Readonly<Record<string, string>>
  /** @default true */
  readonly tcp?: boolean
  readonly home?: string
  readonly services?: Partial<ApiServices>
}

export async function startTestApi(options: TestApiOptions = {}): Promise<TestApi> {
  const home = options.home ?? mkdtempSync(join(tmpdir(), 'manyhands-api-'))
  const paths = resolvePaths({ MANYHANDS_HOME: home }, process.geteuid?.() ?? 0, home)
  const flags = { ...(options.tcp === false ? {} : { 'api.port': '0' }), ...options.flags }
  const { config, origin } = loadConfig({ file: paths.configFile, env: {}, flags })
  const tokens = await openTokens(paths.tokenFile, paths.tokensFile)
  const tasks = createFakeTasks()
  const events = new MeshEventLog(100)
  const logged: string[] = []
  const shutdowns: (number | undefined)[] = []
  const logger = createLogger({
    level: 'debug',
    sink: { write: (line) => void logged.push(line), close: () => undefined },
  })
  const services: ApiServices = {
    ...fakeServices(tasks, events, shutdowns),
    config: () => ({ config, origin }),
    ...options.services,
  }
  const server = createApiServer({
    services,
    tokens,
    config: config.api,
    socket: paths.socket,
    version: '0.0.0',
    logger,
  })
  const address = await server.listen()
  return {
    server,
    address,
    paths,
    tokens,
    token: readFileSync(paths.tokenFile, 'utf8').trim(),
    tasks,
    events,
    logged,
    shutdowns,
    port: Number(new URL(address.url ?? 'http://127.0.0.1:1').port),
    async close() {
      await server.close(0)
      if (options.home === undefined) rmSync(home, { recursive: true, force: true })
    },
  }
}

function fakeServices(tasks: FakeTasks, events: MeshEventLog, shutdowns: (number | undefined)[]): ApiServices {
  const members = { meshId: 'm', meshName: 'mesh', epoch: 1, members: [], revoked: [] }
  const none = (): Promise<never> => Promise.reject(new MeshError('E_NO_ENGINE', 'This test has no sandboxes'))
  return {
    tasks,
    events,
    sandboxes: none,
    egress: none,
    metrics: {
      contentType: 'text/plain; version=0.0.4',
      render: async () => 'manyhands_up 1\n',
      request: () => undefined,
    },
    git: () => Promise.reject(new MeshError('E_NO_ARTIFACTS', 'This fake offers none')),
    artifacts: () => Promise.reject(new MeshError('E_NO_ARTIFACTS', 'This fake offers none')),
    compile: (program) => ({
      main: 'main.js',
      modules: [{ name: 'main.js', type: 'js', source: program.source ?? '' }],
    }),
    status: () => ({
      id: 'n1',
      name: 'one',
      version: '0.0.0',
      mesh: { id: 'm', name: 'mesh', epoch: 1, members: 1, role: 'admin', isMember: true },
      addresses: [],
      peers: { known: 0, connected: 0 },
      executors: [],
      tasks: { working: 0, queued: 0, total: 0 },
      journal: { sequence: 0, healthy: true },
      health: 'ok',
      uptimeSeconds: 1,
      pid: 1,
      memoryBytes: 1,
      startedAt: '2026-01-01T00:00:00Z',
      paths: {},
    }),
    peers: () => [],
    capabilities: (label) => [{ label: label ?? 'isolate', nodes: [] }],
    doctor: () => ({ checks: [], ok: true }),
    config: () => ({ config: {}, origin: {} }),
    members: () => members,
    invite: (request) => ({
      invite: 'x',
      expiresAt: '2026-01-01T01:00:00Z',
      role: request.role ?? 'member',
      meshId: 'm',
      meshName: 'mesh',
      inviter: 'n1',
      fingerprint: 'ab',
    }),
    revoke: () => members,
    verifyReceipt: () => ({ valid: false, reason: 'fake' }),
    shutdown: (drainMs) => void shutdowns.push(drainMs),
  }
}

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** The text parsed; undefined when it is no JSON */
  readonly json: Record<string, unknown>
}

export interface SendOptions {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** null: none. @default the admin token */
  readonly token?: string | null
  /** @default the unix socket */
  readonly over?: 'socket' | 'tcp'
}

/** One request of a well-behaved client, with whatever headers. */
export function send(api: TestApi, options: SendOptions = {}): Promise<Reply> {
  const { method = 'GET', path = '/v0/status', over = 'socket', token = api.token } = options
  const text =
    options.body === undefined
      ? undefined
      : typeof options.body === 'string'
        ? options.body
        : JSON.stringify(options.body)
  const headers: Record<string, string> = {
    ...(text === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }),
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    ...options.headers,
  }
  const target = over === 'tcp' ? { host: '127.0.0.1', port: api.port } : { socketPath: api.paths.socket }
  return new Promise((resolve, reject) => {
    const request = httpRequest({ ...target, method, path, headers, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () => {
        const all = Buffer.concat(parts).toString()
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text: all, json: asObject(all) })
      })
    })
    request.on('error', reject)
    request.end(text)
  })
}

export function post(api: TestApi, path: string, body: unknown, options: SendOptions = {}): Promise<Reply> {
  return send(api, { method: 'POST', path, body, ...options })
}

/** Sends bytes as they are and gives all that comes back until the end, or for `ms`. */
export function sendRaw(api: TestApi, text: string, ms = 3_000): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port: api.port })
    let answer = ''
    const done = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(answer)
    }
    const timer = setTimeout(done, ms)
    socket.on('data', (part: Buffer) => (answer += part.toString()))
    socket.on('close', done)
    socket.on('error', done)
    socket.write(text)
  })
}

export function dial(api: TestApi, over: 'socket' | 'tcp' = 'socket'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = over === 'tcp' ? connect({ host: '127.0.0.1', port: api.port }) : connect({ path: api.paths.socket })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      socket.on('error', () => undefined)
      resolve(socket)
    })
  })
}

function asObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
