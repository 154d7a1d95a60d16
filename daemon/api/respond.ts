/** Writes answers. Every one carries the same strict headers; no answer carries a CORS header. */
import type { ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Problem } from '../../protocol/api.ts'
import { toProblem } from './problem.ts'

const SECURITY = [
  ['content-security-policy', "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"],
  ['x-content-type-options', 'nosniff'],
  ['x-frame-options', 'DENY'],
  ['referrer-policy', 'no-referrer'],
  ['cross-origin-resource-policy', 'same-origin'],
  ['cache-control', 'no-store'],
].flat()

/** A client that does not take its answer in this time is cut off. */
const TAKE_MS = 60_000
/** Up to this size the kernel takes an answer at once */
const SMALL_BYTES = 64 << 10

export function sendText(
  response: ServerResponse,
  status: number,
  contentType: string,
  text: string,
  extra: readonly string[] = [],
): void {
  if (response.headersSent || response.destroyed) return
  const length = Buffer.byteLength(text)
  response.writeHead(status, [...SECURITY, 'content-type', contentType, 'content-length', String(length), ...extra])
  if (length > SMALL_BYTES) limitTaking(response)
  response.end(text)
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  sendText(response, status, 'application/json', JSON.stringify(value) ?? 'null')
}

/** @param close end the connection: what follows on it cannot be trusted or is not wanted */
export function sendProblem(response: ServerResponse, thrown: unknown, close = false): Problem {
  const problem = toProblem(thrown)
  sendText(response, problem.status, 'application/problem+json', JSON.stringify(problem), [
    ...problemHeaders(problem),
    ...(close ? ['connection', 'close'] : []),
  ])
  return problem
}

export function startEvents(response: ServerResponse): void {
  response.writeHead(200, [...SECURITY, 'content-type', 'text/event-stream', 'x-accel-buffering', 'no'])
  response.flushHeaders()
}

/** The same for a socket that no response object exists for: failed parsing, refused upgrades. Ends it. */
export function writeProblem(socket: Duplex, thrown: unknown, reason: string): void {
  if (!socket.writable) return void socket.destroy()
  const problem = toProblem(thrown)
  const text = JSON.stringify(problem)
  const headers = [
    ...SECURITY,
    'content-type',
    'application/problem+json',
    'content-length',
    String(Buffer.byteLength(text)),
    'connection',
    'close',
    ...problemHeaders(problem),
  ]
  const lines = [`HTTP/1.1 ${problem.status} ${reason}`]
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`)
  socket.end(`${lines.join('\r\n')}\r\n\r\n${text}`)
  // The other side may still be sending: it gets a moment to read the answer
  const timer = setTimeout(() => socket.destroy(), 1_000)
  timer.unref()
  socket.once('close', () => clearTimeout(timer))
  socket.on('error', () => undefined)
  socket.resume()
}

function problemHeaders(problem: Problem): string[] {
  const headers: string[] = []
  if (problem.status === 401) headers.push('www-authenticate', 'Bearer realm="manyhands"')
  if (problem.retryAfterMs !== undefined) headers.push('retry-after', String(Math.ceil(problem.retryAfterMs / 1000)))
  return headers
}

function limitTaking(response: ServerResponse): void {
  const timer = setTimeout(() => response.destroy(), TAKE_MS)
  timer.unref()
  response.once('close', () => clearTimeout(timer))
}
