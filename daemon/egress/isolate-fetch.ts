/**
 * `fetch` of programs in isolates: the host function behind it. A request comes as JSON, goes through a door of its task like any other guest's, and comes back
 * as JSON. The proxy does all the talking, TLS and redirects' addresses included; here is only HTTP with our own proxy, and the redirect steps of the Fetch standard.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http'
import * as z from 'zod'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import type { EgressSubject } from '../../protocol/egress/rule.ts'
import { MeshError } from '../../protocol/errors.ts'
import type { EgressDoor, OpenDoor } from './egress.ts'

const Header = z.tuple([
  z.string().regex(/^[\w!#$%&'*+.^`|~-]{1,256}$/),
  z
    .string()
    .max(16 << 10)
    .regex(/^[\t\x20-\x7e\x80-\xff]*$/),
])
const Asked = z.tuple([
  z.object({
    method: z.string().regex(/^[A-Z-]{1,32}$/i),
    url: z.string().max(16 << 10),
    headers: z.array(Header).max(200),
    body: z.base64().optional(),
    redirect: z.enum(['follow', 'error', 'manual']),
  }),
])
type Headers = readonly (readonly [string, string])[]

interface Step {
  readonly method: string
  readonly url: URL
  readonly headers: Headers
  readonly body: Buffer
}

const MOST_REDIRECTS = 20
/** A door whose task asks nothing for so long is closed, milliseconds. */
const DOOR_IDLE_MS = 60_000
/** Set by the proxy or by HTTP itself; a program's values are dropped, as in browsers */
const NOT_THEIRS = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
/** Not shown to another origin after a redirect */
const FOR_ONE_ORIGIN = new Set(['authorization', 'cookie'])

interface Held {
  readonly door: Promise<OpenDoor>
  using: number
  timer: NodeJS.Timeout | undefined
}

export class IsolateFetch {
  readonly #egress: EgressDoor
  readonly #doors = new Map<string, Held>()

  constructor(egress: EgressDoor) {
    this.#egress = egress
  }

  /** @returns JSON text for the program. @throws MeshError E_NETWORK_CLOSED refused by rule or address, E_HOST_CALL, E_TOO_LARGE, E_TIMEOUT, E_UNREACHABLE */
  async fetch(subject: EgressSubject, argsJson: string, signal: AbortSignal): Promise<string> {
    const asked = parse(argsJson)
    const held = this.#hold(subject)
    try {
      const { socketPath } = await held.door
      return JSON.stringify(await follow(socketPath, asked, signal))
    } finally {
      this.#release(JSON.stringify(subject), held)
    }
  }

