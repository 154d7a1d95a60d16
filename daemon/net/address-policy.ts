import { BlockList, isIP } from 'node:net'

/** What an address names, as far as the decision needs it. */
export interface DialTarget {
  readonly host: string
  /** 4, 6, or 0 for a name */
  readonly family: 0 | 4 | 6
}

export interface AddressPolicy {
  /** Dial this host itself. Only for several nodes on one host: its local services would be within reach of any peer's word. */
  readonly allowLoopback: boolean
  /** Dial private ranges (RFC 1918, RFC 4193): a mesh on a LAN needs them. */
  readonly allowPrivate: boolean
}

/** Never dialed: "this" network, link-local, multicast, reserved, and where clouds put their metadata service. */
const NEVER = blockList(
  [
    '0.0.0.0/8',
    '169.254.0.0/16',
    '224.0.0.0/4',
    '240.0.0.0/4',
    '192.0.0.0/24',
    '100.100.100.200/32',
    '168.63.129.16/32',
  ],
  // unspecified, link-local, multicast, metadata, and the forms that hide an IPv4 address: translated, 6to4, Teredo, compatible
  [
    '::/128',
    'fe80::/10',
    'ff00::/8',
    'fd00:ec2::/32',
    'fd20:ce::/32',
    '64:ff9b::/96',
    '64:ff9b:1::/48',
    '2002::/16',
    '2001::/32',
  ],
)
const LOOPBACK = blockList(['127.0.0.0/8'], ['::1/128'])
const PRIVATE = blockList(['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'], ['fc00::/7'])

/**
 * Why an address that a peer told us may not be dialed, or undefined when it may. Names are refused here: they are resolved first, and what they resolve
 * to is asked about, so that the address checked is the address dialed.
 */
export function refusal(target: DialTarget, policy: AddressPolicy): string | undefined {
  if (target.family === 0) return 'a name was not resolved'
  const host = unmapped(target.host)
  const family = isIP(host) === 4 ? 'ipv4' : 'ipv6'
  if (isIP(host) === 0) return 'the address is malformed'
  if (NEVER.check(host, family)) return 'the address is of a range that is never dialed'
  if (!policy.allowLoopback && LOOPBACK.check(host, family)) return 'the address is of this host'
  if (!policy.allowPrivate && PRIVATE.check(host, family)) return 'the address is private'
  return undefined
}

/** An IPv4 address in IPv6 clothes (::ffff:a.b.c.d in any spelling, or the deprecated ::a.b.c.d) is judged as what it is. */
function unmapped(host: string): string {
  if (isIP(host) !== 6 || host === '::1' || host === '::') return host
  const canonical = new URL(`http://[${host}]/`).hostname.slice(1, -1)
  const hex = /^::(?:ffff:)?([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical)
  if (hex === null) return canonical
  const value = (Number.parseInt(hex[1] ?? '', 16) << 16) | Number.parseInt(hex[2] ?? '', 16)
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.')
}

function blockList(v4: readonly string[], v6: readonly string[]): BlockList {
  const list = new BlockList()
  for (const [family, ranges] of [['ipv4', v4] as const, ['ipv6', v6] as const]) {
    for (const range of ranges) {
      const [address = '', bits] = range.split('/')
      list.addSubnet(address, Number(bits), family)
    }
  }
  return list
}
