/** Values as text, in the way of Node's `util.inspect` with its defaults: two levels deep, a hundred entries, lines of about 80. */

interface Context {
  readonly seen: object[]
  readonly circular: Map<object, number>
  /** Level of the value formatted last: an object that holds few levels goes on one line */
  level: number
  indent: number
  /** Characters left; output stops there, whatever the value */
  budget: number
}

const DEPTH = 2
const ENTRIES = 100
const STRING = 10_000
const LINE = 80
/** An object goes on one line only if it holds at most this many levels. */
const COMPACT = 3
const IDENTIFIER = /^[a-zA-Z_][a-zA-Z_0-9]*$/

export function inspect(value: unknown, budget = 65_536): string {
  const context = { seen: [], circular: new Map<object, number>(), level: 0, indent: 0, budget }
  return format(value, 0, context, true)
}

function format(value: unknown, level: number, context: Context, typed = false): string {
  if (context.budget <= 0) return '…'
  const text =
    typeof value === 'object' && value !== null
      ? object(value, level, context)
      : typeof value === 'function'
        ? func(value, level, context)
        : primitive(value, context, typed)
  context.budget -= typeof value === 'object' ? 4 : text.length
  return text
}

function primitive(value: unknown, context: Context, top: boolean): string {
  if (typeof value === 'string') return string(value, context, top)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : `${value}`
  return String(value)
}

function string(value: string, context: Context, top: boolean): string {
  const cut = value.length > STRING ? value.slice(0, STRING) : value
  const more =
    value.length > STRING ? `... ${value.length - STRING} more character${value.length - STRING === 1 ? '' : 's'}` : ''
  if (!top && cut.length > 16 && cut.length > LINE - context.indent - 4 && cut.includes('\n'))
    return (
      cut
        .split(/(?<=\n)/)
        .map(quote)
        .join(` +\n${' '.repeat(context.indent + 2)}`) + more
    )
  return quote(cut) + more
}

export function quote(text: string): string {
  const mark = !text.includes("'")
    ? "'"
    : !text.includes('"')
      ? '"'
      : !text.includes('`') && !text.includes('${')
        ? '`'
        : "'"
  const escapes: Record<string, string> = {
    '\n': '\\n',
    '\t': '\\t',
    '\r': '\\r',
    '\b': '\\b',
    '\f': '\\f',
    '\v': '\\v',
    '\\': '\\\\',
    "'": mark === "'" ? "\\'" : "'",
  }
  // biome-ignore lint: control characters are what is escaped
  const escaped = text.replace(
    /[\x00-\x1f'\\\x7f-\x9f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    (c) => {
      const code = c.charCodeAt(0)
      return (
        escapes[c] ??
        (code < 256
          ? `\\x${code.toString(16).toUpperCase().padStart(2, '0')}`
          : `\\u${code.toString(16).toUpperCase()}`)
      )
    },
  )
  return `${mark}${escaped}${mark}`
}

function func(value: object, level: number, context: Context): string {
  const { name } = value as { name?: unknown }
  const kind = /^class\b/.test(Function.prototype.toString.call(value))
    ? 'class'
    : (constructorName(value) ?? 'Function')
  const parent: unknown = Object.getPrototypeOf(value)
  const base =
    kind === 'class'
      ? `[class ${name || '(anonymous)'}${typeof parent === 'function' && (parent as { name?: string }).name ? ` extends ${(parent as { name: string }).name}` : ''}]`
      : `[${kind}${name ? `: ${String(name)}` : ' (anonymous)'}]`
  const keys = ownKeys(value)
  return keys.length === 0
    ? base
    : nested(value, level, context, () =>
        wrap(base, ['{', '}'], properties(value, keys, level, context), level, context, false),
      )
}

function object(value: object, level: number, context: Context): string {
  if (context.seen.includes(value)) {
    const index = context.circular.get(value) ?? context.circular.size + 1
    context.circular.set(value, index)
    return `[Circular *${index}]`
  }
  return nested(value, level, context, () => structure(value, level, context))
}

/** Formats what holds other values, and marks it if one of them led back to it. */
function nested(value: object, level: number, context: Context, make: () => string): string {
  context.seen.push(value)
  context.level = level
  const text = make()
  context.seen.pop()
  const index = context.circular.get(value)
  return index === undefined ? text : `<ref *${index}> ${text}`
}

