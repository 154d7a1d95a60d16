/**
 * Credentials on the way out: put into headers a rule names, or in place of the placeholder a guest holds. Pure; the caller makes sure that the request
 * goes to the rule's host over a channel the rule allows.
 */
import type { Injection, Replacement } from './rule.ts'

export type HeaderLine = readonly [name: string, value: string]
export type Secrets = ReadonlyMap<string, string>
/** Placeholder text by the name of its secret */
export type Placeholders = Readonly<Record<string, string>>

export interface Credentialed {
  readonly headers: readonly HeaderLine[]
  /** Texts a response must not show: values, and the headers made of them */
  readonly sensitive: readonly string[]
  /** Names of secrets a rule uses that this node does not have */
  readonly missing: readonly string[]
}

/** Names are compared in lower case; the order of the guest's headers stays. */
export function applyCredentials(
  headers: readonly HeaderLine[],
  rule: { readonly inject?: readonly Injection[] | undefined; readonly replace?: readonly Replacement[] | undefined },
  secrets: Secrets,
  placeholders: Placeholders,
): Credentialed {
  const sensitive: string[] = []
  const missing: string[] = []
  const value = (name: string): string | undefined => {
    const found = secrets.get(name)
    if (found === undefined) missing.push(name)
    else sensitive.push(found)
    return found
  }
  let lines = headers
  for (const { secret, headers: names } of rule.replace ?? []) {
    const placeholder = placeholders[secret]
    const found = placeholder === undefined ? undefined : value(secret)
    if (placeholder === undefined || found === undefined) continue
    lines = lines.map(([name, text]) => {
      const filled = names.includes(name.toLowerCase()) ? fill(text, placeholder, found) : text
      if (filled !== text) sensitive.push(...formsOf(filled))
      return [name, filled] as const
    })
  }
  for (const injection of rule.inject ?? []) {
    const found = value(injection.secret)
    if (found === undefined) continue
    const text = injectedValue(injection, found)
    sensitive.push(...formsOf(text))
    lines = [...lines.filter(([name]) => name.toLowerCase() !== injection.header), [injection.header, text]]
  }
  return { headers: lines, sensitive: [...new Set(sensitive.flatMap(encodings))], missing: [...new Set(missing)] }
}

function injectedValue({ header, as, user }: Injection, secret: string): string {
  switch (as ?? (header === 'authorization' ? 'bearer' : 'raw')) {
    case 'bearer':
      return `Bearer ${secret}`
    case 'basic':
      return `Basic ${base64(`${user ?? ''}:${secret}`)}`
    case 'raw':
      return secret
  }
}

/** The placeholder as it stands, or inside the base64 of Basic authentication, as Git and curl send what is in a URL. */
function fill(text: string, placeholder: string, secret: string): string {
  const plain = text.replaceAll(placeholder, () => secret)
  if (plain !== text) return plain
  const basic = /^(basic +)([A-Za-z0-9+/=]+)$/i.exec(text)
  if (basic?.[1] === undefined || basic[2] === undefined) return text
  const inner = Buffer.from(basic[2], 'base64').toString('utf8')
  return inner.includes(placeholder) ? `${basic[1]}${base64(inner.replaceAll(placeholder, () => secret))}` : text
}

/** The header's value and, without its scheme, what stands for the secret in it. */
function formsOf(value: string): string[] {
  const bare = /^\S+ +(\S+)$/.exec(value)?.[1]
  return bare === undefined ? [value] : [value, bare]
}

/** How a service that repeats what it got is likely to write it. Shorter than this would be found everywhere. */
const SHORTEST_SENSITIVE = 6

function encodings(text: string): string[] {
  const json = JSON.stringify(text).slice(1, -1)
  const forms = [
    text,
    json,
    encodeURIComponent(text),
    base64(text),
    base64(text).replace(/=+$/, ''),
    Buffer.from(text).toString('base64url'),
  ]
  return forms.filter((form) => form.length >= SHORTEST_SENSITIVE)
}

const base64 = (text: string): string => Buffer.from(text, 'utf8').toString('base64')

/** Where placeholders stand that are not replaced, for the audit: the guest, or who steers it, tried to send a secret elsewhere. */
export function misplaced(headers: readonly HeaderLine[], path: string, placeholders: Placeholders): string[] {
  const found: string[] = []
  for (const [secret, text] of Object.entries(placeholders)) {
    if (path.includes(text)) found.push(`${secret} in the path or query`)
    for (const [name, value] of headers)
      if (fill(value, text, '') !== value) found.push(`${secret} in ${name.toLowerCase()}`)
  }
  return found
}
