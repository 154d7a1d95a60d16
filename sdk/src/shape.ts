/** Checks that JSON from the daemon has the shape its type claims, so that no reply is trusted by a cast. Unknown fields are allowed: a newer daemon may send more. */
import { protocolError } from './errors.ts'

export interface Shape<T> {
  readonly accepts: (value: unknown) => boolean
  /** Never set; carries the type */
  readonly type?: T
}

const shape = <T>(accepts: (value: unknown) => boolean): Shape<T> => ({ accepts })

export const anything: Shape<unknown> = shape(() => true)
export const text: Shape<string> = shape((value) => typeof value === 'string')
export const number: Shape<number> = shape((value) => typeof value === 'number' && Number.isFinite(value))
export const flag: Shape<boolean> = shape((value) => typeof value === 'boolean')

/** The field may be absent. */
export const optional = <T>(inner: Shape<T>): Shape<T> => shape((value) => value === undefined || inner.accepts(value))

export const nullable = <T>(inner: Shape<T>): Shape<T | null> =>
  shape((value) => value === null || inner.accepts(value))

export const list = <T>(inner: Shape<T>): Shape<readonly T[]> =>
  shape((value) => Array.isArray(value) && value.every((item) => inner.accepts(item)))

export const record = <T>(inner: Shape<T>): Shape<Readonly<Record<string, T>>> =>
  shape((value) => isObject(value) && Object.values(value).every((item) => inner.accepts(item)))

/** One of the literals. */
export const oneOf = <const T extends string | boolean>(...values: readonly T[]): Shape<T> =>
  shape((value) => (values as readonly unknown[]).includes(value))

/** Names every field of `T`; a field missing here does not compile. */
export function object<T>(fields: { readonly [K in keyof T]-?: Shape<T[K]> }): Shape<T> {
  const entries = Object.entries<Shape<unknown>>(fields)
  return shape(
    (value) =>
      isObject(value) &&
      entries.every(([name, field]) => field.accepts(Object.hasOwn(value, name) ? value[name] : undefined)),
  )
}

export const either = <A, B>(a: Shape<A>, b: Shape<B>): Shape<A | B> =>
  shape((value) => a.accepts(value) || b.accepts(value))

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** @throws ManyhandsError E_PROTOCOL when `value` is not of the shape */
export function decode<T>(expected: Shape<T>, value: unknown, what: string): T {
  if (!expected.accepts(value)) throw protocolError(`Cannot read ${what}: the daemon sent something of another shape`)
  return value as T
}

/** @throws ManyhandsError E_PROTOCOL when the text is not JSON or not of the shape */
export function decodeText<T>(expected: Shape<T>, json: string, what: string): T {
  return decode(expected, parseJson(json, what), what)
}

/** @throws ManyhandsError E_PROTOCOL when the text is not JSON */
export function parseJson(json: string, what: string): unknown {
  try {
    return JSON.parse(json)
  } catch (error) {
    throw protocolError(`Cannot read ${what}: the daemon sent something that is not JSON`, error)
  }
}