  async close(): Promise<void> {
    const all = [...this.#doors.values()]
    this.#doors.clear()
    for (const { door, timer } of all) {
      clearTimeout(timer)
      await door.then((open) => open.close()).catch(() => undefined)
    }
  }

  #hold(subject: EgressSubject): Held {
    const key = JSON.stringify(subject)
    let held = this.#doors.get(key)
    if (held === undefined) {
      held = { door: this.#egress.open(subject), using: 0, timer: undefined }
      held.door.catch(() => this.#doors.delete(key))
      this.#doors.set(key, held)
    }
    clearTimeout(held.timer)
    held.using += 1
    return held
  }

  #release(key: string, held: Held): void {
    held.using -= 1
    if (held.using > 0 || this.#doors.get(key) !== held) return
    held.timer = setTimeout(() => {
      this.#doors.delete(key)
      held.door.then((open) => open.close()).catch(() => undefined)
    }, DOOR_IDLE_MS)
    held.timer.unref()
  }
}

function parse(argsJson: string): Step & { redirect: string } {
  let json: unknown
  try {
    json = JSON.parse(argsJson)
  } catch {
    json = undefined
  }
  const parsed = Asked.safeParse(json)
  const url = parsed.success ? URL.parse(parsed.data[0].url) : null
  if (!parsed.success || url === null)
    throw new MeshError('E_HOST_CALL', 'fetch was called with something that is no request')
  const { method, headers, body = '', redirect } = parsed.data[0]
  return {
    method,
    url,
    headers: headers.filter(([name]) => !NOT_THEIRS.has(name.toLowerCase())),
    body: Buffer.from(body, 'base64'),
    redirect,
  }
}

async function follow(socketPath: string, asked: Step & { redirect: string }, signal: AbortSignal) {
  let step: Step = asked
  for (let hops = 0; ; hops++) {
    const answer = await ask(socketPath, step, signal)
    const { statusCode: status = 502, headers } = answer
    const next =
      [301, 302, 303, 307, 308].includes(status) && headers.location !== undefined
        ? URL.parse(headers.location, step.url.href)
        : null
    if (next === null || asked.redirect === 'manual')
      return { ...(await read(answer, step.url)), url: step.url.href, redirected: hops > 0 }
    answer.destroy()
    if (asked.redirect === 'error' || hops >= MOST_REDIRECTS)
      throw new MeshError(
        'E_HOST_CALL',
        `fetch ${asked.url.origin}: it redirects${hops >= MOST_REDIRECTS ? ' too often' : ''}`,
      )
    step = redirected(step, status, next)
  }
}

function redirected({ method, url, headers, body }: Step, status: number, next: URL): Step {
  const toGet = (status === 303 && method !== 'HEAD') || (status <= 302 && method === 'POST')
  const kept =
    next.origin === url.origin ? headers : headers.filter(([name]) => !FOR_ONE_ORIGIN.has(name.toLowerCase()))
  if (!toGet) return { method, url: next, headers: kept, body }
  return {
    method: 'GET',
    url: next,
    headers: kept.filter(([name]) => !name.toLowerCase().startsWith('content-')),
    body: Buffer.alloc(0),
  }
}

/** One request to the proxy, in absolute form. @throws MeshError when the door refuses */
function ask(socketPath: string, { method, url, headers, body }: Step, signal: AbortSignal): Promise<IncomingMessage> {
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new MeshError('E_HOST_CALL', `fetch: ${url.protocol} is not supported: only http: and https: are`)
  const length =
    body.length > 0 || method === 'POST' || method === 'PUT' ? [['content-length', String(body.length)] as const] : []
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      socketPath,
      method,
      path: `${url.origin}${url.pathname}${url.search}`,
      headers: [['host', url.host] as const, ...headers, ...length, ['connection', 'close'] as const].flat(),
      setHost: false,
      signal,
      agent: false,
      timeout: EGRESS_LIMITS.idleMs,
    })
    // Whoever reads the answer hears only what the answer itself ended with
    let begun: IncomingMessage | undefined
    request.once('timeout', () =>
      (begun ?? request).destroy(new MeshError('E_TIMEOUT', `fetch ${url.origin}: no answer came in time`)),
    )
    request.once('error', (cause) => reject(lost(url, cause)))
    request.once('response', (answer) => {
      begun = answer
      const reason = answer.headers['x-manyhands-egress']
      if (typeof reason !== 'string') return resolve(answer)
      answer.resume()
      reject(refusal(url, answer.statusCode ?? 502, reason))
    })
    request.end(body)
  })
}

function lost({ origin }: URL, cause: unknown): MeshError {
  return cause instanceof MeshError
    ? cause
    : new MeshError('E_UNREACHABLE', `fetch ${origin}: the connection was lost`, { cause })
}

function refusal(url: URL, status: number, reason: string): MeshError {
  if (status >= 500)
    return new MeshError('E_UNREACHABLE', `fetch ${url.origin}: it cannot be reached (${reason.slice(0, 64)})`)
  return new MeshError(
    'E_NETWORK_CLOSED',
    `fetch ${url.origin}: the network is closed to this program there (${reason.slice(0, 64)})`,
    {
      hint: 'An operator can open it: manyhands policy allow --for ... --host ...',
    },
  )
}

async function bodyOf(answer: IncomingMessage, url: URL): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  try {
    for await (const part of answer) {
      if (!(part instanceof Buffer)) continue
      bytes += part.length
      if (bytes > EGRESS_LIMITS.fetchBodyBytes)
        throw new MeshError('E_TOO_LARGE', `fetch: the response has more than ${EGRESS_LIMITS.fetchBodyBytes} bytes`)
      parts.push(part)
    }
  } catch (error) {
    throw lost(url, error)
  }
  return Buffer.concat(parts)
}

async function read(answer: IncomingMessage, url: URL) {
  const body = await bodyOf(answer, url)
  const raw = answer.rawHeaders
  const headers = Array.from({ length: raw.length / 2 }, (_, index) => [raw[index * 2] ?? '', raw[index * 2 + 1] ?? ''])
  return {
    status: answer.statusCode ?? 502,
    statusText: answer.statusMessage ?? '',
    headers: headers.filter(
      ([name]) => !['connection', 'keep-alive', 'transfer-encoding'].includes(name?.toLowerCase() ?? ''),
    ),
    body: body.toString('base64'),
  }
}
