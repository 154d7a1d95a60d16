/**
 * One connection to the daemon that has proven itself. Its agent can open exactly one socket: when that is gone, the lane fails rather than connect
 * again, so that a token never reaches whoever listens there by then.
 */
import http from 'node:http'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { ManyhandsError, protocolError } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { newChallenge } from '../proof.ts'
import { readBody } from '../read-body.ts'
import type { WireAnswer } from '../transport.ts'

export type Endpoint = { readonly socketPath: string } | { readonly host: string; readonly port: number }

export interface LaneRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | undefined
  readonly signal: AbortSignal
}

class OneSocketAgent extends http.Agent {
  #socket: net.Socket | undefined

  constructor(socket: net.Socket) {
    super({ keepAlive: true, maxSockets: 1 })
    this.#socket = socket
  }

  override createConnection(
    _options: http.ClientRequestArgs,
    done?: (error: Error | null, stream: Duplex) => void,
  ): Duplex {
    const socket = this.#socket
    this.#socket = undefined
    if (socket) return socket
    const gone = new net.Socket()
    gone.destroy(lostError(undefined))
    done?.(null, gone)
    return gone
  }
}

export class Lane {
  readonly #socket: net.Socket
  readonly #agent: OneSocketAgent
  readonly #endpoint: Endpoint
  readonly #token: string
  used = 0

  private constructor(socket: net.Socket, endpoint: Endpoint, token: string) {
    this.#socket = socket
    this.#agent = new OneSocketAgent(socket)
    this.#endpoint = endpoint
    this.#token = token
  }

  /** @throws ManyhandsError E_NOT_RUNNING, E_UNPROVEN, E_FORBIDDEN, E_TIMEOUT, E_PROTOCOL, or the signal's reason */
  static async open(endpoint: Endpoint, token: string, signal: AbortSignal): Promise<Lane> {
    const limit = AbortSignal.timeout(LIMITS.connectMs)
    const either = AbortSignal.any([signal, limit])
    let socket: net.Socket | undefined
    try {
      socket = await dial(endpoint, either)
      const lane = new Lane(socket, endpoint, token)
      const { path, requireProof } = await newChallenge(token)
      const answer = await lane.#send({ method: 'GET', path, headers: {}, signal: either }, false)
      await requireProof(answer.status, await readBody(answer, LIMITS.challengeBytes))
      return lane
    } catch (error) {
      socket?.destroy()
      if (limit.aborted && !signal.aborted) throw timeoutError(error)
      throw error
    }
  }

  get alive(): boolean {
    return !this.#socket.destroyed && this.#socket.writable
  }

  onClose(listener: () => void): void {
    this.#socket.once('close', listener)
  }

  /** @throws ManyhandsError E_UNREACHABLE when the connection is lost, E_PROTOCOL, or the signal's reason */
  request(request: LaneRequest): Promise<WireAnswer> {
    this.used++
    return this.#send(request, true)
  }

