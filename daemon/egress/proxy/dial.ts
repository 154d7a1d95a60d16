/**
 * From a host to a connection: one lookup, every address it gives is judged, and the very address that was judged is dialed. A name that leads to any address which
 * is not allowed is refused as a whole: names that lead both out and in are how rebinding works.
 */
import { Resolver, promises as dns } from 'node:dns'
import { connect, isIP, type Socket } from 'node:net'
import { EGRESS_LIMITS } from '../../../protocol/egress/limits.ts'
import { literalAddress } from '../../../protocol/egress/host.ts'
import type { Rule } from '../../../protocol/egress/rule.ts'
import { forbiddenBy } from '../addresses.ts'
import { Refused } from './failure.ts'

/** Addresses of a name. @throws Error when there are none */
export type Lookup = (host: string) => Promise<readonly string[]>

/** The host's own way, hosts file included, or the given servers. Ends within EGRESS_LIMITS.lookupMs. */
export function createLookup(servers?: readonly string[]): Lookup {
  const ask = servers === undefined || servers.length === 0 ? systemLookup : serverLookup(servers)
  return async (host) => {
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(new Error('lookup timeout')), EGRESS_LIMITS.lookupMs)
    try {
      return await Promise.race([ask(host), late])
    } finally {
      clearTimeout(timer)
    }
  }
}

const systemLookup: Lookup = async (host) =>
  (await dns.lookup(host, { all: true, order: 'verbatim' })).map(({ address }) => address)

function serverLookup(servers: readonly string[]): Lookup {
  const resolver = new Resolver({ timeout: EGRESS_LIMITS.lookupMs / 2, tries: 2 })
  resolver.setServers([...servers])
  const resolve = (host: string, family: 4 | 6) =>
    new Promise<string[]>((done) => {
      const collect = (error: Error | null, found: string[]) => done(error === null ? found : [])
      if (family === 4) resolver.resolve4(host, collect)
      else resolver.resolve6(host, collect)
    })
  return async (host) => (await Promise.all([resolve(host, 4), resolve(host, 6)])).flat()
}

export interface DialTarget {
  readonly host: string
  readonly port: number
}

/** What a rule names besides the public Internet: its ranges, and its host where that is an address. */
export function namedRanges(rule: Rule): string[] {
  const literals = [rule.host, rule.rewrite?.host].flatMap((host) =>
    host === undefined ? [] : (literalAddress(host) ?? []),
  )
  return [...(rule.addresses ?? []), ...literals]
}

/** Addresses that may be dialed, in order. @throws Refused */
export async function checkedAddresses(
  { host }: DialTarget,
  named: readonly string[],
  lookup: Lookup,
): Promise<readonly string[]> {
  const literal = literalAddress(host)
  const addresses = literal === undefined ? await found(host, lookup) : [literal]
  for (const address of addresses) {
    const forbidden = forbiddenBy(address, named)
    if (forbidden !== undefined)
      throw new Refused(
        403,
        `${forbidden}-address`,
        `${host} leads to a ${forbidden} address that no rule names`,
        address,
      )
  }
  return addresses
}

async function found(host: string, lookup: Lookup): Promise<readonly string[]> {
  const none = new Refused(502, 'unknown-host', `${host} has no address`)
  const addresses = await lookup(host).catch(() => {
    throw none
  })
  if (addresses.length === 0 || addresses.some((address) => isIP(address) === 0)) throw none
  return addresses
}

/** @throws Refused unreachable */
export async function dialChecked(target: DialTarget, addresses: readonly string[]): Promise<Socket> {
  const end = performance.now() + EGRESS_LIMITS.dialMs
  let last: unknown
  for (const [index, address] of addresses.entries()) {
    const left = end - performance.now()
    if (left <= 0) break
    try {
      // Of several, a silent one leaves time for the others
      return await dialOne(
        address,
        target.port,
        index === addresses.length - 1 ? left : Math.min(left, EGRESS_LIMITS.dialMs / 3),
      )
    } catch (error) {
      last = error
    }
  }
  const code = last instanceof Error && 'code' in last ? String(last.code) : 'no answer in time'
  throw new Refused(502, 'unreachable', `${target.host} port ${target.port} cannot be reached (${code})`, addresses[0])
}

function dialOne(address: string, port: number, withinMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, allowHalfOpen: true, noDelay: true })
    const timer = setTimeout(() => socket.destroy(new Error('no answer in time')), withinMs)
    const fail = (error: Error) => {
      clearTimeout(timer)
      reject(error)
    }
    socket.once('error', fail)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.removeListener('error', fail)
      resolve(socket)
    })
  })
}
