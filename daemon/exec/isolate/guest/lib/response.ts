/** Response (Fetch 5.5). */
import { Body, extract, split, type Extracted } from './body.ts'
import { Headers, setGuard } from './headers.ts'
import { exposeInterface, needArguments } from './web-idl.ts'

interface ResponseInit {
  readonly status?: unknown
  readonly statusText?: unknown
  readonly headers?: unknown
}
const WITHOUT_BODY = [101, 103, 204, 205, 304]
const REDIRECTS = [301, 302, 303, 307, 308]

/** How `clone`, `error` and `redirect` hand over what programs cannot set; no program can name it. */
const INNER = Symbol('inner')
interface Inner {
  readonly [INNER]: { readonly extracted: Extracted; readonly type: string; readonly status: number }
}

export class Response extends Body {
  readonly #status: number
  readonly #statusText: string
  readonly #headers: Headers
  readonly #type: string

  constructor(body: unknown = null, options?: ResponseInit | null) {
    const init = options ?? {}
    const inner = (init as Partial<Inner>)[INNER]
    const extracted = inner?.extracted ?? extract(body)
    super(extracted.content)
    this.#status = inner?.status ?? statusOf(init.status)
    this.#statusText = `${init.statusText ?? ''}`
    // biome-ignore lint: these control characters are what is refused
    if (/[^\t\x20-\x7e\x80-\xff]/.test(this.#statusText))
      throw new TypeError('Response: statusText holds a character that is not allowed')
    this.#headers = new Headers(init.headers)
    this.#type = inner?.type ?? 'default'
    if (extracted.content === undefined) return
    if (WITHOUT_BODY.includes(this.#status))
      throw new TypeError(`Response: a response with status ${this.#status} cannot have a body`)
    if (extracted.type !== undefined && !this.#headers.has('content-type'))
      this.#headers.set('content-type', extracted.type)
  }
  get type() {
    return this.#type
  }
  get url() {
    return ''
  }
  get redirected() {
    return false
  }
  get status() {
    return this.#status
  }
  get ok() {
    return this.#status >= 200 && this.#status < 300
  }
  get statusText() {
    return this.#statusText
  }
  get headers() {
    return this.#headers
  }
  clone(): Response {
    const init: ResponseInit & Inner = {
      headers: this.#headers,
      statusText: this.#statusText,
      [INNER]: { extracted: { content: split(this) }, type: this.#type, status: this.#status },
    }
    return new Response(null, init)
  }

  static error(): Response {
    const init: ResponseInit & Inner = { [INNER]: { extracted: { content: undefined }, type: 'error', status: 0 } }
    return immutable(new Response(null, init))
  }
  static redirect(url: unknown, status: unknown = 302): Response {
    needArguments(arguments.length, 1, 'Response.redirect')
    const location = URL.parse(`${url}`)
    if (location === null) throw new TypeError(`Response.redirect: "${url}" is not an absolute URL`)
    if (!REDIRECTS.includes(Number(status)))
      throw new RangeError(`Response.redirect: ${status} is not the status of a redirect`)
    return immutable(new Response(null, { status, headers: { location: location.href } }))
  }
  static json(data: unknown, init?: ResponseInit | null): Response {
    needArguments(arguments.length, 1, 'Response.json')
    const text = JSON.stringify(data)
    if (text === undefined) throw new TypeError('Response.json: the value has no JSON form')
    const headers = new Headers(init?.headers)
    if (!headers.has('content-type')) headers.set('content-type', 'application/json')
    return new Response(text, { ...init, headers })
  }
}
exposeInterface(Response)

function immutable(response: Response): Response {
  setGuard(response.headers, 'immutable')
  return response
}

function statusOf(value: unknown): number {
  const status = value === undefined ? 200 : Math.trunc(Number(value))
  if (!(status >= 200 && status <= 599)) throw new RangeError(`Response: status ${value} is not between 200 and 599`)
  return status
}
