/** URL and URLSearchParams (URL standard). The host parses and serializes; these classes keep the parts and the live link between the two. */
import type { Realm } from '../realm.ts'
import { answered, exposeInterface, needArguments } from './web-idl.ts'

/** In the order in which the host lists them. */
const PARTS = [
  'href',
  'origin',
  'protocol',
  'username',
  'password',
  'host',
  'hostname',
  'port',
  'pathname',
  'search',
  'hash',
] as const
type Part = (typeof PARTS)[number]
type Parts = Record<Part, string>
type Pair = [string, string]

export default ({ host }: Realm) => {
  const parse = (href: string, base?: string): Parts | undefined => split(host('url', href, base))
  /** A part of a URL never holds a line break, so a line break separates them. */
  const split = (text: unknown): Parts | undefined => {
    if (typeof text !== 'string') return undefined
    const values = text.split('\n')
    return Object.fromEntries(PARTS.map((part, index) => [part, values[index]])) as Parts
  }
  const parsePairs = (text: string): Pair[] =>
    JSON.parse(answered(host('query-parse', text), 'URLSearchParams') as string) as Pair[]

  let link: (params: URLSearchParams, url: (query: string) => void) => void
  let refill: (params: URLSearchParams, query: string) => void

  class URLSearchParams {
    #pairs: Pair[] = []
    #changed: (query: string) => void = () => {}

    static {
      link = (params, changed) => {
        params.#changed = changed
      }
      refill = (params, query) => {
        params.#pairs = query === '' ? [] : parsePairs(query)
      }
    }

    constructor(init: unknown = '') {
      if ((typeof init !== 'object' && typeof init !== 'function') || init === null) {
        const text = `${init}`
        this.#pairs = parsePairs(text.startsWith('?') ? text.slice(1) : text)
      } else if ((init as { [Symbol.iterator]?: unknown })[Symbol.iterator] !== undefined) {
        for (const pair of init as Iterable<Iterable<unknown>>) {
          const parts = typeof pair === 'object' && pair !== null ? [...pair] : []
          if (parts.length !== 2) throw new TypeError('URLSearchParams: each entry must hold a name and a value')
          this.#pairs.push(pairOf(parts[0], parts[1]))
        }
      } else
        for (const name of Object.keys(init)) this.#pairs.push(pairOf(name, (init as Record<string, unknown>)[name]))
    }
    get size() {
      return this.#pairs.length
    }
    append(name: unknown, value: unknown) {
      needArguments(arguments.length, 2, 'append')
      this.#pairs.push(pairOf(name, value))
      this.#update()
    }
    delete(name: unknown, value?: unknown) {
      needArguments(arguments.length, 1, 'delete')
      const [wanted, text] = pairOf(name, value)
      this.#pairs = this.#pairs.filter(([n, v]) => n !== wanted || (value !== undefined && v !== text))
      this.#update()
    }
    get(name: unknown): string | null {
      needArguments(arguments.length, 1, 'get')
      return this.#pairs.find(([n]) => n === `${name}`)?.[1] ?? null
    }
    getAll(name: unknown): string[] {
      needArguments(arguments.length, 1, 'getAll')
      return this.#pairs.filter(([n]) => n === `${name}`).map(([, value]) => value)
    }
    has(name: unknown, value?: unknown): boolean {
      needArguments(arguments.length, 1, 'has')
      return this.#pairs.some(([n, v]) => n === `${name}` && (value === undefined || v === `${value}`))
    }
    set(name: unknown, value: unknown) {
      needArguments(arguments.length, 2, 'set')
      const pair = pairOf(name, value)
      const at = this.#pairs.findIndex(([n]) => n === pair[0])
      if (at < 0) this.#pairs.push(pair)
      else this.#pairs = this.#pairs.flatMap((old, index) => (index === at ? [pair] : old[0] === pair[0] ? [] : [old]))
      this.#update()
    }
    sort() {
      this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      this.#update()
    }
    forEach(callback: (value: string, name: string, params: URLSearchParams) => void, thisArg?: unknown) {
      if (typeof callback !== 'function') throw new TypeError('forEach: the argument must be a function')
      for (const [name, value] of this) callback.call(thisArg, value, name, this)
    }
    *entries(): Generator<Pair> {
      // By index, as a program may change the list while it walks it.
      for (let i = 0; i < this.#pairs.length; i++) yield [...(this.#pairs[i] as Pair)]
    }
    *keys(): Generator<string> {
      for (const [name] of this.entries()) yield name
    }
    *values(): Generator<string> {
      for (const [, value] of this.entries()) yield value
    }
    [Symbol.iterator]() {
      return this.entries()
    }
    toString(): string {
      return answered(host('query-format', JSON.stringify(this.#pairs)), 'URLSearchParams') as string
    }
    #update() {
      this.#changed(this.toString())
    }
  }

  class URL {
    #parts: Parts
    #params: URLSearchParams | undefined

    constructor(url: unknown, base?: unknown) {
      needArguments(arguments.length, 1, 'URL constructor')
      const parts = parse(`${url}`, base === undefined ? undefined : `${base}`)
      if (parts === undefined)
        throw Object.assign(new TypeError('Invalid URL'), {
          code: 'ERR_INVALID_URL',
          input: `${url}`,
          ...(base === undefined ? {} : { base: `${base}` }),
        })
      this.#parts = parts
    }
    static canParse(url: unknown, base?: unknown): boolean {
      needArguments(arguments.length, 1, 'URL.canParse')
      return parse(`${url}`, base === undefined ? undefined : `${base}`) !== undefined
    }
    static parse(url: unknown, base?: unknown): URL | null {
      return URL.canParse(url, base) ? new URL(url, base) : null
    }
    get origin() {
      return this.#parts.origin
    }
    get searchParams(): URLSearchParams {
      if (this.#params === undefined) {
        const params = new URLSearchParams()
        refill(params, this.#parts.search.slice(1))
        link(params, (query) => this.#change('search', query))
        this.#params = params
      }
      return this.#params
    }
    #change(part: Part, value: string) {
      this.#parts = split(host('url-set', this.#parts.href, part, value)) ?? this.#parts
    }
    toString() {
      return this.#parts.href
    }
    toJSON() {
      return this.#parts.href
    }

    static {
      for (const part of PARTS) {
        if (part === 'origin') continue
        Object.defineProperty(URL.prototype, part, {
          get(this: URL) {
            return this.#parts[part]
          },
          set(this: URL, value: unknown) {
            if (part === 'href' && parse(`${value}`) === undefined) throw new TypeError(`Invalid URL: ${value}`)
            this.#change(part, `${value}`)
            if (this.#params !== undefined && (part === 'href' || part === 'search'))
              refill(this.#params, this.#parts.search.slice(1))
          },
          configurable: true,
        })
      }
    }
  }
  exposeInterface(URL)
  exposeInterface(URLSearchParams)
  Object.defineProperty(URLSearchParams.prototype, Symbol.iterator, {
    value: URLSearchParams.prototype.entries,
    writable: true,
    configurable: true,
  })
  return { URL, URLSearchParams }
}

function pairOf(name: unknown, value: unknown): Pair {
  return [`${name}`.toWellFormed(), `${value}`.toWellFormed()]
}
