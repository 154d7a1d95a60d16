/**
 * Bounds what one log record can hold, whatever was handed to the logger: characters, depth and width. Errors become plain data with their causes.
 * What is cut says so, so that a reader never takes a part for the whole.
 */

/** Characters of text in one record: room for a stack and some facts. */
export const RECORD_CHARACTERS = 16 << 10
const TEXT_CHARACTERS = 4 << 10
const DEPTH = 6
const WIDTH = 64

/** Names whose values never reach a log, at any depth and in any case. */
const SECRET_NAME =
  /^(?:.*(?:token|secret|password|passphrase|private_?key|authorization|credential|psk)|invite|cookie|set-cookie|proof)$/i
/** Secrets inside text: bearer tokens and invites. */
const SECRET_TEXT = /\b(Bearer\s+)[\w.~+/=-]{8,}|\b(mh[ta]_|mh1)[\w-]{16,}/gi
const CENSORED = '[redacted]'

/** A copy of `value` fit to be written. Never throws, whatever getters do. */
export function boundedRecord(value: unknown): unknown {
  return copy(value, { left: RECORD_CHARACTERS }, 0)
}

/** A message, censored and cut. */
export function boundedText(text: string): string {
  return cut(text, TEXT_CHARACTERS)
}

interface Budget {
  left: number
}

function copy(value: unknown, budget: Budget, depth: number): unknown {
  if (typeof value === 'string') return spend(cut(value, Math.min(TEXT_CHARACTERS, Math.max(0, budget.left))), budget)
  if (typeof value === 'bigint') return value.toString()
  if (typeof value !== 'object' || value === null)
    return typeof value === 'function' || typeof value === 'symbol' ? `[${typeof value}]` : value
  if (depth >= DEPTH || budget.left <= 0) return '[cut]'
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
  if (Array.isArray(value)) {
    const items = value.slice(0, WIDTH).map((item) => copy(item, budget, depth + 1))
    return value.length > WIDTH ? [...items, `[${value.length - WIDTH} more]`] : items
  }
  if (value instanceof Error) return copyFields(errorFields(value), budget, depth)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? '[invalid date]' : value.toISOString()
  return copyFields(value, budget, depth)
}

function copyFields(value: object, budget: Budget, depth: number): Record<string, unknown> {
  const fields: [string, unknown][] = []
  for (const name of Object.keys(value).slice(0, WIDTH)) {
    const key = spend(cut(name, 128), budget)
    if (SECRET_NAME.test(name)) fields.push([key, CENSORED])
    else fields.push([key, copy(read(value, name), budget, depth + 1)])
  }
  return Object.fromEntries(fields)
}

function errorFields(error: Error): object {
  return {
    ...error,
    name: error.name,
    message: error.message,
    stack: error.stack,
    ...(error.cause === undefined ? {} : { cause: error.cause }),
  }
}

function read(value: object, name: string): unknown {
  try {
    return Reflect.get(value, name)
  } catch {
    return '[unreadable]'
  }
}

function cut(text: string, most: number): string {
  // Cut first: censoring 10 MB to keep 4 KB of it would block. A secret across the cut is censored by its beginning.
  const kept = text.length > most ? text.slice(0, most) : text
  const censored = kept.replaceAll(
    SECRET_TEXT,
    (_, bearer: string | undefined, prefix: string | undefined) => `${bearer ?? prefix ?? ''}${CENSORED}`,
  )
  return text.length > most ? `${censored}[cut: ${text.length} characters]` : censored
}

function spend(text: string, budget: Budget): string {
  budget.left -= text.length
  return text
}
