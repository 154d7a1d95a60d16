/** An HTTP server with our limits: the guard comes before everything, malformed and slow requests get a typed answer, connections are capped. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { MeshError } from '../../protocol/errors.ts'
import { type Doors, guard } from './guard.ts'
import { sendProblem, writeProblem } from './respond.ts'

export interface ListenerOptions {
  readonly headersMs: number
  /** For receiving a whole request */
  readonly requestMs: number
  readonly connections: number
  /** Known only once it listens: before, nothing is let in */
  doors(): Doors | undefined
  /** Whether a request may take as long as its own handler allows: the push of a large repository */
  mayBeLong(target: string): boolean
  onRequest(request: IncomingMessage, response: ServerResponse): void
  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  onRefused(error: MeshError): void
}

/** Room for a token, a key and what browsers add */
const MAX_HEADER_BYTES = 16 << 10
const MAX_HEADERS = 64
/** No request takes longer, not even one that may be long */
const LONGEST_MS = 12 * 3_600_000
/** An idle connection is kept this long for the next request */
const KEEP_ALIVE_MS = 30_000

export function createListener(options: ListenerOptions): Server {
  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: options.headersMs,
    requestTimeout: LONGEST_MS,
    connectionsCheckingInterval: Math.min(1_000, options.headersMs),
    keepAliveTimeout: KEEP_ALIVE_MS,
    // A missing Host is refused by the guard, like any other wrong one
    requireHostHeader: false,
    // Clients that would rather speak HTTP/2 offer this with every first request, and go on in HTTP/1.1 when it is left unheard
    shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() !== 'h2c',
    noDelay: true,
  })
  server.maxHeadersCount = MAX_HEADERS
  server.maxConnections = options.connections
  const refusal = (request: IncomingMessage): MeshError | undefined => {
    const doors = options.doors()
    if (!doors) return new MeshError('E_STOPPING', 'Cannot serve the request: the daemon is not ready')
    const error = guard(
      { method: request.method ?? '', target: request.url ?? '', rawHeaders: request.rawHeaders },
      doors,
    )
    if (error) options.onRefused(error)
    return error
  }
  server.on('request', (request, response) => {
    const error = refusal(request)
    if (error) sendProblem(response, error, true)
    else {
      if (!options.mayBeLong(request.url ?? '')) limitArrival(request, response, options.requestMs)
      options.onRequest(request, response)
    }
  })
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => undefined)
    const error = refusal(request)
    if (error) writeProblem(socket, error, 'Refused')
    else options.onUpgrade(request, socket, head)
  })
  // An answer to "Expect" or CONNECT is never needed here
  server.on(
    'checkExpectation',
    (_request, response) =>
      void sendProblem(
        response,
        new MeshError('E_BAD_REQUEST', 'Cannot serve the request: no expectation is met'),
        true,
      ),
  )
  server.on('connect', (_request, socket) =>
    writeProblem(socket, new MeshError('E_NOT_FOUND', 'Cannot serve the request: this is no proxy'), 'Refused'),
  )
  server.on('clientError', (error, socket) => {
    if (codeOf(error) === 'ECONNRESET' || !socket.writable) return void socket.destroy()
    const [problem, reason] = malformed(codeOf(error))
    options.onRefused(problem)
    writeProblem(socket, problem, reason)
  })
  return server
}

/** Node has one such limit for a whole server; here it is one for each request. */
function limitArrival(request: IncomingMessage, response: ServerResponse, ms: number): void {
  const timer = setTimeout(() => {
    if (!request.complete) sendProblem(response, slow(), true)
  }, ms)
  const stop = (): void => clearTimeout(timer)
  response.once('close', stop)
  request.once('end', stop)
}

function slow(): MeshError {
  return new MeshError('E_SLOW', 'Cannot serve the request: it did not arrive in time')
}

function malformed(code: unknown): [MeshError, string] {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return [slow(), 'Request Timeout']
  if (code === 'HPE_HEADER_OVERFLOW')
    return [
      new MeshError('E_TOO_LARGE', `Cannot serve the request: its headers exceed ${MAX_HEADER_BYTES} bytes`),
      'Content Too Large',
    ]
  return [new MeshError('E_BAD_REQUEST', 'Cannot serve the request: it is not well-formed HTTP'), 'Bad Request']
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
