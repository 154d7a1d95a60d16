/** structuredClone (HTML 2.7): keeps cycles and identity, refuses what has no copy, moves transferred buffers. */
import { needArguments } from './web-idl.ts'

type Copies = Map<object, unknown>

const ERRORS: Record<string, ErrorConstructor> = {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
}

/** A test of an internal slot: calling the intrinsic throws unless `value` has it, whatever its prototype or tag claims. */
function slotTest(type: { prototype: object }, property: string): (value: object) => boolean {
  const { get, value: method } = Object.getOwnPropertyDescriptor(type.prototype, property) as {
    get?: () => unknown
    value?: () => unknown
  }
  const probe = (get ?? method) as () => unknown
  return (value) => {
    try {
      probe.call(value)
      return true
    } catch {
      return false
    }
  }
}

const isDate = slotTest(Date, 'getTime')
const isMap = slotTest(Map, 'size')
const isSet = slotTest(Set, 'size')
const isBuffer = slotTest(ArrayBuffer, 'byteLength')
const isBoolean = slotTest(Boolean, 'valueOf')
const isNumber = slotTest(Number, 'valueOf')
const isString = slotTest(String, 'valueOf')
const isBigInt = slotTest(BigInt as unknown as { prototype: object }, 'valueOf')
const isSymbol = slotTest(Symbol as unknown as { prototype: object }, 'valueOf')
const isRegExp = (value: object) => value !== RegExp.prototype && slotTest(RegExp, 'dotAll')(value)

function refuse(what: string): never {
  throw new DOMException(`${what} could not be cloned.`, 'DataCloneError')
}

export default () => ({
  structuredClone: function structuredClone(value: unknown, options?: { transfer?: Iterable<unknown> }) {
    needArguments(arguments.length, 1, 'structuredClone')
    const transfer = [...(options?.transfer ?? [])]
    for (const [index, item] of transfer.entries()) {
      if (typeof item !== 'object' || item === null || !isBuffer(item))
        refuse('Only an ArrayBuffer can be transferred, so the value')
      if (transfer.indexOf(item) !== index) refuse('A buffer that is listed twice')
      if ((item as ArrayBuffer).detached) refuse('A detached ArrayBuffer')
    }
    const result = clone(value, new Map())
    // Copied first and detached last: nothing is lost when cloning throws.
    for (const buffer of transfer) (buffer as ArrayBuffer).transfer()
    return result
  },
})

function clone(value: unknown, copies: Copies): unknown {
  if (typeof value === 'symbol') return refuse(String(value))
  if (typeof value === 'function') return refuse(`${Function.prototype.toString.call(value).slice(0, 80)}`)
  if (typeof value !== 'object' || value === null) return value
  const known = copies.get(value)
  if (known !== undefined) return known
  const prototype: unknown = Object.getPrototypeOf(value)
  if (Array.isArray(value)) return properties(value, keep(copies, value, new Array(value.length)), copies)
  if (prototype === Object.prototype || prototype === null) return properties(value, keep(copies, value, {}), copies)
  return platformObject(value, copies) ?? properties(value, keep(copies, value, {}), copies)
}

function keep<T>(copies: Copies, value: object, copy: T): T {
  copies.set(value, copy)
  return copy
}

function properties<T extends object>(from: object, to: T, copies: Copies): T {
  for (const key of Object.keys(from)) {
    const value = clone((from as Record<string, unknown>)[key], copies)
    Object.defineProperty(to, key, { value, writable: true, enumerable: true, configurable: true })
  }
  return to
}

/** The copy of an object with internal slots; `undefined` for an ordinary object; throws for what has no copy. */
function platformObject(value: object, copies: Copies): unknown {
  if (isDate(value)) return keep(copies, value, new Date((value as Date).getTime()))
  if (value instanceof Error) return cloneError(value, copies)
  if (isMap(value)) return cloneMap(value as Map<unknown, unknown>, copies)
  if (isSet(value)) return cloneSet(value as Set<unknown>, copies)
  if (isBuffer(value)) return keep(copies, value, cloneBuffer(value as ArrayBuffer))
  if (ArrayBuffer.isView(value)) return cloneView(value, copies)
  if (isRegExp(value)) return keep(copies, value, new RegExp((value as RegExp).source, (value as RegExp).flags))
  for (const is of [isBoolean, isNumber, isString, isBigInt])
    if (is(value)) return keep(copies, value, Object(value.valueOf()))
  if (isSymbol(value)) return refuse('A Symbol object')
  const tag = (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag]
  if (tag === 'Blob' || tag === 'File') return value
  const uncloneable = [
    'Promise',
    'WeakMap',
    'WeakSet',
    'WeakRef',
    'Generator',
    'AsyncGenerator',
    'ReadableStream',
    'WritableStream',
    'TransformStream',
    'Request',
    'Response',
    'Headers',
    'FormData',
    'URL',
    'URLSearchParams',
    'EventTarget',
    'AbortSignal',
    'Event',
  ]
  if (typeof tag === 'string' && uncloneable.includes(tag)) return refuse(`#<${tag}>`)
  return undefined
}

function cloneError(value: Error, copies: Copies): unknown {
  if (value instanceof DOMException) return keep(copies, value, new DOMException(value.message, value.name))
  const type = ERRORS[value.name] ?? Error
  const copy = keep(copies, value, new type(value.message === '' ? undefined : `${value.message}`))
  for (const key of ['stack', 'cause'] as const) {
    const own = Object.getOwnPropertyDescriptor(value, key)
    if (own === undefined) continue
    Object.defineProperty(copy, key, { value: clone(value[key], copies), writable: true, configurable: true })
  }
  return copy
}

function cloneMap(value: Map<unknown, unknown>, copies: Copies): unknown {
  const copy = keep(copies, value, new Map<unknown, unknown>())
  for (const [key, item] of [...value]) copy.set(clone(key, copies), clone(item, copies))
  return copy
}

function cloneSet(value: Set<unknown>, copies: Copies): unknown {
  const copy = keep(copies, value, new Set<unknown>())
  for (const item of [...value]) copy.add(clone(item, copies))
  return copy
}

function cloneBuffer(buffer: ArrayBuffer): ArrayBuffer {
  if (buffer.detached) return refuse('A detached ArrayBuffer')
  if (!buffer.resizable) return buffer.slice(0)
  const copy = new ArrayBuffer(buffer.byteLength, { maxByteLength: buffer.maxByteLength })
  new Uint8Array(copy).set(new Uint8Array(buffer))
  return copy
}

type ViewConstructor = new (buffer: unknown, offset: number, length?: number) => ArrayBufferView

function cloneView(view: ArrayBufferView, copies: Copies): unknown {
  const buffer = clone(view.buffer, copies)
  const tag = (view as { [Symbol.toStringTag]?: string })[Symbol.toStringTag] ?? ''
  const type = (tag === 'DataView' || !tag.endsWith('Array')
    ? DataView
    : globalThis[tag as 'Uint8Array']) as unknown as ViewConstructor
  const length = 'length' in view ? (view.length as number) : view.byteLength
  return keep(copies, view, new type(buffer, view.byteOffset, length))
}
