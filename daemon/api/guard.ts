/**
 * Decides, from the head of a request alone, whether it may be looked at: before routing, before the token, for every method and for upgrades.
 * Against web pages: a page can make a browser send requests here, but can neither choose `Host` (so a name rebound to 127.0.0.1 is refused)
 * nor hide its `Origin` or `Sec-Fetch-Site`. There are no cookies and no CORS headers, so a page of another origin can read nothing either.
 */
import { MeshError } from '../../protocol/errors.ts'

export interface RequestHead {
  readonly method: string
  /** As received */
  readonly target: string
  /** Names and values in turn, as received, duplicates included */
  readonly rawHeaders: readonly string[]
}

/** What may stand in the headers of requests to one listener. */
export interface Doors {
  /** `Host` values, lower case */
  readonly hosts: ReadonlySet<string>
  /** `Origin` values of our own pages */
  readonly origins: ReadonlySet<string>
}

const SINGLE = [
  'host',
  'origin',
  'authorization',
  'content-length',
  'content-type',
  'transfer-encoding',
  'sec-fetch-site',
  'idempotency-key',
  'upgrade',
  'last-event-id',
]
const SINGLES: ReadonlySet<string> = new Set(SINGLE)

/** A unix socket has no port and serves no page. */
export const SOCKET_DOORS: Doors = { hosts: new Set(['localhost']), origins: new Set() }

/** The names under which a loopback listener may be addressed; exact, with the port. The other family's address may be another program's. */
export function loopbackDoors(port: number, address: string): Doors {
  const literals = address === 'localhost' ? ['127.0.0.1', '[::1]'] : [address.includes(':') ? `[${address}]` : address]
  const hosts = ['localhost', ...literals].map((host) => `${host}:${port}`)
  return { hosts: new Set(hosts), origins: new Set(hosts.map((host) => `http://${host}`)) }
}

/** @returns why the request is refused, or undefined */
export function guard(head: RequestHead, doors: Doors): MeshError | undefined {
  let host: string | undefined
  let origin: string | undefined
  let site: string | undefined
  const seen = new Set<string>()
  for (let i = 0; i < head.rawHeaders.length; i += 2) {
    const name = (head.rawHeaders[i] ?? '').toLowerCase()
    if (!SINGLES.has(name)) continue
    const value = head.rawHeaders[i + 1] ?? ''
    if (seen.has(name))
      return name === 'host'
        ? misdirected('two Host headers')
        : new MeshError('E_BAD_REQUEST', `Cannot serve the request: it has two ${name} headers`)
    seen.add(name)
    if (name === 'host') host = value
    else if (name === 'origin') origin = value
    else if (name === 'sec-fetch-site') site = value
  }
  if (host === undefined) return misdirected('no Host header')
  if (!doors.hosts.has(host.toLowerCase())) return misdirected('another host')
  // An absolute target would take precedence over Host
  if (!head.target.startsWith('/')) return misdirected('an absolute target')
  if (origin !== undefined && !doors.origins.has(origin)) return foreign()
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return foreign()
  return undefined
}

function misdirected(what: string): MeshError {
  return new MeshError('E_MISDIRECTED', `Cannot serve the request: it names ${what}`, {
    hint: 'Address the daemon as localhost, 127.0.0.1 or [::1] with its port',
  })
}

function foreign(): MeshError {
  return new MeshError('E_FORBIDDEN', 'Cannot serve the request: it comes from a page of another origin', {
    hint: 'Only pages served by this daemon may call it from a browser',
  })
}
