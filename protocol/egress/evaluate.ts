/**
 * What the rules say about one connection or request, and why. Pure: closed by default, any matching deny wins, else the most specific matching allow applies:
 * an exact host before a pattern, a longer pattern before a shorter, a rule that names methods or a path before one that does not, then the earlier.
 */
import { hostMatches } from './host.ts'
import { type EgressSubject, looksInside, type Rule } from './rule.ts'

/** Where to. Without a method it is a tunnel, of which no more than this is known. */
export interface Target {
  readonly scheme: 'http' | 'https'
  /** Canonical */
  readonly host: string
  readonly port: number
  readonly method?: string
  /** As received, with or without query */
  readonly path?: string
}

export interface Considered {
  readonly rule: string
  readonly effect: Rule['effect']
  readonly matched: boolean
  /** What did not match, or why it counted */
  readonly why: string
}

export interface Explanation {
  readonly decision: 'allow' | 'deny'
  /** `allowed`, `denied`, `no-rule` */
  readonly reason: 'allowed' | 'denied' | 'no-rule'
  /** The rule that decided */
  readonly rule?: Rule
  /** For a tunnel: `inspect` when a rule can only be kept by looking inside, `opaque` when anything may pass */
  readonly tunnel?: 'pass' | 'inspect' | 'opaque'
  readonly considered: readonly Considered[]
}

/** Ports of an allow that names none. */
const WEB_PORTS: readonly number[] = [80, 443]

export function evaluate(rules: readonly Rule[], subject: EgressSubject, target: Target): Explanation {
  const considered: Considered[] = []
  const hits: Rule[] = []
  for (const rule of rules) {
    const mismatch = mismatchOf(rule, subject, target)
    considered.push({ rule: rule.id, effect: rule.effect, matched: mismatch === undefined, why: mismatch ?? 'matches' })
    if (mismatch === undefined) hits.push(rule)
  }
  // A tunnel is denied as a whole only by rules that speak of no more than its host; others are asked again for each request in it.
  const deny = hits.find((rule) => rule.effect === 'deny' && (target.method !== undefined || !looksInside(rule)))
  if (deny !== undefined) return { decision: 'deny', reason: 'denied', rule: deny, considered }
  const allow = mostSpecific(hits.filter((rule) => rule.effect === 'allow'))
  if (allow === undefined) return { decision: 'deny', reason: 'no-rule', considered }
  const tunnel = target.method === undefined ? { tunnel: tunnelMode(hits) } : {}
  return { decision: 'allow', reason: 'allowed', rule: allow, ...tunnel, considered }
}

function tunnelMode(hits: readonly Rule[]): 'pass' | 'inspect' | 'opaque' {
  if (hits.some(looksInside)) return 'inspect'
  return hits.some((rule) => rule.opaque === true) ? 'opaque' : 'pass'
}

function mismatchOf(rule: Rule, subject: EgressSubject, target: Target): string | undefined {
  if (!rule.for.some((selector) => selects(selector, subject))) return `is for ${rule.for.join(', ')}`
  if (!hostMatches(rule.host, target.host)) return `is about ${rule.host}`
  const ports = rule.ports ?? (rule.effect === 'allow' ? WEB_PORTS : undefined)
  if (ports !== undefined && !ports.includes(target.port)) return `is about port ${ports.join(', ')}`
  if (target.method === undefined) return undefined
  if (rule.methods !== undefined && !rule.methods.includes(target.method)) return `is about ${rule.methods.join(', ')}`
  if (rule.path !== undefined && !pathMatches(rule.path, target.path ?? '/', rule.effect))
    return `is about ${rule.path}`
  return undefined
}

export function selects(selector: string, subject: EgressSubject): boolean {
  if (selector === 'any') return true
  const slash = selector.indexOf('/')
  const kind = selector.slice(0, slash)
  const name = selector.slice(slash + 1)
  if (kind !== 'agent' && kind !== 'task' && kind !== 'sandbox' && kind !== 'node') return false
  const actual = subject[kind]
  return actual !== undefined && (name === '*' || name === actual)
}

/**
 * Servers disagree about what `/a/%2e%2e/b`, `//b` and `\b` mean. So an allow must match the path in every reading, a deny in any.
 */
function pathMatches(pattern: string, path: string, effect: Rule['effect']): boolean {
  const readings = readingsOf(path)
  const matches = (reading: string) => globMatches(pattern, reading)
  return effect === 'allow' ? readings.every(matches) : readings.some(matches)
}

/** The path as sent, as the URL standard resolves it, and decoded twice with slashes made one. */
export function readingsOf(path: string): string[] {
  const sent = path.split(/[?#]/, 1)[0] ?? '/'
  const resolved = resolve(sent)
  const plain = resolve(
    decoded(decoded(sent))
      .replaceAll('\\', '/')
      .replaceAll(/\/{2,}/g, '/'),
  )
  return [...new Set([sent, resolved, plain, decoded(plain)])]
}

const resolve = (path: string): string =>
  URL.parse(`http://h${path.startsWith('/') ? '' : '/'}${path.replaceAll('?', '%3F').replaceAll('#', '%23')}`)
    ?.pathname ?? path

function decoded(path: string): string {
  return path.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** `*` is any run of characters. Linear: each part is looked for once, from where the last ended. */
export function globMatches(pattern: string, text: string): boolean {
  const parts = pattern.split('*')
  const first = parts[0] ?? ''
  if (parts.length === 1) return text === pattern
  const last = parts.at(-1) ?? ''
  if (!text.startsWith(first)) return false
  let at = first.length
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return text.length - last.length >= at && text.endsWith(last)
}

function mostSpecific(rules: readonly Rule[]): Rule | undefined {
  return rules.reduce<Rule | undefined>(
    (best, rule) => (best === undefined || weight(rule) > weight(best) ? rule : best),
    undefined,
  )
}

function weight(rule: Rule): number {
  const host = rule.host === '*' ? 0 : rule.host.startsWith('*.') ? rule.host.length : 1000
  return host * 4 + (rule.path === undefined ? 0 : 2) + (rule.methods === undefined ? 0 : 1)
}
