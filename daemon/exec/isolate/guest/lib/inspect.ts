/** Values as text, in the way of Node's `util.inspect` with its defaults: two levels deep, a hundred entries, lines of about 80. */
import { builtin } from './inspect-builtins.ts'
import { type Context, ENTRIES, indented, key, LINE, quote, remaining, wrap } from './inspect-layout.ts'

const DEPTH = 2
const STRING = 10_000

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
    : nested(value, context, () =>
        wrap(base, ['{', '}'], () => properties(value, keys, level, context), level, context, false),
      )
}

function object(value: object, level: number, context: Context): string {
  if (context.seen.includes(value)) {
    const index = context.circular.get(value) ?? context.circular.size + 1
    context.circular.set(value, index)
    return `[Circular *${index}]`
  }
  return nested(value, context, () => structure(value, level, context))
}

/** Formats what holds other values, and marks it if one of them led back to it. */
function nested(value: object, context: Context, make: () => string): string {
  context.seen.push(value)
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
  const keys = ownKeys(value, Array.isArray(value) || ArrayBuffer.isView(value) || value instanceof String)
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
      () => [...items(value, level, context), ...properties(value, keys, level, context)],
      level,
      context,
      true,
    )
  }
  if (value instanceof Error) return error(value, keys, level, context)
  const special = builtin(value, kind, prefix, format)
  if (special !== undefined) {
    if (typeof special === 'string')
      return keys.length === 0
        ? special
        : wrap(special, ['{', '}'], () => properties(value, keys, level, context), level, context, false)
    if (special.empty && keys.length === 0) return `${special.start}${special.braces.join('')}`
    if (deep) return shallow()
    return wrap(
      '',
      [`${special.start}${special.braces[0]}`, special.braces[1]],
      () => [...special.entries(level + 1, context), ...properties(value, keys, level, context)],
      level,
      context,
      special.list,
    )
  }
  const start = kind === 'Object' && tag === '' ? '' : prefix('Object')
  if (keys.length === 0) return `${start}{}`
  if (deep) return shallow()
  return wrap('', [`${start}{`, '}'], () => properties(value, keys, level, context), level, context, false)
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
  return wrap(text, ['{', '}'], () => properties(value, shown, level, context), level, context, false)
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

function properties(value: object, keys: readonly PropertyKey[], level: number, context: Context): string[] {
  return keys.map((name) => {
    const {
      get,
      set,
      value: plain,
    } = (Object.getOwnPropertyDescriptor(value, name) ?? {}) as {
      get?: unknown
      set?: unknown
      value?: unknown
    }
    const hidden = !Object.prototype.propertyIsEnumerable.call(value, name)
    const shown = typeof name === 'symbol' ? String(name) : hidden ? `[${String(name)}]` : key(String(name))
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
