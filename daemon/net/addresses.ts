import { lookup } from 'node:dns/promises'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { LIMITS } from '../../protocol/limits.ts'
import type { DialTarget } from './address-policy.ts'

/** For a name to be resolved, milliseconds: a resolver that cannot be reached takes many times that, and other addresses of the peer may do. */
const LOOKUP_MS = 2_000

const NAMES = new Set(['dns', 'dns4', 'dns6', 'dnsaddr'])

/** Where a multiaddr leads, or undefined when it is not plain TCP to one host: relays and other transports are off. */
export function dialTarget(address: Multiaddr): DialTarget | undefined {
  const [host, tcp, ...rest] = address.getComponents()
  if (host?.value === undefined || tcp?.name !== 'tcp') return undefined
  if (rest.length > 1 || (rest[0] !== undefined && rest[0].name !== 'p2p')) return undefined
  if (host.name === 'ip4') return { host: host.value, family: 4 }
  if (host.name === 'ip6') return { host: host.value, family: 6 }
  return NAMES.has(host.name) ? { host: host.value, family: 0 } : undefined
}

/** Text that may be a multiaddr. */
export function parseAddress(text: string): Multiaddr | undefined {
  try {
    return multiaddr(text)
  } catch {
    return undefined
  }
}

/**
 * The multiaddrs to dial for a peer: malformed ones and those that name another peer left out, names replaced by the addresses they resolve to now,
 * so that what is checked is what is dialed. Names that are not resolved in time, or when the signal aborts, are left out too.
 */
export async function resolveAddresses(
  peer: string,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<Multiaddr[]> {
  const { promise: late, resolve: giveUp } = Promise.withResolvers<Multiaddr[]>()
  const onAbort = () => giveUp([])
  const timer = setTimeout(onAbort, LOOKUP_MS)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  const parsed = addresses.slice(0, LIMITS.addresses).map(parseAddress)
  const resolved = await Promise.all(
    parsed.filter((address) => address !== undefined).map((address) => Promise.race([resolve(peer, address), late])),
  )
  clearTimeout(timer)
  signal.removeEventListener('abort', onAbort)
  return resolved.flat()
}

async function resolve(peer: string, address: Multiaddr): Promise<Multiaddr[]> {
  const target = dialTarget(address)
  const components = address.getComponents()
  const named = components.find((component) => component.name === 'p2p')?.value
  if (target === undefined || (named !== undefined && named !== peer)) return []
  const port = components[1]?.value ?? '0'
  if (target.family !== 0) return [tcpAddress(target.host, target.family, port, peer)]
  const family = components[0]?.name === 'dns4' ? 4 : components[0]?.name === 'dns6' ? 6 : 0
  const found = await lookup(target.host, { all: true, family }).catch(() => [])
  return found.map((entry) => tcpAddress(entry.address, entry.family, port, peer))
}

function tcpAddress(host: string, family: number, port: string, peer: string): Multiaddr {
  return multiaddr(`/ip${family === 4 ? 4 : 6}/${host}/tcp/${port}/p2p/${peer}`)
}

/** Most useful first: reachable from far, then the LAN, then this host only. */
export function byUsefulness(a: string, b: string): number {
  return usefulness(a) - usefulness(b)
}

function usefulness(address: string): number {
  if (address.startsWith('/ip4/127.') || address.startsWith('/ip6/::1/')) return 2
  return /^\/ip4\/(10|192\.168|172\.(1[6-9]|2\d|3[01]))\./.test(address) || /^\/ip6\/f[cd]/.test(address) ? 1 : 0
}
