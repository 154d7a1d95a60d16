/**
 * The host's half of every crossing from a guest: a table of operations behind one function. Runs in the jailed host process, which holds no
 * secret, but serves several jobs: so each argument is checked as if an attacker had sent it, each size has a limit, nothing is kept without a
 * bound, and nothing is ever thrown (isolated-vm would hand the guest our message and our stack). What only an attacker can send is reported
 * to the port as abuse; what a program can send by mistake is answered with `undefined`, or `false` if it is too long, and the guest's side makes
 * an error of it.
 */
import { createHash, getRandomValues, randomUUID } from 'node:crypto'
import { LIMITS } from '../../../../protocol/limits.ts'
import { LIBRARIES } from './gen/sources.js'
import type { HostValue } from './realm.ts'

export type LogLevel = 'debug' | 'info' | 'log' | 'warn' | 'error'

/** One finished call: its JSON text, or the raw text of why it failed, for `failureFromRaw`. */
export type GuestReply =
  | { readonly id: number; readonly ok: true; readonly text: string }
  | { readonly id: number; readonly ok: false; readonly raw: string }

/** What one isolate tells its host process. Methods run inside a synchronous callback of the guest: they must be quick. */
export interface GuestPort {
  /** One console line, cut at `LIMITS.logLineBytes`. */
  log(level: LogLevel, text: string): void
  /** `env.<name>(...)` was called; `argsJson` is a JSON array. To be answered by `enter(now, 'host', id, ...)`. */
  call(id: number, name: string, argsJson: string): void
  results(replies: readonly GuestReply[]): void
  /** Enter with kind `wake` after so many milliseconds, instead of any time set before; -1: not at all. */
  wake(inMs: number): void
  /** Something came that the runtime inside the isolate never sends. */
  abuse(what: string): void
}

/** Text or bytes of one operation: URLs, texts to encode or decode, data to hash. */
const OPERATION_BYTES = 16 << 20
const URL_BYTES = 1 << 20
/** Decoders of unfinished streams that one isolate may hold. */
const MOST_DECODERS = 64
const RANDOM_BYTES = 65_536
const LONGEST_WAKE_MS = 2 ** 31 - 1
const LEVELS: readonly string[] = ['debug', 'info', 'log', 'warn', 'error'] satisfies LogLevel[]
const DIGESTS: Readonly<Record<string, string>> = {
  'SHA-1': 'sha1',
  'SHA-256': 'sha256',
  'SHA-384': 'sha384',
  'SHA-512': 'sha512',
}
const URL_PARTS = [
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
const URL_SETTABLE: readonly string[] = URL_PARTS.filter((part) => part !== 'origin')

/** Thrown by the checks of this file only, and caught in it. */
class Abuse extends Error {}
class TooLong extends Error {}

type Operation = (args: readonly unknown[]) => HostValue

/** The one function a guest can call. Never throws. Hand it to the isolate as a synchronous callback. */
export function hostFunction(port: GuestPort): (...args: unknown[]) => HostValue {
  const own = new Map<string, Operation>([...decoderOperations(), ...portOperations(port)])
  return (op, ...args) => {
    try {
      const name = text(op, 32)
      const operation = PURE.get(name) ?? own.get(name)
      if (operation === undefined) throw new Abuse(`unknown operation`)
      return operation(args)
    } catch (error) {
      if (error instanceof Abuse)
        port.abuse(`${typeof op === 'string' ? op.slice(0, 32) : typeof op}: ${error.message}`)
      return error instanceof TooLong ? false : undefined
    }
  }
}

function text(value: unknown, most: number): string {
  if (typeof value !== 'string') throw new Abuse('expected text')
  if (value.length > most) throw new TooLong()
  return value
}

function bytes(value: unknown): Uint8Array {
  if (!(value instanceof ArrayBuffer)) throw new Abuse('expected bytes')
  if (value.byteLength > OPERATION_BYTES) throw new TooLong()
  return new Uint8Array(value)
}

function integer(value: unknown, least: number, most: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most)
    throw new Abuse('expected an integer in range')
  return value
}

function isolated(buffer: Uint8Array): ArrayBuffer {
  return new Uint8Array(buffer).buffer
}

function urlText(url: URL): string {
  return URL_PARTS.map((part) => url[part]).join('\n')
}