function structure(value: object, level: number, context: Context): string {
  const kind = constructorName(value)
  const tagged = (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag]
  const tag = typeof tagged === 'string' && tagged !== '' && tagged !== kind ? ` [${tagged}]` : ''
  const prefix = (fallback: string, size?: number) =>
    `${kind ?? `[${fallback}: null prototype]`}${size === undefined ? '' : `(${size})`}${tag} `
  const keys = ownKeys(value, Array.isArray(value) || ArrayBuffer.isView(value))
  const deep = level > DEPTH
  const shallow = () =>
    `[${Array.isArray(value) ? 'Array' : kind === undefined ? 'Object: null prototype' : `${kind}${tag}`}]`

  if (Array.isArray(value)) {
    const start = kind === 'Array' && tag === '' ? '' : prefix('Array', value.length)
    if (value.length === 0 && keys.length === 0) return `${start}[]`
    if (deep) return shallow()
    return wrap(
      '',
      [`${start}[`, ']'],
      [...items(value, level, context), ...properties(value, keys, level, context)],
      level,
      context,
      true,
    )
  }
  if (value instanceof Error) return error(value, keys, level, context)
  const special = builtin(value, kind, prefix)
  if (special !== undefined) {
    if (typeof special === 'string')
      return keys.length === 0
        ? special
        : wrap(special, ['{', '}'], properties(value, keys, level, context), level, context, false)
    if (special.empty && keys.length === 0) return `${special.start}${special.braces.join('')}`
    if (deep) return shallow()
    const entries = special.entries(level + 1, context)
    return wrap(
      '',
      [`${special.start}${special.braces[0]}`, special.braces[1]],
      [...entries, ...properties(value, keys, level, context)],
      level,
      context,
      special.list,
    )
  }
  const start = kind === 'Object' && tag === '' ? '' : prefix('Object')
  if (keys.length === 0) return `${start}{}`
  if (deep) return shallow()
  return wrap('', [`${start}{`, '}'], properties(value, keys, level, context), level, context, false)
}

interface Collection {
  readonly start: string
  readonly braces: readonly [string, string]
  readonly empty: boolean
  /** Laid out as a list of items */
  readonly list: boolean
  entries(level: number, context: Context): string[]
}

