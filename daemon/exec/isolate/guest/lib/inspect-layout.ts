/** How the parts of a value are put on lines: the rules of Node's `util.inspect` for `compact: 3`. */

export interface Context {
  readonly seen: object[]
  readonly circular: Map<object, number>
  /** Level of the value formatted last: an object that holds few levels goes on one line */
  level: number
  indent: number
  /** Characters left; output stops there, whatever the value */
  budget: number
}

export const ENTRIES = 100
export const LINE = 80
/** An object goes on one line only if it holds at most this many levels. */
const COMPACT = 3
const IDENTIFIER = /^[a-zA-Z_][a-zA-Z_0-9]*$/

/** Puts parts together: on one line if short and flat, in columns if a long list, else one part a line. */
export function wrap(
  base: string,
  braces: readonly [string, string],
  make: () => string[],
  level: number,
  context: Context,
  list: boolean,
): string {
  context.level = level
  const parts = make()
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
  const biased = Math.max(widest - 3 - bias, 1)
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

export function limited<T>(all: readonly T[], show: (item: T) => string): string[] {
  return [...all.slice(0, ENTRIES).map(show), ...remaining(all.length - ENTRIES)]
}

export function remaining(count: number): string[] {
  return count > 0 ? [`... ${count} more item${count === 1 ? '' : 's'}`] : []
}

export function key(name: string): string {
  return IDENTIFIER.test(name) ? name : quote(name)
}

export function indented<T>(context: Context, make: () => T): T {
  context.indent += 2
  try {
    return make()
  } finally {
    context.indent -= 2
  }
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
