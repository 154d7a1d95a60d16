/**
 * Which addresses are not the public Internet. Every spelling that carries an IPv4 address inside an IPv6 one is judged by the address inside. What no line here
 * names as public is not: in IPv6 only 2000::/3 is handed out at all.
 * Sources: IANA special-purpose registries (RFC 6890 and its updates), RFC 4291, 6052 (NAT64), 3056 (6to4), 4380 (Teredo), 5214 (ISATAP); the
 * metadata addresses are those the cloud vendors document.
 */
import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'

export type AddressClass =
  | 'public'
  | 'private'
  | 'loopback'
  | 'own'
  | 'link-local'
  | 'metadata'
  | 'multicast'
  | 'reserved'

/** First match counts. */
const RANGES: readonly (readonly [Exclude<AddressClass, 'public'>, readonly string[]])[] = [
  [
    'metadata',
    [
      '169.254.169.253/32',
      '169.254.169.254/32',
      '169.254.170.2/32',
      '169.254.170.23/32',
      '100.100.100.200/32',
      '168.63.129.16/32',
      '192.0.0.192/32',
      'fd00:ec2::/32',
      'fd20:ce::/32',
      'fe80::a9fe:a9fe/128',
    ],
  ],
  ['own', ['0.0.0.0/8', '::/128']],
  ['loopback', ['127.0.0.0/8', '::1/128']],
  ['link-local', ['169.254.0.0/16', 'fe80::/10']],
  ['private', ['10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fec0::/10']],
  ['multicast', ['224.0.0.0/4', 'ff00::/8']],
  [
    'reserved',
    [
      '192.0.0.0/24',
      '192.0.2.0/24',
      '192.88.99.0/24',
      '198.18.0.0/15',
      '198.51.100.0/24',
      '203.0.113.0/24',
      '240.0.0.0/4',
      '2001::/23',
      '2001:db8::/32',
      '3fff::/20',
    ],
  ],
]

const LISTS = RANGES.map(([name, ranges]) => [name, listOf(ranges)] as const)
const HANDED_OUT = listOf(['2000::/3'])

/** Judges one address in the form the resolver gives it. `own` are this host's addresses. Anything that is no address is reserved. */
export function classify(address: string, own: ReadonlySet<string> = ownAddresses()): AddressClass {
  const groups = isIP(address) === 6 ? groupsOf(address) : undefined
  if (groups === undefined) return isIP(address) === 4 ? classifyPlain(address, 'ipv4', own) : 'reserved'
  const plain = classifyPlain(canonicalV6(address), 'ipv6', own)
  if (plain === 'metadata' || plain === 'own' || plain === 'loopback') return plain
  const inner = innerAddress(groups)
  if (inner === undefined) return plain === 'public' && !HANDED_OUT.check(address, 'ipv6') ? 'reserved' : plain
  const judged = classifyPlain(inner.address, 'ipv4', own)
  return judged === 'public' && !inner.mayBePublic ? (plain === 'public' ? 'reserved' : plain) : judged
}

function classifyPlain(address: string, family: 'ipv4' | 'ipv6', own: ReadonlySet<string>): AddressClass {
  if (own.has(address))
    return LISTS.some(([name, list]) => name === 'loopback' && list.check(address, family)) ? 'loopback' : 'own'
  return LISTS.find(([, list]) => list.check(address, family))?.[0] ?? 'public'
}

interface Inner {
  readonly address: string
  /** Mapped and NAT64 addresses reach the IPv4 Internet; of the others nobody should need any */
  readonly mayBePublic: boolean
}

function innerAddress(g: readonly number[]): Inner | undefined {
  const at = (index: number, mayBePublic: boolean): Inner => ({
    address: v4(g[index] ?? 0, g[index + 1] ?? 0),
    mayBePublic,
  })
  const leading = (count: number) => g.slice(0, count).every((group) => group === 0)
  if (leading(5) && g[5] === 0xffff) return at(6, true)
  if (leading(4) && g[4] === 0xffff && g[5] === 0) return at(6, false)
  if (leading(6)) return at(6, false)
  if (g[0] === 0x64 && g[1] === 0xff9b)
    return at(
      6,
      g.slice(2, 6).every((group) => group === 0),
    )
  if (g[0] === 0x2002) return at(1, false)
  if (((g[4] ?? 0) & 0xfdff) === 0 && g[5] === 0x5efe) return at(6, false)
  return undefined
}

const v4 = (high: number, low: number): string => [high >> 8, high & 255, low >> 8, low & 255].join('.')

/** One spelling for each address, as the URL standard writes it. Undefined with a zone: the address of a link of this host. */
function canonicalV6(address: string): string {
  return URL.parse(`http://[${address}]/`)?.hostname.slice(1, -1) ?? address
}

function groupsOf(address: string): number[] | undefined {
  const text = URL.parse(`http://[${address}]/`)?.hostname.slice(1, -1)
  if (text === undefined) return undefined
  const [head = '', tail] = text.split('::')
  const numbers = (part: string) =>
    part.split(':').flatMap((group) => (group === '' ? [] : [Number.parseInt(group, 16)]))
  const before = numbers(head)
  if (tail === undefined) return before
  const after = numbers(tail)
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after]
}

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [net = '', bits] = range.split('/')
    list.addSubnet(net, Number(bits), net.includes(':') ? 'ipv6' : 'ipv4')
  }
  return list
}

/** How long a list of this host's addresses is used, milliseconds: interfaces come and go. */
const OWN_FOR_MS = 2_000
let own: ReadonlySet<string> = new Set()
let ownUntil = 0

export function ownAddresses(): ReadonlySet<string> {
  if (performance.now() < ownUntil) return own
  const found = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  own = new Set(
    found.map(({ address, family }) => (family === 'IPv6' ? canonicalV6(address.split('%')[0] ?? '') : address)),
  )
  ownUntil = performance.now() + OWN_FOR_MS
  return own
}

/** These are reached only by a rule that names the one address. */
const EXACT: readonly AddressClass[] = ['own', 'loopback', 'metadata']

/** Whether an address may be dialed under a rule that names these ranges. @returns the class that forbids it */
export function forbiddenBy(
  address: string,
  named: readonly string[] = [],
  addresses?: ReadonlySet<string>,
): AddressClass | undefined {
  const found = classify(address, addresses)
  if (found === 'public') return undefined
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  const names = named.some((range) => {
    const parsed = parseRange(range)
    if (parsed === undefined || parsed.family !== family) return false
    return (!EXACT.includes(found) || parsed.exact) && listOf([parsed.text]).check(address, family)
  })
  return names ? undefined : found
}

/** `10.0.0.0/8`, `::1/128`, or one address. Undefined for anything else. */
export function parseRange(range: string): { text: string; family: 'ipv4' | 'ipv6'; exact: boolean } | undefined {
  const [net = '', bits, more] = range.split('/')
  const version = isIP(net)
  const most = version === 4 ? 32 : 128
  if (version === 0 || net.includes('%') || more !== undefined || (bits !== undefined && !/^\d{1,3}$/.test(bits)))
    return undefined
  const length = bits === undefined ? most : Number(bits)
  if (length > most) return undefined
  return { text: `${net}/${length}`, family: version === 4 ? 'ipv4' : 'ipv6', exact: length === most }
}
