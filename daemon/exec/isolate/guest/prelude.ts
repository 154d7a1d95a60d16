/**
 * Evaluated in every context before anything else, so it must stay tiny: everything that can wait is a library, loaded on first touch.
 *
 * Invariants
 * P1  `host` stays in this closure and the closures of libraries; no object a program can reach holds it.
 * P2  What this file needs later it captures now: a program may replace any prototype method and only harms itself.
 * P3  `enter` never throws because of guest code.
 * P4  No clock moves during a step.
 *
 * The code stands at the top level, as V8 would parse the body of a function twice.
 */
import { encodeResult, rawFailure } from './dispatch.ts'
import { DOOR_CALL } from '../../../../protocol/egress/door-call.ts'
import type { DoorReply, DoorRequest, Enter, GuestConfig, Host, HostValue, Library, Realm } from './realm.ts'

/** "library:Name,Name;library:Name", put in by the build. */
declare const GLOBAL_TABLE: string
/** The host function: the argument of the closure that this file becomes the body of. */
declare const $0: Host
/** The closure gives back what is put here. */
declare const $out: { enter: Enter }

type Handler = (input: unknown, env: object) => unknown
interface Settle {
  resolve(value: unknown): void
  reject(error: Error): void
}

const host = $0
// biome-ignore lint: indirect eval is the loader of libraries
const evaluate = globalThis.eval
const { apply, construct } = Reflect
const { defineProperty, create, freeze } = Object
const { parse, stringify } = JSON
const Pending = Promise
const Failure = Error
const RealDate = Date
const { get: mapGet, set: mapSet, delete: mapDelete } = Map.prototype
const { get: weakGet, set: weakSet } = WeakMap.prototype

let now = 0
let origin = 0
let nextCall = 0
let lineBytes = 16384
let outputBytes = 1 << 20
let hostCallBytes = 1 << 20
let handler: Handler = (input) => input
let wake: () => void = () => {}
let env: object = freeze(create(null) as object)
const calls = new Map<number, Settle>()
const brands = new WeakMap<object, string>()
let outbox: HostValue[] = ['results']
let flushing = false
let door: ((request: DoorRequest) => Promise<DoorReply>) | undefined

const brand = <E extends Error>(error: E, code: string): E => {
  defineProperty(error, 'code', { value: code, configurable: true, writable: true, enumerable: true })
  apply(weakSet, brands, [error, code])
  return error
}
const brandOf = (error: object): string | undefined => apply(weakGet, brands, [error]) as string | undefined

const realm: Realm = freeze({
  host,
  now: () => now,
  elapsed: () => now - origin,
  lineBytes: () => lineBytes,
  onWake: (run: () => void) => {
    wake = run
  },
  door: () => door,
  brand,
})

// --- lazy globals ---------------------------------------------------------------------------------------------------
const loaded = create(null) as Record<string, Readonly<Record<string, unknown>>>
const load = (library: string) =>
  (loaded[library] ??= (evaluate(host('lib', library) as string) as Library)(realm)) as Readonly<
    Record<string, unknown>
  >
const place = (name: string, value: unknown) =>
  defineProperty(globalThis, name, { value, writable: true, enumerable: false, configurable: true })
for (const row of GLOBAL_TABLE.split(';')) {
  const [library, names] = row.split(':') as [string, string]
  for (const name of names.split(','))
    defineProperty(globalThis, name, {
      get() {
        const value = load(library)[name]
        place(name, value)
        return value
      },
      set: (value: unknown) => {
        place(name, value)
      },
      enumerable: false,
      configurable: true,
    })
}

// --- no shared memory, no native code, no moving clock ----------------------------------------------------------------
for (const name of ['SharedArrayBuffer', 'Atomics', 'WebAssembly']) Reflect.deleteProperty(globalThis, name)
const FixedDate = new Proxy(RealDate, {
  construct: (target, args: unknown[], newTarget) =>
    construct(target, args.length === 0 ? [now] : args, newTarget) as object,
  apply: () => new RealDate(now).toString(),
})
place('Date', FixedDate)
defineProperty(RealDate, 'now', {
  value: function now_() {
    return now
  },
  writable: true,
  configurable: true,
})
defineProperty(RealDate.now, 'name', { value: 'now', configurable: true })
defineProperty(RealDate.prototype, 'constructor', { value: FixedDate, writable: true, configurable: true })
// A formatter without an argument shows the real clock, so it gets one.
const formats = Intl.DateTimeFormat.prototype
const { formatToParts } = formats
const getFormat = Reflect.getOwnPropertyDescriptor(formats, 'format')?.get as () => (date?: unknown) => string
const bound = new WeakMap<object, (date?: unknown) => string>()
defineProperty(formats, 'format', {
  get(this: object) {
    const format = apply(getFormat, this, [])
    let fixed = apply(weakGet, bound, [this]) as ((date?: unknown) => string) | undefined
    if (fixed === undefined) apply(weakSet, bound, [this, (fixed = (date) => format(date === undefined ? now : date))])
    return fixed
  },
  configurable: true,
})
defineProperty(formats, 'formatToParts', {
  value: {
    formatToParts(this: object, date?: unknown) {
      return apply(formatToParts, this, [date === undefined ? now : date]) as unknown
    },
  }.formatToParts,
  writable: true,
  configurable: true,
})

