/**
 * The local API. Start order: socket, then loopback. Stop order: no new connections or work; event streams end; waiting requests and duplexes get
 * `drainMs` to finish, then E_STOPPING; connections are closed. Every socket, timer and stream made here ends here.
 */
import { EventEmitter, setMaxListeners } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { DUPLEX } from '../../protocol/api.ts'
import { MeshError, toMeshError } from '../../protocol/errors.ts'
import type { Config } from '../config/schema.ts'
import type { Logger } from '../observe/logger.ts'
import { type AccessCheck, createAccessCheck } from './access.ts'
import { connectionCap } from './connection-cap.ts'
import { createDispatcher, type Dispatcher } from './dispatch.ts'
import { DuplexConnection } from './duplex/connection.ts'
import { type EventStreamHandle, streamEvents } from './event-stream.ts'
import { isForGit, serveGit } from './git-mount.ts'
import { type Doors, loopbackDoors, SOCKET_DOORS } from './guard.ts'
import { createListener } from './http-listener.ts'
import { isGone, listenOnLoopback, listenOnSocket } from './listen.ts'
import { openApiDocument } from './openapi.ts'
import { sendProblem, writeProblem } from './respond.ts'
import type { AnyRow, EventSource } from './route.ts'
import { createRoutes, listRoutes } from './routes.ts'
import type { ApiServices } from './services.ts'
import type { Tokens } from './tokens.ts'

export interface ApiServerParts {
  readonly services: ApiServices
  readonly tokens: Tokens
  readonly config: Config['api']
  /** Path of the unix socket */
  readonly socket: string
  readonly version: string
  readonly logger: Logger
}

export interface ApiAddress {
  readonly socket: string
  /** e.g. "http://127.0.0.1:4000"; absent without a TCP listener */
  readonly url?: string
}

export interface ApiServer {
  /** @throws MeshError E_ALREADY_RUNNING, E_INSECURE_FILE, E_WIDE_BIND, E_CONFIG; nothing is left open then */
  listen(): Promise<ApiAddress>
  clients(): { readonly connections: number; readonly streams: number; readonly duplexes: number }
  /** Ends what clients still wait for after `drainMs`. Never rejects; may be called again. */
  close(drainMs: number): Promise<void>
}

export function createApiServer(parts: ApiServerParts): ApiServer {
  return new LocalApi(parts)
}

interface Listener {
  readonly server: Server
  /** Absent while it does not listen */
  doors: Doors | undefined
}

/** Between looks whether the socket is still in its folder, milliseconds */
const SOCKET_LOOK_MS = 5_000

class LocalApi implements ApiServer {
  readonly #parts: ApiServerParts
  readonly #access: AccessCheck
  readonly #dispatcher: Dispatcher
  readonly #servers: Listener[] = []
  /** What is open, and the name of the token that opened it */
  readonly #streams = new Map<EventStreamHandle, string>()
  readonly #duplexes = new Map<DuplexConnection, string>()
  readonly #unwatchTokens: () => void
  readonly #hurry = new AbortController()
  /** Emits "idle" whenever a request or a duplex ends while stopping */
  readonly #idle = new EventEmitter()
  #active = 0
  #socketWatch: NodeJS.Timeout | undefined
  #stopping = false
  #closed: Promise<void> | undefined

