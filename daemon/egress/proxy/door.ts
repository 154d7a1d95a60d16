/**
 * One subject's door: a proxy on its own unix socket, with the rules, credentials and limits of that subject. Everything that passes is a **flow**; a change of rules
 * asks each flow again and ends those that would not begin now.
 */
import { createServer, type Server as HttpServer } from 'node:http'
import { createServer as createNetServer, type Server, type Socket } from 'node:net'
import { rmSync } from 'node:fs'
import { EGRESS_LIMITS } from '../../../protocol/egress/limits.ts'
import type { EgressSubject, Rule } from '../../../protocol/egress/rule.ts'
import { Authority } from '../certificates.ts'
import { serveConnect } from './connect.ts'
import type { DoorContext, DoorView, Flow, Origin } from './door-view.ts'
import { Refused, refusalText } from './failure.ts'
import { serveRequest, serveUpgrade } from './forward.ts'
import type { AuditLine, DoorRules, DoorSettings } from './messages.ts'
import { UpstreamPool } from './upstream.ts'

interface Connection {
  readonly since: number
  bytes: number
  movedAt: number
  /** Requests and tunnels being served */
  busy: number
  /** Since when none is */
  quietSince: number
  /** Nothing has been asked on it yet */
  fresh: boolean
}

const KEEP_ALIVE_MS = 60_000
/** A guest that has ended its side may be gone: a unix socket does not tell the two apart. */
const HALF_CLOSED_MS = 60_000
/** For a refused connection to read why, milliseconds */
const FAREWELL_MS = 250

/** How often limits on time and bytes are looked at, milliseconds. */
const WATCH_MS = 500

export class Door implements DoorView {
  readonly id: string
  readonly subject: EgressSubject
  readonly context: DoorContext
  readonly authority: Authority
  readonly flows = new Set<Flow>()
  rules: readonly Rule[] = []
  secrets: ReadonlyMap<string, string> = new Map()
  placeholders: Readonly<Record<string, string>> = {}
  readonly #settings: DoorSettings
  readonly #connections = new Map<Socket, Connection>()
  readonly #pools = new Map<Socket, UpstreamPool>()
  #own: Server | undefined
  #led: Server | undefined
  readonly #inside = new WeakMap<Socket, { readonly origin: Origin; readonly raw: Socket }>()
  readonly #http: HttpServer
  readonly #watch: NodeJS.Timeout
  #bytesBefore = 0
  #exhausted = false

  constructor(settings: DoorSettings, rules: DoorRules, context: DoorContext) {
    this.id = settings.door
    this.subject = settings.subject
    this.context = context
    this.#settings = settings
    this.authority = new Authority('manyhands door', Date.now(), Buffer.from(settings.caSeed, 'base64'))
    this.#http = this.#server()
    this.#watch = setInterval(() => this.#enforce(), WATCH_MS)
    this.update(rules)
  }

  /** The one server for all connections, which it is handed after they were counted. */
  #server(): HttpServer {
    const server = createServer({
      maxHeaderSize: EGRESS_LIMITS.headerBytes,
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      noDelay: true,
    })
    server.on('request', (request, response) => void serveRequest(this, request, response))
    server.on('upgrade', (request, socket, head) => void serveUpgrade(this, request, socket as Socket, head))
    server.on('connect', (request, socket, head) => void serveConnect(this, request, socket as Socket, head))
    server.on('clientError', (error, socket) => this.#malformed(error, socket as Socket))
    return server
  }

  serveInside(origin: Origin, socket: Socket, raw: Socket): void {
    this.#inside.set(socket, { origin, raw })
    socket.on('error', () => raw.destroy())
    this.#http.emit('connection', socket)
  }

  originOf(socket: Socket): Origin | undefined {
    return this.#inside.get(socket)?.origin
  }

  busy(socket: Socket): () => void {
    const connection = this.#connections.get(this.#inside.get(socket)?.raw ?? socket)
    if (connection === undefined) return () => undefined
    connection.busy += 1
    connection.fresh = false
    return () => {
      connection.busy -= 1
      connection.quietSince = performance.now()
    }
  }

