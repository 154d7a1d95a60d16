/**
 * What a schema refuses, in plain words: which field, what is wanted, and what came. A text that came is told by its length alone: it may be a secret.
 * Schemas that say it better themselves, in a message of their own, are left to it.
 */
import type { z } from 'zod'

/** Names shown of what is not known, or of what would be right */
const MAX_NAMES = 20
const MAX_NAME_LENGTH = 64

const KINDS: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  int: 'a whole number',
  null: 'null',
  number: 'a number',
  object: 'an object',
  record: 'an object',
  string: 'a text',
}

const UNITS: Readonly<Record<string, readonly [one: string, many: string]>> = {
  array: ['item', 'items'],
  string: ['character', 'characters'],
}

/** For zod: `schema.safeParse(value, { error: plainIssue })`. */
export function plainIssue(issue: z.core.$ZodRawIssue): string | undefined {
  const came = received(issue.input)
  switch (issue.code) {
    case 'invalid_type':
      return `${KINDS[issue.expected] ?? issue.expected} is wanted: ${came}`
    case 'too_small':
      return `${bound(issue.exact ? 'exactly' : issue.inclusive === false ? 'more than' : 'at least', issue.minimum, issue.origin)}: ${came}`
    case 'too_big':
      return `${bound(issue.exact ? 'exactly' : issue.inclusive === false ? 'less than' : 'at most', issue.maximum, issue.origin)}: ${came}`
    case 'not_multiple_of':
      return `a multiple of ${issue.divisor} is wanted: ${came}`
    case 'invalid_value':
      return `${issue.values.length > 1 ? 'one of ' : ''}${names(issue.values.map((value) => JSON.stringify(value) ?? ''))} is wanted: ${came}`
    case 'invalid_format':
      return `a text of another form${issue.format === 'regex' ? '' : ` (${issue.format})`} is wanted: ${came}`
    case 'unrecognized_keys':
      return `there is no field ${names(issue.keys.map((key) => JSON.stringify(key)))} here`
    case 'invalid_union':
      return `it has none of the forms that are wanted: ${came}`
    default:
      return undefined
  }
}

/** e.g. "limits.wallMs: at least 1 is wanted: received 0 (and 2 more)" */
export function whatDoesNotFit({ issues }: z.ZodError): string {
  const [first] = issues
  const at = first?.path.join('.').slice(0, 200) ?? ''
  const message = first?.message.slice(0, 1_000) ?? 'it has another form'
  return `${at === '' ? '' : `${at}: `}${message}${issues.length > 1 ? ` (and ${issues.length - 1} more)` : ''}`
}

function bound(relation: string, limit: number | bigint, origin: string): string {
  const unit = UNITS[origin]
  const what = unit === undefined ? '' : ` ${Number(limit) === 1 ? unit[0] : unit[1]}`
  return `${relation} ${limit}${what} ${Number(limit) === 1 || what === '' ? 'is' : 'are'} wanted`
}

function received(value: unknown): string {
  if (value === undefined) return 'it is missing'
  if (typeof value === 'string')
    return `received a text of ${value.length} ${value.length === 1 ? 'character' : 'characters'}`
  if (Array.isArray(value)) return `received a list of ${value.length}`
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return `received ${value}`
  return 'received an object'
}

function names(all: readonly string[]): string {
  const shown = all.slice(0, MAX_NAMES).map((name) => name.slice(0, MAX_NAME_LENGTH))
  return `${shown.join(', ')}${all.length > MAX_NAMES ? ', …' : ''}`
}
