import type { IncomingMessage } from 'node:http'
import { parseAuthority } from '../../../protocol/egress/host.ts'
import { Refused } from './failure.ts'

/** The Host header says the same as what the request is for. @throws Refused 400, 421 */
export function checkHostHeader(
  request: IncomingMessage,
  want: { host: string; port: number },
  defaultPort: number | undefined,
): void {
  const hosts = request.rawHeaders.filter(
    (_, index, all) => index % 2 === 1 && all[index - 1]?.toLowerCase() === 'host',
  )
  const [only] = hosts
  if (hosts.length > 1) throw new Refused(400, 'malformed', 'there is more than one Host header')
  if (only === undefined) {
    if (defaultPort === undefined) return
    throw new Refused(400, 'malformed', 'the Host header is missing')
  }
  const said = parseAuthority(only)
  const port = said?.port ?? defaultPort ?? want.port
  if (said === undefined || said.host !== want.host || port !== want.port)
    throw new Refused(421, 'host-mismatch', `the Host header names another host than ${want.host}`)
}