  async listen(): Promise<void> {
    rmSync(this.#settings.socketPath, { force: true })
    const server = createNetServer({ allowHalfOpen: true, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#settings.socketPath, resolve)
    })
    this.#own = server
    this.#accept(server)
  }

  /** A server that listens inside the guest, in place of the one before: that was in a guest that is gone, or has been started again. */
  acceptInside(server: Server): void {
    this.#led?.close()
    this.#led = server
    this.#accept(server)
  }

  /** Connections of a server that listens already are this subject's. */
  #accept(server: Server): void {
    server.on('connection', (socket) => this.#connected(socket))
    server.on('error', () => undefined)
  }

  /** From now on, for what is open too. */
  update({ rules, secrets, placeholders }: DoorRules): void {
    this.rules = rules
    this.secrets = new Map(Object.entries(secrets))
    this.placeholders = placeholders
    for (const pool of this.#pools.values()) pool.retire()
    for (const flow of [...this.flows]) if (!flow.allowed()) flow.end()
  }

  poolOf(socket: Socket): UpstreamPool {
    const kept = this.#pools.get(socket)
    if (kept !== undefined) return kept
    const pool = new UpstreamPool()
    this.#pools.set(socket, pool)
    socket.once('close', () => {
      this.#pools.delete(socket)
      pool.destroy()
    })
    return pool
  }

  audit(line: Omit<AuditLine, 'at' | 'door'>): void {
    this.context.audit({ door: this.id, ...line })
  }

  close(): void {
    clearInterval(this.#watch)
    this.#own?.close()
    this.#led?.close()
    for (const flow of [...this.flows]) flow.end()
    for (const socket of [...this.#connections.keys()]) socket.destroy()
    for (const pool of this.#pools.values()) pool.destroy()
    this.#http.close()
  }

  #connected(socket: Socket): void {
    const { room } = this.context
    socket.on('error', () => undefined)
    const full = this.#connections.size >= this.#settings.limits.tunnels || room.used >= EGRESS_LIMITS.tunnelsOfAll
    if (full || this.#exhausted) {
      const why = full
        ? new Refused(503, 'too-many', 'too many connections are open')
        : new Refused(403, 'bytes', 'all bytes it was given are used')
      this.audit({ kind: 'tunnel', decision: 'deny', reason: why.reason })
      // Closed with bytes unread, it would be reset, and the answer lost
      socket.resume().end(refusalText(why))
      setTimeout(() => socket.destroy(), FAREWELL_MS).unref()
      return
    }
    room.used += 1
    const now = performance.now()
    this.#connections.set(socket, { since: now, bytes: 0, movedAt: now, busy: 0, quietSince: now, fresh: true })
    socket.once('close', () => {
      room.used -= 1
      this.#connections.delete(socket)
      this.#bytesBefore += socket.bytesRead + socket.bytesWritten
    })
    this.#http.emit('connection', socket)
  }

  #enforce(): void {
    const now = performance.now()
    const { bytes: most, idleMs, tunnelMs } = this.#settings.limits
    let all = this.#bytesBefore
    for (const [socket, connection] of this.#connections) {
      const bytes = socket.bytesRead + socket.bytesWritten
      all += bytes
      if (
        connection.busy === 0 &&
        now - connection.quietSince > (connection.fresh ? this.#settings.limits.handshakeMs : KEEP_ALIVE_MS)
      )
        this.#slow(socket, connection.fresh)
      else if (bytes !== connection.bytes) Object.assign(connection, { bytes, movedAt: now })
      else if (now - connection.movedAt > (socket.readableEnded ? Math.min(idleMs, HALF_CLOSED_MS) : idleMs))
        this.#endConnection(socket, 'idle')
      if (now - connection.since > tunnelMs) this.#endConnection(socket, 'time')
    }
    if (most === undefined || all <= most || this.#exhausted) return
    this.#exhausted = true
    for (const socket of [...this.#connections.keys()]) this.#endConnection(socket, 'bytes')
  }

  /** No request came whole in time: bytes that trickle in do not count. */
  #slow(socket: Socket, fresh: boolean): void {
    if (!fresh) {
      socket.destroy()
      return
    }
    const refused = new Refused(408, 'slow', 'the request did not come in time')
    this.audit({ kind: 'request', decision: 'deny', reason: refused.reason })
    socket.end(refusalText(refused))
    socket.destroySoon()
  }

  #endConnection(socket: Socket, reason: string): void {
    this.audit({ kind: 'end', decision: 'failed', reason })
    socket.destroy()
  }

  #malformed(error: Error, socket: Socket): void {
    const code = 'code' in error ? String(error.code) : ''
    if (code === 'ECONNRESET' || !socket.writable) {
      socket.destroy()
      return
    }
    const refused =
      code === 'HPE_HEADER_OVERFLOW'
        ? new Refused(431, 'malformed', 'the headers are too long')
        : new Refused(400, 'malformed', 'this is not a valid HTTP request')
    this.audit({ kind: 'request', decision: 'deny', reason: refused.reason })
    socket.end(refusalText(refused))
    socket.destroySoon()
  }
}
