/**
 * Hosts as text, in one spelling. A host that is a number in any of the forms of the URL standard (https://url.spec.whatwg.org/#host-parsing: decimal, octal,
 * hexadecimal, one to four parts) becomes a dotted address, a name becomes lower case without its final dot, so that rules compare what will be dialed.
 */

/** Characters that end a host in a URL, and spaces: with them text would be read as more than a host. */
const NOT_HOST = /[\s/?#@\\%,;"'<>^`{|}]/

/** `example.com`, `10.0.0.1`, `[::1]`; undefined when it is no host. International names become ASCII. */
export function canonicalHost(text: string): string | undefined {
  if (text === '' || text.length > 253 || NOT_HOST.test(text)) return undefined
  const bare = text.includes(':') && !text.startsWith('[') ? `[${text}]` : text
  const url = URL.parse(`http://${bare}/`)
  if (url === null || url.port !== '' || url.username !== '' || bare.endsWith(']') !== url.hostname.endsWith(']'))
    return undefined
  if (/\]:|^[^[]*:/.test(bare)) return undefined
  const host = url.hostname.endsWith('.') ? url.hostname.slice(0, -1) : url.hostname
  // without its final dot a name may turn out to be a number
  return host === url.hostname ? checkedName(host) : host.endsWith('.') ? undefined : canonicalHost(host)
}

/** Names of DNS: labels of 1 to 63 characters; `_` is in use. */
function checkedName(host: string): string | undefined {
  if (host.startsWith('[') || isIpv4(host)) return host
  return /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/.test(host)
    ? host
    : undefined
}

const isIpv4 = (host: string): boolean => /^\d+\.\d+\.\d+\.\d+$/.test(host)

/** The address a canonical host is, without brackets; undefined for a name. */
export function literalAddress(host: string): string | undefined {
  if (host.startsWith('[')) return host.slice(1, -1)
  return isIpv4(host) ? host : undefined
}

/** A canonical host, `*.` before one that is a name, or `*`. */
export function canonicalPattern(text: string): string | undefined {
  if (text === '*') return text
  if (!text.startsWith('*.')) return canonicalHost(text)
  const below = canonicalHost(text.slice(2))
  return below === undefined || literalAddress(below) !== undefined ? undefined : `*.${below}`
}

/** `*.example.com` matches names below, at any depth, not `example.com` itself. Both canonical. */
export function hostMatches(pattern: string, host: string): boolean {
  if (pattern === '*') return true
  if (!pattern.startsWith('*.')) return pattern === host
  return literalAddress(host) === undefined && host.endsWith(pattern.slice(1)) && host.length > pattern.length - 1
}

export interface Authority {
  readonly host: string
  readonly port: number | undefined
}

/** `host`, `host:port`, `[v6]:port` as they stand in CONNECT and Host; undefined for anything else, user names included. */
export function parseAuthority(text: string): Authority | undefined {
  const match = /^(\[[0-9a-fA-F:.]{2,45}\]|[^:[\]]+)(?::(\d{1,5}))?$/.exec(text)
  const host = match?.[1] === undefined ? undefined : canonicalHost(match[1])
  if (host === undefined) return undefined
  const port = match?.[2] === undefined ? undefined : Number(match[2])
  return port === 0 || (port ?? 0) > 65_535 ? undefined : { host, port }
}

/** Where a guest finds the one artifact it was given, over plain HTTP: `http://artifacts.manyhands/<name>.git`. Only its door knows it; no name server is asked. */
export const ARTIFACTS_HOST = 'artifacts.manyhands'

/** A node's service as guests name it: `<name>.service.manyhands`. */
export const SERVICE_SUFFIX = '.service.manyhands'

/** The service's name, or undefined when the host is none. */
export function serviceName(host: string): string | undefined {
  if (!host.endsWith(SERVICE_SUFFIX)) return undefined
  const name = host.slice(0, -SERVICE_SUFFIX.length)
  return name === '' || name.includes('.') ? undefined : name
}
