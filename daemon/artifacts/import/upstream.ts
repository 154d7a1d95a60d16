/** Where a repository may be imported from, and which of its refs are taken. What the URL names is checked, resolved once, and only that address is dialed. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { isObjectId, isRefName, nameConflict, REF_LIMITS } from '../../../protocol/artifact/ref-name.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { forbiddenBy } from '../../egress/addresses.ts'

export interface Upstream {
  readonly url: string
  readonly protocol: 'http' | 'https'
  /** For `http.curloptResolve`: Git connects to the address that was checked, whatever the name says by then */
  readonly resolve: string | undefined
}

export interface UpstreamRefs {
  /** By name: refs/heads/* and refs/tags/* */
  readonly refs: ReadonlyMap<string, string>
  readonly defaultBranch: string | undefined
  /** Names that were left out: not of our grammar */
  readonly left: number
}

export type Resolve = (host: string) => Promise<readonly string[]>

const MAX_URL = 2048

/**
 * @param hosts names that are allowed whatever they resolve to; "*": any whose address is a public one
 * @throws MeshError E_BAD_REQUEST for another scheme or form, E_FORBIDDEN for a host or address that is not allowed, E_UNREACHABLE when the name is unknown
 */
export async function checkUpstream(
  text: string,
  hosts: readonly string[],
  resolve: Resolve = names,
): Promise<Upstream> {
  if (text.length > MAX_URL || !/^https?:\/\//i.test(text) || !URL.canParse(text) || /[\s\\]/.test(text))
    throw bad('only http and https URLs are taken, not ssh, file or other ones')
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') throw bad('a URL with a user name or a password is not taken')
  if (url.hash !== '' || url.search !== '') throw bad('a URL with a query or a fragment is not taken')
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase()
  const protocol = url.protocol === 'https:' ? 'https' : 'http'
  const port = url.port === '' ? (protocol === 'https' ? 443 : 80) : Number(url.port)
  const named = hosts.includes(host)
  if (!named && !hosts.includes('*'))
    throw new MeshError('E_FORBIDDEN', `Cannot import from ${host}: this node does not allow that host`, {
      hint: 'Add it to artifacts.importHosts',
    })
  const addresses = isIP(host) === 0 ? await resolve(host) : [host]
  const [address] = addresses
  if (address === undefined)
    throw new MeshError('E_UNREACHABLE', `Cannot import from ${host}: nobody knows that name`, {
      hint: 'Check the URL, and that this host can resolve the name',
    })
  for (const one of named ? [] : addresses) {
    const kind = forbiddenBy(one)
    if (kind !== undefined)
      throw new MeshError('E_FORBIDDEN', `Cannot import from ${host}: its address is not public (${kind})`, {
        hint: 'Add the host to artifacts.importHosts',
      })
  }
  const shown = address.includes(':') ? `[${address}]` : address
  return { url: url.href, protocol, resolve: isIP(host) === 0 ? `${host}:${port}:${shown}` : undefined }
}

async function names(host: string): Promise<string[]> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address)
  } catch {
    return []
  }
}

/** Lines of a listing that are read; a server that lists more is refused. */
const MAX_LINES = 100_000

/**
 * Reads what `git ls-remote --symref` said. Every name meets our own grammar before Git sees it again.
 * @throws MeshError E_TOO_LARGE when more refs are there than an artifact may hold, E_BAD_REQUEST for one of SHA-256, E_PROTOCOL
 */
export function readListing(text: string): UpstreamRefs {
  const refs = new Map<string, string>()
  let defaultBranch: string | undefined
  let left = 0
  const lines = text.split('\n', MAX_LINES + 1)
  if (lines.length > MAX_LINES) throw tooMany()
  for (const line of lines) {
    if (line === '') continue
    const head = /^ref: refs\/heads\/([^\t]+)\tHEAD$/.exec(line)?.[1]
    if (head !== undefined && isRefName(`refs/heads/${head}`)) defaultBranch = head
    const [oid, name, ...more] = line.split('\t')
    if (head !== undefined || line.startsWith('ref: ') || name === 'HEAD' || name?.endsWith('^{}') === true) continue
    if (oid !== undefined && /^[0-9a-f]{64}$/.test(oid))
      throw bad('its objects are named by SHA-256, and artifacts hold SHA-1 alone')
    if (!isObjectId(oid) || name === undefined || more.length > 0)
      throw new MeshError('E_PROTOCOL', 'Cannot import: the server lists its refs in another form than Git does')
    const wanted = name.startsWith('refs/heads/') || name.startsWith('refs/tags/')
    if (wanted && isRefName(name)) refs.set(name, oid)
    else if (wanted) left++
    if (refs.size >= REF_LIMITS.perWriter) throw tooMany()
  }
  const clash = nameConflict(refs.keys())
  if (clash !== undefined)
    throw new MeshError('E_PROTOCOL', 'Cannot import: two refs of the repository cannot both exist')
  return { refs, defaultBranch, left }
}

function tooMany(): MeshError {
  return new MeshError('E_TOO_LARGE', `Cannot import: the repository has more than ${REF_LIMITS.perWriter - 1} refs`)
}

function bad(why: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot import: ${why}`)
}