  /** Gives the connection itself to another protocol; the lane is over. */
  upgrade(
    path: string,
    protocol: string,
    signal: AbortSignal,
  ): Promise<{ socket: net.Socket; head: Buffer } | WireAnswer> {
    const headers = { ...this.#headers(true), connection: 'Upgrade', upgrade: protocol }
    if (!this.alive) return Promise.reject(lostError(undefined))
    return new Promise((resolve, reject) => {
      const request = http.request({ ...this.#target(), method: 'GET', path, headers, signal })
      request.once('upgrade', (response, _stream, head) => {
        if (response.headers.upgrade?.toLowerCase() === protocol) return resolve({ socket: this.#socket, head })
        this.close()
        reject(protocolError('Cannot open a duplex: the daemon switched to another protocol'))
      })
      request.once('response', (response) => resolve(toAnswer(response)))
      request.once('error', (error) => reject(requestError(error, signal)))
      request.end()
    })
  }

  close(): void {
    this.#agent.destroy()
    this.#socket.destroy()
  }

  #send(request: LaneRequest, withToken: boolean): Promise<WireAnswer> {
    const { method, path, body, signal } = request
    // A request on a socket that has closed already would hear of neither its end nor its signal.
    if (!this.alive) return Promise.reject(lostError(undefined))
    return new Promise((resolve, reject) => {
      const headers: Record<string, string> = { ...request.headers, ...this.#headers(withToken) }
      if (body !== undefined) headers['content-length'] = String(Buffer.byteLength(body))
      const sent = http.request({ ...this.#target(), method, path, headers, signal })
      sent.once('response', (response) => resolve(toAnswer(response)))
      sent.once('upgrade', (_response, stream) => {
        stream.destroy()
        reject(protocolError('Cannot read the answer: the daemon switched protocols unasked'))
      })
      sent.on('error', (error) => reject(requestError(error, signal)))
      sent.end(body)
    })
  }

  #headers(withToken: boolean): Record<string, string> {
    const host = 'socketPath' in this.#endpoint ? 'localhost' : hostHeader(this.#endpoint)
    return withToken ? { host, authorization: `Bearer ${this.#token}` } : { host }
  }

  #target(): http.RequestOptions {
    return { agent: this.#agent, host: 'localhost', port: 80 }
  }
}

function hostHeader(endpoint: { host: string; port: number }): string {
  return endpoint.host.includes(':') ? `[${endpoint.host}]:${endpoint.port}` : `${endpoint.host}:${endpoint.port}`
}

function dial(endpoint: Endpoint, signal: AbortSignal): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const socket = net.connect(
      'socketPath' in endpoint ? { path: endpoint.socketPath } : { ...endpoint, noDelay: true },
    )
    const settle = (): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect)
      socket.off('error', onError)
    }
    const onAbort = (): void => {
      settle()
      socket.on('error', () => undefined)
      socket.destroy()
      reject(signal.reason)
    }
    const onConnect = (): void => {
      settle()
      // Errors reach the request that is under way; between requests there is nobody to tell
      socket.on('error', () => undefined)
      resolve(socket)
    }
    const onError = (error: Error): void => {
      settle()
      reject(connectError(error))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('connect', onConnect)
    socket.once('error', onError)
  })
}

function toAnswer(response: http.IncomingMessage): WireAnswer {
  return {
    status: response.statusCode ?? 0,
    header: (name) => {
      const value = response.headers[name]
      return typeof value === 'string' ? value : value?.[0]
    },
    body: pull(response),
    leave: () => void response.destroy(),
  }
}

async function* pull(response: http.IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of response) yield chunk as Buffer
  } catch (error) {
    throw requestError(error, undefined)
  }
}

function requestError(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason
  if (error instanceof ManyhandsError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (code === 'ABORT_ERR') return error instanceof Error && error.cause !== undefined ? error.cause : error
  if (code.startsWith('HPE_')) return protocolError('Cannot read the answer: it is not HTTP', error)
  return lostError(error)
}

export function lostError(cause: unknown): ManyhandsError {
  return new ManyhandsError('E_UNREACHABLE', 'The connection to the daemon was lost', {
    hint: 'Check whether it still runs: manyhands status',
    retryAfterMs: 250,
    cause,
  })
}

function timeoutError(cause: unknown): ManyhandsError {
  return new ManyhandsError('E_TIMEOUT', `Cannot connect: the daemon did not answer within ${LIMITS.connectMs} ms`, {
    hint: 'It may be stopped or overloaded; see its log: manyhands paths',
    cause,
  })
}

function connectError(error: Error): ManyhandsError {
  const code = 'code' in error ? error.code : undefined
  if (code === 'EACCES' || code === 'EPERM') {
    return new ManyhandsError('E_FORBIDDEN', 'Cannot connect: the daemon belongs to another user', {
      hint: 'Use the daemon of your own user: manyhands up',
      cause: error,
    })
  }
  return new ManyhandsError('E_NOT_RUNNING', 'Cannot connect: no daemon is running here', {
    hint: 'Start it with: manyhands up',
    retryAfterMs: 1000,
    cause: error,
  })
}
