/**
 * The one spelling of a JSON value that is hashed or signed: RFC 8785 (JCS) for the values we use. Keys sorted by UTF-16 units, no white space,
 * strings as ECMAScript writes them, whole numbers only. Absent and undefined members are the same.
 */

/** @throws TypeError for what has not one spelling everywhere: other numbers than safe integers, half of a surrogate pair, what is no JSON at all */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(Object.is(value, -0) ? 0 : value)
  if (typeof value === 'string' && value.isWellFormed()) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object') return canonicalObject(value)
  throw new TypeError(`Cannot spell a value canonically: a ${typeof value} that has no one spelling`)
}

function canonicalObject(value: object): string {
  const members = new Map<string, unknown>(Object.entries(value))
  const parts: string[] = []
  for (const key of [...members.keys()].sort()) {
    const member = members.get(key)
    if (member !== undefined) parts.push(`${canonicalJson(key)}:${canonicalJson(member)}`)
  }
  return `{${parts.join(',')}}`
}