  constructor(parts: ApiServerParts) {
    this.#parts = parts
    // One listener for each waiting request
    setMaxListeners(0, this.#hurry.signal)
    this.#access = createAccessCheck(parts.tokens)
    this.#unwatchTokens = parts.tokens.onRevoked((name) => this.#onRevoked(name))
    let document: unknown
    const rows: AnyRow[] = listRoutes(
      createRoutes({
        services: parts.services,
        tokens: parts.tokens,
        version: parts.version,
        openApi: () => (document ??= openApiDocument(rows, parts.version)),
      }),
    )
    this.#dispatcher = createDispatcher({
      rows,
      access: this.#access,
      metricsType: parts.services.metrics.contentType,
      openStream: (response, source, subject) => this.#openStream(response, source, subject),
      onDone: (row, status, seconds, error) => this.#onDone(row, status, seconds, error),
    })
  }

  async listen(): Promise<ApiAddress> {
    const { config, socket } = this.#parts
    try {
      const local = this.#addServer()
      await listenOnSocket(local.server, socket)
      local.doors = SOCKET_DOORS
      this.#keepSocket(local)
      if (config.port < 0) return { socket }
      const loopback = this.#addServer()
      const port = await listenOnLoopback(loopback.server, config.host, config.port)
      loopback.doors = loopbackDoors(port, config.host)
      return { socket, url: `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}` }
    } catch (error) {
      await this.close(0)
      throw error
    }
  }

  /**
   * The run folder of a user goes with the last session, and is swept in other places: without its socket nobody could reach or end this daemon.
   * So a new one is opened; what is connected to the old one stays.
   */
  #keepSocket(first: Listener): void {
    const { socket, logger } = this.#parts
    let current = first
    const look = async (): Promise<void> => {
      if (!(await isGone(socket)) || this.#stopping) return
      const old = current
      if (old.server.listening) {
        // Before the new one is there: closing takes away what has its name
        old.server.close(() => this.#servers.splice(this.#servers.indexOf(old), 1))
        current = this.#addServer()
      }
      await listenOnSocket(current.server, socket)
      current.doors = SOCKET_DOORS
      logger.warn({ socket }, 'the socket was gone; there is a new one')
      if (this.#stopping) current.server.close()
    }
    const again = (): void => {
      if (this.#stopping) return
      this.#socketWatch = setTimeout(() => {
        look().then(again, (error: unknown) => {
          logger.warn({ err: error, socket }, 'the socket is gone, and no new one can be opened')
          again()
        })
      }, SOCKET_LOOK_MS).unref()
    }
    again()
  }

  clients(): { connections: number; streams: number; duplexes: number } {
    return { connections: this.#active, streams: this.#streams.size, duplexes: this.#duplexes.size }
  }

  close(drainMs: number): Promise<void> {
    this.#closed ??= this.#close(drainMs)
    return this.#closed
  }

  async #close(drainMs: number): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#socketWatch)
    const ended = this.#servers.map(
      ({ server }) => new Promise<void>((resolve) => (server.listening ? server.close(() => resolve()) : resolve())),
    )
    for (const { server } of this.#servers) server.closeIdleConnections()
    for (const stream of [...this.#streams.keys()]) stream.end(stopping())
    for (const duplex of [...this.#duplexes.keys()]) if (duplex.channels === 0) duplex.close(stopping())
    await this.#drained(drainMs)
    this.#hurry.abort(stopping())
    for (const duplex of [...this.#duplexes.keys()]) duplex.close(stopping())
    // What was answered just now gets a moment to leave
    const cut = setTimeout(() => {
      for (const { server } of this.#servers) server.closeAllConnections()
    }, 500)
    await Promise.all(ended)
    clearTimeout(cut)
    this.#unwatchTokens()
  }

  /** Requests are checked one by one; what stays open was checked once, so it ends with its token. */
  #onRevoked(name: string): void {
    const error = new MeshError('E_UNAUTHENTICATED', 'The connection ends: its token was revoked')
    for (const [stream, subject] of [...this.#streams]) if (subject === name) stream.end(error)
    for (const [duplex, subject] of [...this.#duplexes]) if (subject === name) duplex.close(error)
  }

  #drained(drainMs: number): Promise<void> {
    const busy = (): boolean => this.#active > 0 || [...this.#duplexes.keys()].some(({ channels }) => channels > 0)
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        clearInterval(poll)
        this.#idle.off('idle', look)
        resolve()
      }
      const look = (): void => {
        if (!busy()) done()
      }
      const timer = setTimeout(done, drainMs)
      // Channels end without telling: they are few, and this lasts for moments
      const poll = setInterval(look, 20)
      this.#idle.on('idle', look)
      look()
    })
  }

  #addServer(): Listener {
    const { config } = this.#parts
    const entry: Listener = {
      doors: undefined,
      server: createListener({
        headersMs: config.headersMs,
        requestMs: config.requestMs,
        connections: connectionCap(config.connections),
        doors: () => entry.doors,
        mayBeLong: isForGit,
        onRequest: (request, response) => this.#onRequest(request, response),
        onUpgrade: (request, socket, head) => this.#onUpgrade(request, socket, head),
        onRefused: (error) => this.#parts.logger.warn({ code: error.code }, error.message),
      }),
    }
    this.#servers.push(entry)
    return entry
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    if (this.#stopping) return void sendProblem(response, stopping(), true)
    this.#active += 1
    response.once('close', () => {
      this.#active -= 1
      if (this.#stopping) this.#idle.emit('idle')
    })
    if (isForGit(request.url ?? ''))
      return void serveGit(() => this.#parts.services.git(), request, response, this.#hurry.signal)
    void this.#dispatcher.handle(request, response, this.#hurry.signal)
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    try {
      const caller = this.#admitUpgrade(request)
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${DUPLEX.protocol}\r\n\r\n`)
      const duplex: DuplexConnection = new DuplexConnection(socket, head, {
        services: this.#parts.services,
        subject: caller,
        heartbeatMs: this.#parts.config.heartbeatMs,
        stopping: () => this.#stopping,
        onClosed: (error) => {
          this.#duplexes.delete(duplex)
          this.#parts.logger.debug({ code: error.code }, 'duplex closed')
        },
      })
      this.#duplexes.set(duplex, caller)
    } catch (thrown) {
      const error = toMeshError(thrown)
      this.#parts.logger.warn({ code: error.code }, error.message)
      writeProblem(socket, error, 'Refused')
    }
  }

  /** @returns the subject. @throws MeshError E_STOPPING, E_NOT_FOUND, E_UNAUTHENTICATED, E_FORBIDDEN, E_VERSION */
  #admitUpgrade(request: IncomingMessage): string {
    if (this.#stopping) throw stopping()
    const found = this.#dispatcher.find(request.method ?? '', request.url ?? '')
    if (found?.row.kind !== 'upgrade')
      throw new MeshError('E_NOT_FOUND', 'Cannot upgrade: this is not a route that upgrades')
    const caller = this.#access.admit(found.row.access, request.headers.authorization)
    if (request.headers.upgrade !== DUPLEX.protocol)
      throw new MeshError('E_VERSION', `Cannot upgrade: only "${DUPLEX.protocol}" is spoken here`)
    return caller.name
  }

  #openStream(response: ServerResponse, source: EventSource<unknown>, subject: string): void {
    if (this.#streams.size >= this.#parts.config.streams)
      throw new MeshError('E_OVERLOADED', `Cannot open an event stream: ${this.#parts.config.streams} are open`, {
        hint: 'Close some of them, or raise api.streams',
        retryAfterMs: 5_000,
      })
    const holder: { stream?: EventStreamHandle; over: boolean } = { over: false }
    const stream = streamEvents(response, source, this.#parts.config.heartbeatMs, () => {
      holder.over = true
      if (holder.stream) this.#streams.delete(holder.stream)
    })
    holder.stream = stream
    if (!holder.over) this.#streams.set(stream, subject)
  }

  #onDone(row: AnyRow | undefined, status: number, seconds: number, error: MeshError | undefined): void {
    const route = row?.name ?? 'none'
    this.#parts.services.metrics.request(route, status, seconds)
    if (error === undefined) return
    const facts = { route, status, code: error.code }
    if (error.code === 'E_INTERNAL') this.#parts.logger.error({ ...facts, err: error }, 'a request failed inside')
    else this.#parts.logger.debug(facts, error.message)
  }
}

function stopping(): MeshError {
  return new MeshError('E_STOPPING', 'The daemon is shutting down', { retryAfterMs: 1_000 })
}
