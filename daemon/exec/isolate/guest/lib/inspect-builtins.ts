/** Objects whose contents are not properties: collections, buffers, boxed values, and the web's own classes. */
import { type Context, indented, key, limited, quote } from './inspect-layout.ts'

export interface Collection {
  readonly start: string
  readonly braces: readonly [string, string]
  readonly empty: boolean
  /** Laid out as a list of items */
  readonly list: boolean
  entries(level: number, context: Context): string[]
}

/** Objects with contents that are not properties. A string stands for itself. */
export function builtin(
  value: object,
  kind: string | undefined,
  prefix: (fallback: string, size?: number) => string,
  show: (value: unknown, level: number, context: Context) => string,
): string | Collection | undefined {
  if (value instanceof Map)
    return {
      start: prefix('Map', value.size),
      braces: ['{', '}'],
      empty: value.size === 0,
      list: false,
      entries: (level, context) =>
        indented(context, () =>
          limited([...value], (pair) => `${show(pair[0], level, context)} => ${show(pair[1], level, context)}`),
        ),
    }
  if (value instanceof Set)
    return {
      start: prefix('Set', value.size),
      braces: ['{', '}'],
      empty: value.size === 0,
      list: false,
      entries: (level, context) => indented(context, () => limited([...value], (item) => show(item, level, context))),
    }
  if (ArrayBuffer.isView(value) && 'length' in value) {
    const array = value as unknown as ArrayLike<number | bigint>
    return {
      start: prefix('TypedArray', array.length),
      braces: ['[', ']'],
      empty: array.length === 0,
      list: true,
      entries: () => limited(Array.from(array as ArrayLike<unknown>), (item) => plain(item)),
    }
  }
  if (value instanceof ArrayBuffer)
    return {
      start: prefix('ArrayBuffer'),
      braces: ['{', '}'],
      empty: false,
      list: false,
      entries: () => {
        const bytes = new Uint8Array(value)
        const shown = [...bytes.subarray(0, 50)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
        return [
          `[Uint8Contents]: <${shown}${bytes.length > 50 ? ` ... ${bytes.length - 50} more byte${bytes.length === 51 ? '' : 's'}` : ''}>`,
          `[byteLength]: ${bytes.length}`,
        ]
      },
    }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString()
  if (value instanceof RegExp) return RegExp.prototype.toString.call(value)
  if (value instanceof Promise) return 'Promise { <state unknown> }'
  if (value instanceof WeakMap || value instanceof WeakSet) return `${prefix(kind ?? 'Weak')}{ <items unknown> }`
  for (const type of [Number, String, Boolean])
    if (value instanceof type) return `[${type.name}: ${plain(value.valueOf())}]`
  if (kind === 'URL' || kind === 'URLSearchParams') return `${kind} ${quote(String(value))}`
  if (kind === 'Headers' || kind === 'FormData') {
    const pairs = [...(value as Iterable<[string, unknown]>)]
    return {
      start: prefix(kind),
      braces: ['{', '}'],
      empty: pairs.length === 0,
      list: false,
      entries: (level, context) =>
        indented(context, () => limited(pairs, ([name, item]) => `${key(name)}: ${show(item, level, context)}`)),
    }
  }
  if (kind === 'Response') {
    const { status, statusText } = value as { status: number; statusText: string }
    return `Response { status: ${status}${statusText === '' ? '' : `, statusText: ${quote(statusText)}`} }`
  }
  if (kind === 'Request')
    return `Request { method: ${quote((value as { method: string }).method)}, url: ${quote((value as { url: string }).url)} }`
  if (kind === 'Blob' || kind === 'File')
    return `${kind} { size: ${(value as Blob).size}, type: ${quote((value as Blob).type)} }`
  return undefined
}

/** A primitive on its own. */
function plain(value: unknown): string {
  if (typeof value === 'string') return quote(value)
  if (typeof value === 'bigint') return `${value}n`
  return Object.is(value, -0) ? '-0' : String(value)
}