/** Objects with contents that are not properties. A string stands for itself. */
function builtin(
  value: object,
  kind: string | undefined,
  prefix: (fallback: string, size?: number) => string,
): string | Collection | undefined {
  if (value instanceof Map)
    return {
      start: prefix('Map', value.size),
      braces: ['{', '}'],
      empty: value.size === 0,
      list: false,
      entries: (level, context) =>
        indented(context, () =>
          limited([...value], (pair) => `${format(pair[0], level, context)} => ${format(pair[1], level, context)}`),
        ),
    }
  if (value instanceof Set)
    return {
      start: prefix('Set', value.size),
      braces: ['{', '}'],
      empty: value.size === 0,
      list: false,
      entries: (level, context) => indented(context, () => limited([...value], (item) => format(item, level, context))),
    }
  if (ArrayBuffer.isView(value) && 'length' in value) {
    const array = value as unknown as ArrayLike<number | bigint>
    return {
      start: prefix('TypedArray', array.length),
      braces: ['[', ']'],
      empty: array.length === 0,
      list: true,
      entries: () =>
        limited(Array.from(array as ArrayLike<unknown>), (item) => primitive(item, { indent: 0 } as Context, false)),
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
          `byteLength: ${bytes.length}`,
        ]
      },
    }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString()
  if (value instanceof RegExp) return RegExp.prototype.toString.call(value)
  if (value instanceof Promise) return 'Promise { <state unknown> }'
  if (value instanceof WeakMap || value instanceof WeakSet) return `${prefix(kind ?? 'Weak')}{ <items unknown> }`
  for (const type of [Number, String, Boolean])
    if (value instanceof type) return `[${type.name}: ${primitive(value.valueOf(), { indent: 0 } as Context, true)}]`
  if (kind === 'URL' || kind === 'URLSearchParams') return `${kind} ${quote(String(value))}`
  if (kind === 'Headers' || kind === 'FormData') {
    const pairs = [...(value as Iterable<[string, unknown]>)]
    return {
      start: prefix(kind),
      braces: ['{', '}'],
      empty: pairs.length === 0,
      list: false,
      entries: (level, context) =>
        indented(context, () => limited(pairs, ([name, item]) => `${key(name)}: ${format(item, level, context)}`)),
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

function error(value: Error, keys: PropertyKey[], level: number, context: Context): string {
  const stack =
    typeof value.stack === 'string' && value.stack !== '' ? ownFrames(value.stack) : `${value.name}: ${value.message}`
  const heading = stack.includes(`${value.message}`) ? stack : `${value.name}: ${value.message}\n${stack}`
  const base = heading.includes('\n    at ') ? heading : `[${heading}]`
  const shown = keys.filter((name) => name !== 'stack' && name !== 'message' && name !== 'name')
  for (const hidden of ['cause', 'errors'])
    if (Object.hasOwn(value, hidden) && !shown.includes(hidden)) shown.push(hidden)
  const text = context.indent === 0 ? base : base.replaceAll('\n', `\n${' '.repeat(context.indent)}`)
  if (shown.length === 0) return text
  return wrap(text, ['{', '}'], properties(value, shown, level, context), level, context, false)
}

/** A stack without the frames of the runtime. */
export function ownFrames(stack: string): string {
  return stack
    .split('\n')
    .filter((line) => !/^ {4}at .*(manyhands:|<isolated-vm)/.test(line))
    .join('\n')
}

function items(array: readonly unknown[], level: number, context: Context): string[] {
  return indented(context, () => {
    const output: string[] = []
    let index = 0
    while (index < array.length && output.length < ENTRIES) {
      if (index in array) output.push(format(array[index++], level + 1, context))
      else {
        let end = index
        while (end < array.length && !(end in array) && end - index < 1e6) end++
        output.push(`<${end - index} empty item${end - index === 1 ? '' : 's'}>`)
        index = end
      }
    }
    return [...output, ...remaining(array.length - index)]
  })
}

function limited<T>(all: readonly T[], show: (item: T) => string): string[] {
  return [...all.slice(0, ENTRIES).map(show), ...remaining(all.length - ENTRIES)]
}

function remaining(count: number): string[] {
  return count > 0 ? [`... ${count} more item${count === 1 ? '' : 's'}`] : []
}

function properties(value: object, keys: readonly PropertyKey[], level: number, context: Context): string[] {
  return keys.map((name) => {
    const { get, set, value: plain } = Object.getOwnPropertyDescriptor(value, name) ?? {}
    const hidden = !Object.prototype.propertyIsEnumerable.call(value, name)
    const shown = typeof name === 'symbol' ? `[${String(name)}]` : hidden ? `[${String(name)}]` : key(String(name))
    const text =
      get !== undefined
        ? set === undefined
          ? '[Getter]'
          : '[Getter/Setter]'
        : set !== undefined
          ? '[Setter]'
          : indented(context, () => format(plain, level + 1, context))
    return `${shown}: ${text}`
  })
}

function key(name: string): string {
  return IDENTIFIER.test(name) ? name : quote(name)
}

function indented<T>(context: Context, make: () => T): T {
  context.indent += 2
  try {
    return make()
  } finally {
    context.indent -= 2
  }
}

function ownKeys(value: object, list = false): PropertyKey[] {
  const names: PropertyKey[] = list
    ? Object.keys(value).filter((name) => !/^(0|[1-9]\d*)$/.test(name))
    : Object.keys(value)
  return [
    ...names,
    ...Object.getOwnPropertySymbols(value).filter((symbol) =>
      Object.prototype.propertyIsEnumerable.call(value, symbol),
    ),
  ]
}

function constructorName(value: object): string | undefined {
  for (let at: unknown = value; typeof at === 'object' || typeof at === 'function'; at = Object.getPrototypeOf(at)) {
    if (at === null) return undefined
    const own: unknown = Object.getOwnPropertyDescriptor(at, 'constructor')?.value
    if (typeof own === 'function' && own.name !== '') return own.name
  }
  return undefined
}

/** Puts parts together: on one line if short and flat, in columns if a long list, else one part a line. */
function wrap(
  base: string,
  braces: readonly [string, string],
  parts: string[],
  level: number,
  context: Context,
  list: boolean,
): string {
  const before = base === '' ? '' : `${base} `
  const output = list && parts.length > 6 ? columns(parts, context) : parts
  const ungrouped = output.length === parts.length
  if (context.level - level < COMPACT && ungrouped) {
    const start = output.length + context.indent + braces[0].length + base.length + 10
    const total = output.reduce((sum, part) => sum + part.length, output.length + start)
    if (total <= LINE && !base.includes('\n') && !output.some((part) => part.includes('\n')))
      return `${before}${braces[0]} ${output.join(', ')} ${braces[1]}`
  }
  const newline = `\n${' '.repeat(context.indent)}`
  return `${before}${braces[0]}${newline}  ${output.join(`,${newline}  `)}${newline}${braces[1]}`
}

/** Joins the items of a long list into rows of equal columns, about 2.5 times as wide as high, 15 columns at most. */
function columns(parts: string[], context: Context): string[] {
  const hasMore = parts[parts.length - 1]?.startsWith('... ') ?? false
  const cells = hasMore ? parts.slice(0, -1) : parts
  const lengths = cells.map((cell) => cell.length + 2)
  const widest = Math.max(...lengths)
  const total = lengths.reduce((sum, length) => sum + length, 0)
  if (widest * 3 + context.indent >= LINE || (total / widest <= 5 && widest > 6 + 2)) return parts
  if (cells.some((cell) => cell.includes('\n'))) return parts
  const bias = Math.sqrt(widest - total / parts.length)
  const biased = Math.max(widest - 2 - bias, 1)
  const count = Math.min(
    Math.round(Math.sqrt(2.5 * biased * cells.length) / biased),
    Math.floor((LINE - context.indent) / widest),
    COMPACT * 4,
    15,
  )
  if (count <= 1) return parts
  const widths = Array.from({ length: count }, (_, column) =>
    Math.max(...lengths.filter((_, index) => index % count === column)),
  )
  const numeric = cells.every((cell) => /^-?[\d.]+(e[+-]?\d+)?n?$/.test(cell))
  const rows: string[] = []
  for (let at = 0; at < cells.length; at += count) {
    const row = cells.slice(at, at + count)
    const line = row.map((cell, column) => {
      const last = column === row.length - 1
      const text = last ? cell : `${cell}, `
      const width = (widths[column] as number) - (last ? 2 : 0)
      return numeric ? text.padStart(width) : last ? text : text.padEnd(width)
    })
    rows.push(line.join(''))
  }
  return hasMore ? [...rows, parts[parts.length - 1] as string] : rows
}
