/** A judged request as it leaves: rewritten, with credentials, and with a way to open the connection it needs. */
import type { Duplex } from 'node:stream'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { applyCredentials, type HeaderLine, misplaced } from '../../../protocol/egress/credential.ts'
import { evaluate, type Explanation } from '../../../protocol/egress/evaluate.ts'
import {
  ARTIFACTS_HOST,
  canonicalHost,
  hostMatches,
  literalAddress,
  serviceName,
} from '../../../protocol/egress/host.ts'
import { EGRESS_LIMITS } from '../../../protocol/egress/limits.ts'
import { type Rewrite, type Rule, secretsOf } from '../../../protocol/egress/rule.ts'
import { checkedAddresses, dialChecked, namedRanges } from './dial.ts'
import type { DoorView, RequestTarget } from './door-view.ts'
import { Refused } from './failure.ts'
import { dialUplink, type UplinkRequest } from './service-dial.ts'
import type { Open } from './upstream.ts'

export interface Outgoing {
  readonly target: RequestTarget
  readonly headers: readonly HeaderLine[]
  /** Texts the response must not show */
  readonly sensitive: readonly string[]
  /** Of the connection: what decides where it leads */
  readonly key: string
  readonly note?: string
}

/** @param upgrade the protocol to change to. @throws Refused */
export function prepare(
  door: DoorView,
  asked: RequestTarget,
  rule: Rule,
  lines: readonly HeaderLine[],
  upgrade?: string,
): Outgoing {
  const target = rewritten(door, asked, rule.rewrite)
  const out = credentials(door, asked, target, rule, lines)
  const removed = new Set(['host', ...(rule.rewrite?.remove ?? []), ...Object.keys(rule.rewrite?.set ?? {})])
  const sensitive = [...new Set([...out.sensitive, ...sensitiveFor(door, asked)])]
  // What comes back must be readable to be scrubbed
  if (sensitive.length > 0) removed.add('accept-encoding')
  const headers: HeaderLine[] = [
    ['host', hostHeader(target)],
    ...out.headers.filter(([name]) => !removed.has(name.toLowerCase())),
    ...Object.entries(rule.rewrite?.set ?? {}),
    ...(sensitive.length > 0 ? [['accept-encoding', 'identity'] as const] : []),
    ...(upgrade === undefined ? [] : [['connection', 'upgrade'] as const, ['upgrade', upgrade] as const]),
  ]
  const notes = [
    ...misplaced(out.headers, asked.path, door.placeholders).map((where) => `placeholder of ${where}`),
    ...out.missing.map((name) => `no secret ${name}`),
  ]
  const key = [target.scheme, target.host, target.port, ...namedRanges(rule)].join(' ')
  return { target, headers, sensitive, key, ...(notes.length === 0 ? {} : { note: notes.join('; ') }) }
}

function rewritten(door: DoorView, asked: RequestTarget, rewrite: Rewrite | undefined): RequestTarget {
  if (rewrite === undefined) return asked
  const scheme = rewrite.scheme ?? asked.scheme
  const host = rewrite.host === undefined ? asked.host : canonicalHost(rewrite.host)
  if (host === undefined) throw new Refused(502, 'rewrite', 'the rule rewrites to no valid host')
  const port = rewrite.port ?? (scheme === asked.scheme ? asked.port : scheme === 'https' ? 443 : 80)
  const { from, to } = rewrite.path ?? { from: '', to: '' }
  const path = from !== '' && asked.path.startsWith(from) ? to + asked.path.slice(from.length) : asked.path
  const target = { scheme, host, port, method: asked.method, path }
  // A deny speaks of where a request really goes, too
  const denied = evaluate(
    door.rules.filter(({ effect }) => effect === 'deny'),
    door.subject,
    target,
  )
  if (denied.reason === 'denied') throw new Refused(403, 'denied', `a rule denies ${host} port ${port}`)
  return target
}

function credentials(
  door: DoorView,
  asked: RequestTarget,
  target: RequestTarget,
  rule: Rule,
  lines: readonly HeaderLine[],
) {
  if (secretsOf(rule).length === 0) return { headers: lines, sensitive: [], missing: [] }
  const guarded = (asked.scheme === 'https' && target.scheme === 'https') || rule.plain === true
  if (!guarded)
    throw new Refused(403, 'plain-credential', 'the credential of this rule does not travel over plain HTTP')
  return applyCredentials(lines, rule, door.secrets, door.placeholders)
}

/** Hosts that once got a credential may show it later, to a request that carries none. */
function sensitiveFor(door: DoorView, asked: RequestTarget): readonly string[] {
  const rules = door.rules.filter((rule) => secretsOf(rule).length > 0 && hostMatches(rule.host, asked.host))
  return rules.flatMap((rule) => {
    const all = { inject: rule.inject, replace: rule.replace }
    return applyCredentials(
      (rule.replace ?? []).flatMap(({ headers, secret }) =>
        headers.map((name) => [name, door.placeholders[secret] ?? ''] as const),
      ),
      all,
      door.secrets,
      door.placeholders,
    ).sensitive
  })
}

function hostHeader({ scheme, host, port }: RequestTarget): string {
  return port === (scheme === 'https' ? 443 : 80) ? host : `${host}:${port}`
}

/** Opens the connection for a request: checked, and with TLS where it is https. */
export function openerFor(door: DoorView, rule: Rule, explanation: Explanation, { target }: Outgoing): Open {
  return async () => {
    const raw = await openRaw(door, rule, explanation, target)
    return target.scheme === 'https' ? secured(door, raw, target.host) : raw
  }
}

async function openRaw(door: DoorView, rule: Rule, explanation: Explanation, target: RequestTarget): Promise<Duplex> {
  if (target.host === ARTIFACTS_HOST) return ofDaemon(door, { door: door.id, artifacts: true })
  const service = serviceName(target.host)
  if (service !== undefined)
    return ofDaemon(door, { door: door.id, service, allowed: explanation.decision === 'allow' })
  const socket = await dialChecked(target, await checkedAddresses(target, namedRanges(rule), door.context.lookup))
  socket.on('error', () => undefined)
  return socket
}

async function ofDaemon(door: DoorView, request: UplinkRequest): Promise<Duplex> {
  const socket = await dialUplink(door.context.uplinkPath, request)
  // It waits, paused, for its reader, and a request's only listens
  setImmediate(() => socket.resume())
  return socket
}

function secured(door: DoorView, socket: Duplex, host: string): Promise<TLSSocket> {
  const literal = literalAddress(host)
  return new Promise((resolve, reject) => {
    const tls = connectTls({
      socket,
      host: literal ?? host,
      ...(literal === undefined ? { servername: host } : {}),
      secureContext: door.context.upstreamTls(),
      ALPNProtocols: ['http/1.1'],
    })
    const timer = setTimeout(() => tls.destroy(new Error('no TLS in time')), EGRESS_LIMITS.handshakeMs)
    const fail = (error: Error) => {
      clearTimeout(timer)
      socket.destroy()
      reject(error)
    }
    tls.once('error', fail)
    tls.once('secureConnect', () => {
      clearTimeout(timer)
      tls.removeListener('error', fail)
      tls.on('error', () => undefined)
      resolve(tls)
    })
  })
}
