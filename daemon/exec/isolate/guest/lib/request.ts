/** Request (Fetch 5.3): what a program would send. Fields that only steer a browser keep their defaults. */
import { Body, extract, take, split, type Content } from './body.ts'
import { Headers } from './headers.ts'
import { exposeInterface, needArguments } from './web-idl.ts'

export interface RequestInit {
  readonly method?: unknown
  readonly headers?: unknown
  readonly body?: unknown
  readonly signal?: unknown
  readonly duplex?: unknown
  readonly [field: string]: unknown
}

/** The closed sets of strings among the fields, first value is the default. */
const FIELDS = {
  cache: ['default', 'no-store', 'reload', 'no-cache', 'force-cache', 'only-if-cached'],
  credentials: ['same-origin', 'omit', 'include'],
  mode: ['cors', 'same-origin', 'no-cors', 'navigate'],
  redirect: ['follow', 'error', 'manual'],
} as const
const KNOWN_METHOD = /^(delete|get|head|options|post|put)$/i

export class Request extends Body {
  readonly #url: string
  readonly #method: string
  readonly #headers: Headers
  readonly #signal: AbortSignal
  readonly #fields: Readonly<Record<string, unknown>>

  constructor(input: unknown, options?: RequestInit | null) {
    needArguments(arguments.length, 1, 'Request constructor')
    const init = options ?? {}
    const from = input instanceof Request ? input : undefined
    const method = methodOf(init.method ?? from?.method ?? 'GET')
    const headers = new Headers(init.headers ?? from?.headers)
    const content = contentOf(init, from, method, headers)
    super(content)
    this.#url = from?.url ?? urlOf(input)
    this.#method = method
    this.#headers = headers
    const given = init.signal === undefined ? from?.signal : init.signal
    if (given !== undefined && given !== null && !(given instanceof AbortSignal))
      throw new TypeError('Request: signal is not an AbortSignal')
    this.#signal = given ? AbortSignal.any([given]) : new AbortController().signal
    this.#fields = fieldsOf(init, from)
  }
  get method() {
    return this.#method
  }
  get url() {
    return this.#url
  }
  get headers() {
    return this.#headers
  }
  get signal() {
    return this.#signal
  }
  get destination() {
    return ''
  }
  get referrer() {
    return 'about:client'
  }
  get referrerPolicy() {
    return ''
  }
  get mode() {
    return this.#fields.mode
  }
  get credentials() {
    return this.#fields.credentials
  }
  get cache() {
    return this.#fields.cache
  }
  get redirect() {
    return this.#fields.redirect
  }
  get integrity() {
    return this.#fields.integrity
  }
  get keepalive() {
    return this.#fields.keepalive
  }
  get duplex() {
    return 'half'
  }
  clone(): Request {
    return new Request(this.#url, {
      ...this.#fields,
      method: this.#method,
      headers: this.#headers,
      signal: this.#signal,
      [CONTENT]: split(this),
    } as RequestInit)
  }
}
exposeInterface(Request)

/** How `clone` hands content over; no program can name it. */
const CONTENT = Symbol('content')

function methodOf(value: unknown): string {
  const method = `${value}`
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(method)) throw new TypeError(`Request: "${method}" is not a method`)
  if (/^(connect|trace|track)$/i.test(method)) throw new TypeError(`Request: the method ${method} is not allowed`)
  return KNOWN_METHOD.test(method) ? method.toUpperCase() : method
}

function urlOf(input: unknown): string {
  const url = URL.parse(`${input}`)
  if (url === null) throw new TypeError(`Request: "${input}" is not an absolute URL`)
  if (url.username !== '' || url.password !== '')
    throw new TypeError('Request: the URL must not hold a user name or password')
  return url.href
}

function contentOf(init: RequestInit, from: Request | undefined, method: string, headers: Headers): Content {
  const handed = (init as { readonly [CONTENT]?: Content })[CONTENT]
  if (CONTENT in init) return handed
  const { body } = init
  const given = body !== undefined && body !== null
  if ((given || from?.body) && (method === 'GET' || method === 'HEAD'))
    throw new TypeError(`Request: a ${method} request cannot have a body`)
  if (!given) return from === undefined ? undefined : take(from)
  if (body instanceof ReadableStream && init.duplex !== 'half')
    throw new TypeError("Request: a stream as body needs the option duplex: 'half'")
  const { content, type } = extract(body)
  if (type !== undefined && !headers.has('content-type')) headers.set('content-type', type)
  return content
}

function fieldsOf(init: RequestInit, from: Request | undefined): Readonly<Record<string, unknown>> {
  const fields: Record<string, unknown> = {}
  for (const [field, values] of Object.entries(FIELDS)) {
    const value = init[field] ?? from?.[field as keyof typeof FIELDS] ?? values[0]
    if (!(values as readonly unknown[]).includes(value))
      throw new TypeError(`Request: "${value}" is not a value of ${field}`)
    fields[field] = value
  }
  fields.integrity = `${init.integrity ?? from?.integrity ?? ''}`
  fields.keepalive = Boolean(init.keepalive ?? from?.keepalive)
  return fields
}
