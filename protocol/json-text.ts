/**
 * Looks over JSON text from outside before `JSON.parse` sees it: nesting, repeated keys and `__proto__`. It does not validate: what is no JSON is
 * left for the parser to refuse. One pass over the bytes, no recursion; in UTF-8 the bytes looked for never occur inside another character.
 */
import { MeshError } from './errors.ts'
import { LIMITS } from './limits.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a

/** Repeated keys are looked for this deep: in the request's own structure. Deeper is the caller's data, where the last one counts as in any JSON. */
const UNIQUE_KEYS_DEPTH = 2

/**
 * Parses JSON from outside.
 * @param what names it in messages, e.g. "the request body"
 * @throws MeshError E_BAD_REQUEST for anything but one well-formed JSON value within the limits
 */
export function parseJsonText(bytes: Uint8Array, what: string): unknown {
  inspect(bytes, what)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    throw refused(what, 'it is not well-formed JSON in UTF-8')
  }
}

function inspect(bytes: Uint8Array, what: string): void {
  // One entry for each open object or array; the set holds the keys seen so far, where they must be unique
  const open: (Set<string> | undefined)[] = []
  for (let at = 0; at < bytes.length; at++) {
    switch (bytes[at]) {
      case 0x7b: // {
      case 0x5b: // [
        if (open.length >= LIMITS.jsonDepth) throw refused(what, `it nests deeper than ${LIMITS.jsonDepth}`)
        open.push(open.length < UNIQUE_KEYS_DEPTH ? new Set() : undefined)
        break
      case 0x7d: // }
      case 0x5d: // ]
        open.pop()
        break
      case QUOTE: {
        const end = stringEnd(bytes, at + 1)
        if (isKey(bytes, end + 1)) checkKey(bytes, at, end, open.at(-1), what)
        at = end
        break
      }
      default:
    }
  }
}

/** Index of the closing quote, or the length when there is none. */
function stringEnd(bytes: Uint8Array, from: number): number {
  let at = from
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1
  return Math.min(at, bytes.length)
}

/** In JSON a string is a key if and only if a colon follows. */
function isKey(bytes: Uint8Array, from: number): boolean {
  let at = from
  while (bytes[at] === 0x20 || bytes[at] === 0x0a || bytes[at] === 0x0d || bytes[at] === 0x09) at++
  return bytes[at] === COLON
}

function checkKey(bytes: Uint8Array, quote: number, end: number, seen: Set<string> | undefined, what: string): void {
  // Without a need to compare, only a key of nine characters, or one with escapes, can be "__proto__"
  const raw = bytes.subarray(quote + 1, end)
  if (seen === undefined && raw.length !== 9 && !raw.includes(BACKSLASH)) return
  const key = decodeKey(raw)
  if (key === '__proto__') throw refused(what, 'it has a key "__proto__"')
  if (seen?.has(key)) throw refused(what, 'it has the same key twice in one object')
  seen?.add(key)
}

function decodeKey(raw: Uint8Array): string {
  const text = new TextDecoder().decode(raw)
  if (!text.includes('\\')) return text
  try {
    const value: unknown = JSON.parse(`"${text}"`)
    return typeof value === 'string' ? value : text
  } catch {
    return text
  }
}

function refused(what: string, why: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot read ${what}: ${why}`)
}
