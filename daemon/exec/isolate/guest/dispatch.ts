/** Result to text and error to text, inside the isolate. Part of the prelude: small, and safe against replaced prototypes (invariant P2). */
import type { RawFailure } from './realm.ts'

type Stringify = typeof JSON.stringify
type Brand = <E extends Error>(error: E, code: string) => E

const { getPrototypeOf, setPrototypeOf } = Object
const { apply } = Reflect
const charCode = String.prototype.charCodeAt
const slice = String.prototype.slice
const RootObject = Object.prototype
const RealError = Error
/** Nesting of a result; LIMITS.jsonDepth, put in by the build. */
declare const JSON_DEPTH: number

/**
 * The JSON text of what a program returned. `undefined` becomes `null`, as the body of a function without `return` should not fail.
 * @throws Error branded E_RESULT when the value has no JSON form, E_OUTPUT when its text is longer than `limit`
 */
export function encodeResult(value: unknown, stringify: Stringify, limit: number, brand: Brand): string {
  if (value === undefined) return 'null'
  const refuse = (why: string): never => {
    throw brand(new RealError(`The program returned ${why}`), 'E_RESULT')
  }
  let text: string | undefined
  try {
    text = stringify(value)
  } catch (error) {
    return refuse(`something that is not JSON: ${describe(error)}`)
  }
  if (text === undefined) return refuse(`a ${typeof value}, which is not JSON`)
  if (text === '{}' && opaque(value)) return refuse(`a ${nameOf(value)}, which has no JSON form`)
  if (text.length > limit)
    throw brand(new RealError(`The result has ${text.length} bytes: the limit is ${limit}`), 'E_OUTPUT')
  if (text.length > 2 * JSON_DEPTH && tooDeep(text)) return refuse(`a value nested deeper than ${JSON_DEPTH} levels`)
  return text
}

/** An instance of a class that shows nothing of itself in JSON (Map, Response, a promise in a promise). */
function opaque(value: unknown): boolean {
  const prototype: unknown = typeof value === 'object' && value !== null ? getPrototypeOf(value) : null
  return prototype !== null && prototype !== RootObject
}

function nameOf(value: unknown): string {
  const name: unknown = (value as { constructor?: { name?: unknown } }).constructor?.name
  return typeof name === 'string' && name !== '' ? name : 'object'
}

function describe(error: unknown): string {
  return error instanceof RealError ? error.message : 'its toJSON threw'
}

function tooDeep(text: string): boolean {
  let depth = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const c = apply(charCode, text, [i]) as number
    if (quoted) {
      if (c === 92) i++
      else if (c === 34) quoted = false
    } else if (c === 34) quoted = true
    else if (c === 91 || c === 123) {
      if (++depth > JSON_DEPTH) return true
    } else if (c === 93 || c === 125) depth--
  }
  return false
}

/** Whatever was thrown, as the text of a `RawFailure`. Reads properties of a guest's object, so anything may happen; the caller gets text. */
export function rawFailure(
  error: unknown,
  stringify: Stringify,
  brandOf: (error: object) => string | undefined,
): string {
  try {
    // Without a prototype: a program may have given all objects a `toJSON` that tells something else.
    return stringify(setPrototypeOf(describeThrown(error, brandOf), null))
  } catch {
    return '{"message":"The program threw something that cannot be read"}'
  }
}

function describeThrown(error: unknown, brandOf: (error: object) => string | undefined): RawFailure {
  if (typeof error !== 'object' || error === null) return { message: bounded(`Thrown: ${String(error)}`) }
  const { name, message, stack, hint } = error as Record<string, unknown>
  const code = brandOf(error)
  return {
    ...(code === undefined ? {} : { code }),
    ...(typeof name === 'string' ? { name: bounded(name) } : {}),
    message: bounded(typeof message === 'string' ? message : `Thrown: ${nameOf(error)}`),
    ...(typeof stack === 'string' ? { stack: bounded(stack) } : {}),
    ...(code !== undefined && typeof hint === 'string' ? { hint: bounded(hint) } : {}),
  }
}

function bounded(text: string): string {
  return text.length > 8192 ? (apply(slice, text, [0, 8192]) as string) : text
}