// --- host functions -----------------------------------------------------------------------------------------------------
const hostFunction = (name: string) =>
  ({
    async [name](...args: unknown[]) {
      let text: string
      try {
        text = stringify(args)
      } catch (error) {
        throw brand(
          new Failure(`env.${name}() was called with something that is not JSON: ${(error as Error).message}`),
          'E_HOST_CALL',
        )
      }
      if (text.length > hostCallBytes)
        throw brand(
          new Failure(`env.${name}() was called with ${text.length} bytes: the limit is ${hostCallBytes}`),
          'E_CALL_BUDGET',
        )
      const id = nextCall++
      // Awaited here: an async function that returns a promise calls its `then`, which a program may have replaced.
      const value: unknown = await new Pending<unknown>((resolve, reject) => {
        apply(mapSet, calls, [id, { resolve, reject }])
        host('call', id, name, text)
      })
      return value
    },
  })[name]

const settleCalls = (args: unknown[]) => {
  for (let i = 0; i < args.length; i += 3) {
    const settle = apply(mapGet, calls, [args[i]]) as Settle | undefined
    if (settle === undefined) continue
    apply(mapDelete, calls, [args[i]])
    const text = args[i + 2] as string
    if (args[i + 1] === true) settle.resolve(text === '' ? undefined : parse(text))
    else {
      const { code, message, hint } = parse(text) as { code: string; message: string; hint?: string }
      const error = brand(new Failure(message), code)
      if (hint !== undefined) defineProperty(error, 'hint', { value: hint, configurable: true, writable: true })
      settle.reject(error)
    }
  }
}

// --- calls ----------------------------------------------------------------------------------------------------------------
/** Waiting for it takes one round of microtasks, with nothing that a program could have replaced. */
const nothing: unknown = undefined
/** Parts of a message, three for each reply: a function cannot be called with any number of arguments. */
const MOST_PARTS = 3 * 1024
/**
 * isolated-vm 7.0.1 writes how many arguments follow and, when reading, takes that number for the version of the encoding if its last seven bits are set and it has
 * more: a call with 255, 383, 511 … arguments fails. An even number is never one of them.
 */
const send = () => {
  const full = outbox
  outbox = ['results']
  if (full.length % 2 === 1) full[full.length] = 0
  apply(host, undefined, full)
}
const flush = async () => {
  // One round of microtasks: whatever else ends in it leaves in the same message.
  await nothing
  flushing = false
  if (outbox.length > 1) send()
}
const reply = (id: number, ok: boolean, text: string) => {
  const at = outbox.length
  outbox[at] = id
  outbox[at + 1] = ok
  outbox[at + 2] = text
  if (outbox.length > MOST_PARTS) send()
  if (flushing) return
  flushing = true
  void flush()
}
const fail = (error: unknown) => rawFailure(error, stringify, brandOf)
const call = async (id: number, text: string) => {
  try {
    reply(id, true, encodeResult(await handler(parse(text), env), stringify, outputBytes, brand))
  } catch (error) {
    reply(id, false, fail(error))
  }
}
const callAll = (args: unknown[], from: number) => {
  for (let i = from; i < args.length; i += 2) void call(args[i] as number, args[i + 1] as string)
}

const begin = (config: GuestConfig) => {
  origin = now
  lineBytes = config.logLineBytes
  outputBytes = config.outputBytes
  hostCallBytes = config.hostCallBytes
  const functions = create(null) as Record<string, unknown>
  for (let i = 0; i < config.hostFunctions.length; i++) {
    const name = config.hostFunctions[i] as string
    if (name === DOOR_CALL) {
      door = hostFunction(name) as NonNullable<typeof door>
      continue
    }
    defineProperty(functions, name, { value: hostFunction(name), enumerable: true })
  }
  env = freeze(functions)
}
/** The namespace of the root module, whose `loaded` cannot be read before all modules have run to their end. */
const main = (root: { readonly loaded?: unknown; readonly main: { readonly default?: unknown } }): string => {
  try {
    void root.loaded
  } catch {
    return 'pending'
  }
  const value = root.main.default
  if (typeof value === 'function') {
    handler = (input, environment) => (value as Handler)(input, environment)
    return ''
  }
  const found = value === undefined ? 'it has none' : `it is ${value === null ? 'null' : typeof value}`
  const error = new Failure(`The main module must export a function as its default: ${found}`)
  brand(error, 'E_IMPORT').stack = ''
  throw error
}

$out.enter = (time, kind, ...args) => {
  now = time
  try {
    if (kind === 'calls') callAll(args, 0)
    else if (kind === 'host') settleCalls(args)
    else if (kind === 'wake') wake()
    else if (kind === 'begin') begin(parse(args[0] as string) as GuestConfig)
    else if (kind === 'main') {
      const state = main(args[0] as Parameters<typeof main>[0])
      if (state !== '') return state
      callAll(args, 1)
    }
    return ''
  } catch (error) {
    return fail(error)
  }
}
