/**
 * Reading small JSON files of our own without a schema library: loading one takes longer than everything else that is read before a node has joined.
 */

/** The value, when it is an object with just these keys. */
export function exactObject<K extends string>(
  value: unknown,
  ...keys: readonly K[]
): Readonly<Record<K, unknown>> | undefined {
  return isRecord(value) && Object.keys(value).length === keys.length && hasAll(value, keys) ? value : undefined
}

export function isTextList(value: unknown, maxItems: number, maxLength: number): value is readonly string[] {
  const isText = (item: unknown): boolean => typeof item === 'string' && item.length <= maxLength
  return Array.isArray(value) && value.length <= maxItems && value.every(isText)
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function hasAll<K extends string>(
  value: Readonly<Record<string, unknown>>,
  keys: readonly K[],
): value is Readonly<Record<K, unknown>> {
  return keys.every((key) => Object.hasOwn(value, key))
}