/** Functions of their arguments. */
const PURE: ReadonlyMap<string, Operation> = new Map<string, Operation>([
  ['lib', ([name]) => (Object.hasOwn(LIBRARIES, text(name, 64)) ? LIBRARIES[name as string] : undefined)],
  [
    'url',
    ([href, base]) => {
      const url = URL.parse(text(href, URL_BYTES), base === undefined ? undefined : text(base, URL_BYTES))
      return url === null ? undefined : urlText(url)
    },
  ],
  [
    'url-set',
    ([href, part, value]) => {
      const url = new URL(text(href, URL_BYTES))
      if (!URL_SETTABLE.includes(text(part, 16))) throw new Abuse('unknown part')
      Reflect.set(url, part as string, text(value, URL_BYTES))
      return urlText(url)
    },
  ],
  ['query-parse', ([query]) => JSON.stringify([...new URLSearchParams(`&${text(query, OPERATION_BYTES)}`)])],
  ['query-format', ([pairs]) => formatQuery(JSON.parse(text(pairs, OPERATION_BYTES)))],
  ['btoa', ([data]) => Buffer.from(text(data, OPERATION_BYTES), 'latin1').toString('base64')],
  ['atob', ([data]) => Buffer.from(text(data, OPERATION_BYTES), 'base64').toString('latin1')],
  ['encode', ([data]) => isolated(Buffer.from(text(data, OPERATION_BYTES), 'utf8'))],
  ['encoding', ([label]) => new TextDecoder(text(label, 64)).encoding],
  ['decode', ([encoding, flags, data]) => decoderFor(encoding, flags).decode(bytes(data))],
  [
    'digest',
    ([name, data]) => {
      const algorithm = DIGESTS[text(name, 16)]
      if (algorithm === undefined) throw new Abuse('unknown digest')
      return isolated(createHash(algorithm).update(bytes(data)).digest())
    },
  ],
  ['random', ([count]) => getRandomValues(new Uint8Array(integer(count, 0, RANDOM_BYTES))).buffer],
  ['uuid', () => randomUUID()],
])

function formatQuery(pairs: unknown): string {
  if (!Array.isArray(pairs)) throw new Abuse('expected pairs')
  const params = new URLSearchParams()
  for (const pair of pairs) {
    const [name, value] = (Array.isArray(pair) ? pair : []) as unknown[]
    params.append(text(name, OPERATION_BYTES), text(value, OPERATION_BYTES))
  }
  return params.toString()
}

type Decoder = InstanceType<typeof TextDecoder>

function decoderFor(encoding: unknown, flags: unknown): Decoder {
  const bits = integer(flags, 0, 3)
  return new TextDecoder(text(encoding, 64), { fatal: (bits & 1) !== 0, ignoreBOM: (bits & 2) !== 0 })
}

/** Decoders that keep their state between the chunks of a stream; freed at its end, bounded in number. */
function decoderOperations(): [string, Operation][] {
  const decoders = new Map<number, Decoder>()
  let last = 0
  return [
    [
      'decoder',
      ([encoding, flags]) => {
        if (decoders.size >= MOST_DECODERS) return 0
        decoders.set(++last, decoderFor(encoding, flags))
        return last
      },
    ],
    [
      'decode-part',
      ([id, more, data]) => {
        const key = integer(id, 1, Number.MAX_SAFE_INTEGER)
        const decoder = decoders.get(key)
        if (decoder === undefined) throw new Abuse('unknown decoder')
        let unfinished = false
        try {
          const part = decoder.decode(bytes(data), { stream: more === true })
          unfinished = more === true
          return part
        } finally {
          if (!unfinished) decoders.delete(key)
        }
      },
    ],
  ]
}

/** What goes on to the owner of the isolate. */
function portOperations(port: GuestPort): [string, Operation][] {
  return [
    [
      'log',
      ([level, line]) => {
        if (typeof level !== 'string' || !LEVELS.includes(level)) throw new Abuse('unknown level')
        if (typeof line !== 'string') throw new Abuse('expected text')
        port.log(level as LogLevel, cutLine(line))
        return undefined
      },
    ],
    [
      'call',
      ([id, name, args]) => {
        const json = typeof args === 'string' ? args : undefined
        if (json === undefined) throw new Abuse('expected arguments')
        port.call(integer(id, 0, Number.MAX_SAFE_INTEGER), text(name, 256), json)
        return undefined
      },
    ],
    [
      'results',
      (args) => {
        port.results(repliesFrom(args))
        return undefined
      },
    ],
    [
      'wake',
      ([ms]) => {
        port.wake(integer(ms, -1, LONGEST_WAKE_MS))
        return undefined
      },
    ],
  ]
}

/** The line within `LIMITS.logLineBytes` of UTF-8. */
function cutLine(line: string): string {
  if (line.length * 3 <= LIMITS.logLineBytes) return line
  const encoded = Buffer.from(line.slice(0, LIMITS.logLineBytes), 'utf8')
  if (encoded.length <= LIMITS.logLineBytes && line.length <= LIMITS.logLineBytes) return line
  const note = ' … (cut)'
  let end = LIMITS.logLineBytes - Buffer.byteLength(note)
  while (end > 0 && ((encoded[end] ?? 0) & 0xc0) === 0x80) end--
  return `${encoded.toString('utf8', 0, end)}${note}`
}

/** Three arguments for each reply, and at the end perhaps one that fills up. */
function repliesFrom(args: readonly unknown[]): GuestReply[] {
  if (args.length % 3 === 2) throw new Abuse('results come in threes')
  const replies: GuestReply[] = []
  for (let i = 0; i + 2 < args.length; i += 3) {
    const id = integer(args[i], 0, Number.MAX_SAFE_INTEGER)
    const body = args[i + 2]
    if (typeof body !== 'string') throw new Abuse('expected text')
    replies.push(args[i + 1] === true ? { id, ok: true, text: body } : { id, ok: false, raw: body })
  }
  return replies
}
