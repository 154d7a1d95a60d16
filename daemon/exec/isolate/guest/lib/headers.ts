/** Headers (Fetch 5.1): names are tokens, values are bytes; iteration is sorted and joins values, except those of Set-Cookie. */
import { exposeInterface, needArguments } from './web-idl.ts'

export type Guard = 'none' | 'immutable'
type Entry = { readonly name: string; readonly value: string }

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const EDGES = /^[\t\n\r ]+|[\t\n\r ]+$/g

export let setGuard: (headers: Headers, guard: Guard) => void

export class Headers {
  /** Names are lower case; order is that of arrival. */
  #list: Entry[] = []
  #guard: Guard = 'none'

  static {
    setGuard = (headers, guard) => {
      headers.#guard = guard
    }
  }

  constructor(init?: unknown) {
    if (init === undefined) return
    if ((typeof init !== 'object' && typeof init !== 'function') || init === null)
      throw new TypeError('Headers: expected an object or a list of pairs')
    if (init instanceof Headers) this.#list = [...init.#list]
    else if (Symbol.iterator in init) {
      for (const pair of init as Iterable<Iterable<unknown>>) {
        if (typeof pair !== 'object' || pair === null)
          throw new TypeError('Headers: each entry must be a list of a name and a value')
        const parts = [...pair]
        if (parts.length !== 2) throw new TypeError('Headers: each entry must hold a name and a value')
        this.append(parts[0], parts[1])
      }
    } else
      for (const name of Reflect.ownKeys(init))
        if (Object.getOwnPropertyDescriptor(init, name)?.enumerable)
          this.append(name, (init as Record<PropertyKey, unknown>)[name])
  }

  append(name: unknown, value: unknown) {
    needArguments(arguments.length, 2, 'append')
    const entry = entryOf(name, value)
    this.#mayChange()
    this.#list.push(entry)
  }
  set(name: unknown, value: unknown) {
    needArguments(arguments.length, 2, 'set')
    const entry = entryOf(name, value)
    this.#mayChange()
    const at = this.#list.findIndex((old) => old.name === entry.name)
    this.#list = this.#list.filter((old, index) => old.name !== entry.name || index === at)
    if (at < 0) this.#list.push(entry)
    else this.#list[at] = entry
  }
  delete(name: unknown) {
    needArguments(arguments.length, 1, 'delete')
    const wanted = nameOf(name)
    this.#mayChange()
    this.#list = this.#list.filter((entry) => entry.name !== wanted)
  }
  get(name: unknown): string | null {
    needArguments(arguments.length, 1, 'get')
    const values = this.#values(nameOf(name))
    return values.length === 0 ? null : values.join(', ')
  }
  has(name: unknown): boolean {
    needArguments(arguments.length, 1, 'has')
    return this.#values(nameOf(name)).length > 0
  }
  getSetCookie(): string[] {
    return this.#values('set-cookie')
  }
  forEach(callback: (value: string, name: string, headers: Headers) => void, thisArg?: unknown) {
    if (typeof callback !== 'function') throw new TypeError('forEach: the argument must be a function')
    for (const [name, value] of this.entries()) callback.call(thisArg, value, name, this)
  }
  *entries(): Generator<[string, string]> {
    // Sorted anew at each step, as a program may change the list while it walks it.
    for (let i = 0; ; i++) {
      const pair = this.#sorted()[i]
      if (pair === undefined) return
      yield pair
    }
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

  #values(name: string): string[] {
    return this.#list.filter((entry) => entry.name === name).map((entry) => entry.value)
  }
  #sorted(): [string, string][] {
    const names = [...new Set(this.#list.map((entry) => entry.name))].sort()
    return names.flatMap((name): [string, string][] => {
      const values = this.#values(name)
      return name === 'set-cookie' ? values.map((value) => [name, value]) : [[name, values.join(', ')]]
    })
  }
  #mayChange() {
    if (this.#guard === 'immutable') throw new TypeError('These headers cannot be changed')
  }
}

function nameOf(name: unknown): string {
  const text = String(name)
  if (typeof name === 'symbol' || !TOKEN.test(text)) throw new TypeError(`"${text}" is not a header name`)
  return text.toLowerCase()
}

function entryOf(name: unknown, value: unknown): Entry {
  const text = `${value}`.replace(EDGES, '')
  // biome-ignore lint: these control characters are what is refused
  if (/[\0\r\n]|[^\0-\xff]/.test(text))
    throw new TypeError(`The value of header "${String(name)}" holds a character that is not allowed`)
  return { name: nameOf(name), value: text }
}

exposeInterface(Headers)
Object.defineProperty(Headers.prototype, Symbol.iterator, {
  value: Headers.prototype.entries,
  writable: true,
  configurable: true,
})
