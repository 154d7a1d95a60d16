/** console (Console standard): each call becomes one line record of the host, formatted as Node does, cut at the limit of a line. */
import type { Realm } from '../realm.ts'
import { inspect, ownFrames } from './inspect.ts'
import { table } from './table.ts'

type Level = 'debug' | 'info' | 'log' | 'warn' | 'error'

export default (realm: Realm) => {
  const { host } = realm
  const counts = new Map<string, number>()
  const timers = new Map<string, number>()
  let indent = ''

  const print = (level: Level, args: readonly unknown[]) => {
    let text: string
    try {
      text = formatAll(args)
    } catch {
      text = '<a value that cannot be shown>'
    }
    if (indent !== '') text = indent + text.replaceAll('\n', `\n${indent}`)
    const most = realm.lineBytes()
    host('log', level, text.length > most ? `${text.slice(0, most)}… (cut)` : text)
  }
  const since = (label: string, args: readonly unknown[]) => {
    const start = timers.get(label)
    if (start === undefined) print('warn', [`No such label '${label}' for console.timeEnd()`])
    else print('log', [`${label}: ${realm.elapsed() - start}ms`, ...args])
  }

  const methods = {
    log: (...args: unknown[]) => print('log', args),
    info: (...args: unknown[]) => print('info', args),
    debug: (...args: unknown[]) => print('debug', args),
    warn: (...args: unknown[]) => print('warn', args),
    error: (...args: unknown[]) => print('error', args),
    trace(...args: unknown[]) {
      const stack = ownFrames(new Error().stack ?? '')
        .split('\n')
        .slice(1)
        .join('\n')
      print('error', [`Trace${args.length === 0 ? '' : `: ${formatAll(args)}`}\n${stack}`.trimEnd()])
    },
    assert(condition?: unknown, ...args: unknown[]) {
      if (condition) return
      print(
        'error',
        typeof args[0] === 'string'
          ? [`Assertion failed: ${args[0]}`, ...args.slice(1)]
          : ['Assertion failed', ...args],
      )
    },
    dir: (value: unknown) => print('log', [value !== null && typeof value === 'string' ? inspect(value) : value]),
    table: (data: unknown, only?: readonly string[]) => print('log', [table(data, only) ?? data]),
    count(label: unknown = 'default') {
      const count = (counts.get(`${label}`) ?? 0) + 1
      counts.set(`${label}`, count)
      print('log', [`${label}: ${count}`])
    },
    countReset: (label: unknown = 'default') => void counts.delete(`${label}`),
    time: (label: unknown = 'default') => void timers.set(`${label}`, realm.elapsed()),
    timeLog: (label: unknown = 'default', ...args: unknown[]) => since(`${label}`, args),
    timeEnd(label: unknown = 'default') {
      since(`${label}`, [])
      timers.delete(`${label}`)
    },
    group(...args: unknown[]) {
      if (args.length > 0) print('log', args)
      if (indent.length < 64) indent += '  '
    },
    groupEnd() {
      indent = indent.slice(2)
    },
    clear() {},
  }
  const console: Record<PropertyKey, unknown> = { ...methods, dirxml: methods.log, groupCollapsed: methods.group }
  Object.defineProperty(console, Symbol.toStringTag, { value: 'console', configurable: true })
  return { console }
}

/** Placeholders of a leading string take the first values; the rest follow, separated by spaces. */
function formatAll(args: readonly unknown[]): string {
  const [first, ...rest] = args
  let next = 0
  const head =
    typeof first === 'string' && rest.length > 0
      ? first.replace(/%[sdifjoOc%]/g, (mark) =>
          mark === '%%' ? '%' : next < rest.length ? placeholder(mark, rest[next++]) : mark,
        )
      : undefined
  const others = head === undefined ? args : rest.slice(next)
  const texts = others.map((value) => (typeof value === 'string' ? value : inspect(value)))
  return (head === undefined ? texts : [head, ...texts]).join(' ')
}

function placeholder(mark: string, value: unknown): string {
  switch (mark) {
    case '%s':
      return typeof value === 'string'
        ? value
        : typeof value === 'bigint'
          ? `${value}n`
          : typeof value === 'object' && value !== null
            ? inspect(value)
            : String(value)
    case '%d':
      return typeof value === 'bigint'
        ? `${value}n`
        : typeof value === 'object' || typeof value === 'symbol'
          ? 'NaN'
          : `${Number(value)}`
    case '%i':
      return typeof value === 'bigint'
        ? `${value}n`
        : typeof value === 'object' || typeof value === 'symbol'
          ? 'NaN'
          : `${Number.parseInt(String(value), 10)}`
    case '%f':
      return typeof value === 'symbol' ? 'NaN' : `${Number.parseFloat(String(value))}`
    case '%j':
      try {
        return `${JSON.stringify(value)}`
      } catch {
        return '[Circular]'
      }
    case '%c':
      return ''
    default:
      return inspect(value)
  }
}
