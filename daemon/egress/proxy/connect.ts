/**
 * CONNECT: a tunnel to one host and port. By the rules it is passed on after the first bytes have shown that it is TLS to that very host, or ended here and looked
 * into request by request, or, where a rule says so, passed on unseen.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { parseClientHello } from '../../../protocol/egress/client-hello.ts'
import { evaluate, type Explanation, type Target } from '../../../protocol/egress/evaluate.ts'
import {
  ARTIFACTS_HOST,
  canonicalHost,
  literalAddress,
  parseAuthority,
  serviceName,
} from '../../../protocol/egress/host.ts'
import { EGRESS_LIMITS } from '../../../protocol/egress/limits.ts'
import { forbiddenBy } from '../addresses.ts'
import { checkedAddresses, dialChecked, namedRanges } from './dial.ts'
import type { DoorView } from './door-view.ts'
import { checkHostHeader } from './host-header.ts'
import { asRefused, Refused, refusalText } from './failure.ts'
import { dialUplink } from './service-dial.ts'
import { joinSockets } from './join-sockets.ts'

const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n'
/** Fatal alert `unrecognized_name` (RFC 6066): the client learns at once that it will not work */
const TLS_ALERT = Buffer.from([21, 3, 3, 0, 2, 2, 112])

export async function serveConnect(
  door: DoorView,
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
): Promise<void> {
  socket.on('error', () => undefined)
  const release = door.busy(socket)
  if (head.length > 0) socket.unshift(head)
  let target: Target | undefined
  let explanation: Explanation | undefined
  try {
    target = connectTarget(request)
    if (target.host === ARTIFACTS_HOST)
      throw new Refused(403, 'no-tunnel', `${ARTIFACTS_HOST} is asked over plain HTTP, not through a tunnel`)
    if (door.originOf(socket) !== undefined) throw new Refused(400, 'malformed', 'there is no tunnel inside a tunnel')
    explanation = evaluate(door.rules, door.subject, target)
    await openTunnel(door, target, explanation, socket, release)
  } catch (error) {
    release()
    const refused = asRefused(error)
    door.audit({
      kind: 'tunnel',
      ...about(target),
      decision: refused.decision,
      reason: refused.reason,
      ...ruleOf(explanation),
      ...(refused.address === undefined ? {} : { address: refused.address }),
    })
    if (socket.writable) socket.end(established.has(socket) ? TLS_ALERT : refusalText(refused))
    socket.destroySoon()
  }
}

/** Sockets whose client was told that the tunnel is open. */
const established = new WeakSet<Socket>()

function connectTarget(request: IncomingMessage): Target {
  const authority = parseAuthority(request.url ?? '')
  if (authority?.port === undefined) throw new Refused(400, 'malformed', 'CONNECT needs a host and a port')
  checkHostHeader(request, { host: authority.host, port: authority.port }, undefined)
  return { scheme: 'https', host: authority.host, port: authority.port }
}

async function openTunnel(
  door: DoorView,
  target: Target,
  explanation: Explanation,
  socket: Socket,
  release: () => void,
): Promise<void> {
  const { rule } = explanation
  const service = serviceName(target.host)
  if (explanation.decision === 'deny' && (service === undefined || explanation.reason === 'denied'))
    throw new Refused(403, explanation.reason, `no rule allows ${target.host} port ${target.port}`)
  if (service !== undefined) {
    const upstream = await dialUplink(door.context.uplinkPath, {
      door: door.id,
      service,
      allowed: explanation.decision === 'allow',
    })
    pass(door, target, explanation, socket, upstream, 'service')
    return
  }
  if (rule === undefined) throw new Refused(403, 'no-rule', `no rule allows ${target.host} port ${target.port}`)
  if (explanation.tunnel === 'inspect') {
    await inspect(door, target, explanation, socket)
    release()
    return
  }
  const upstream = await dialChecked(target, await checkedAddresses(target, namedRanges(rule), door.context.lookup))
  upstream.on('error', () => undefined)
  try {
    if (explanation.tunnel === 'pass' && (await firstBytes(socket, target)) === 'http') {
      upstream.destroy()
      serveInside(door, { ...target, scheme: 'http' }, explanation, socket, socket)
      release()
      return
    }
  } catch (error) {
    upstream.destroy()
    throw error
  }
  pass(door, target, explanation, socket, upstream, 'tunnel')
}

/** Ends TLS here, as `target.host`, and serves the requests inside. */
async function inspect(door: DoorView, target: Target, explanation: Explanation, socket: Socket): Promise<void> {
  if ((await firstBytes(socket, target)) === 'http') {
    serveInside(door, { ...target, scheme: 'http' }, explanation, socket, socket)
    return
  }
  const secureContext = door.authority.contextFor(target.host, Date.now())
  const inner = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] })
  serveInside(door, target, explanation, inner, socket)
}

function serveInside(door: DoorView, target: Target, explanation: Explanation, socket: Socket, raw: Socket): void {
  door.audit({ kind: 'tunnel', ...about(target), decision: 'allow', reason: 'inspect', ...ruleOf(explanation) })
  door.serveInside(target, socket, raw)
}

/** Answers the client and waits for its first bytes, which stay unread. @throws Refused when they are neither HTTP nor TLS to the tunnel's host */
async function firstBytes(socket: Socket, target: Target): Promise<'tls' | 'http'> {
  establish(socket)
  const timer = setTimeout(() => socket.destroy(new Error('no first bytes in time')), EGRESS_LIMITS.handshakeMs)
  let bytes = Buffer.alloc(0)
  try {
    for (;;) {
      const chunk = await readSome(socket)
      bytes = Buffer.concat([bytes, chunk])
      const hello = parseClientHello(bytes)
      if (hello.kind === 'more' && bytes.length < EGRESS_LIMITS.clientHelloBytes) continue
      socket.unshift(bytes)
      if (hello.kind !== 'hello') return mayBeHttp(bytes)
      checkServerName(hello.serverName, target.host)
      return 'tls'
    }
  } finally {
    clearTimeout(timer)
  }
}

function mayBeHttp(bytes: Buffer): 'http' {
  if (/^[A-Z]+ \//.test(bytes.toString('latin1', 0, 24))) return 'http'
  throw new Refused(403, 'opaque', 'the tunnel carries something that is not TLS, and no rule lets it through unseen')
}

function checkServerName(name: string | undefined, host: string): void {
  if (name === undefined ? literalAddress(host) !== undefined : canonicalHost(name) === host) return
  throw new Refused(421, 'host-mismatch', `the TLS inside is for another host than ${host}`)
}

function establish(socket: Socket): void {
  if (established.has(socket)) return
  established.add(socket)
  socket.write(ESTABLISHED)
}

function readSome(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const off = () => socket.off('readable', onReadable).off('end', onEnd).off('close', onEnd)
    const onEnd = () => {
      off()
      reject(new Refused(400, 'ended', 'the tunnel ended before its first bytes'))
    }
    const onReadable = () => {
      const chunk: unknown = socket.read()
      if (!(chunk instanceof Buffer)) return
      off()
      resolve(chunk)
    }
    socket.on('readable', onReadable).on('end', onEnd).on('close', onEnd)
    onReadable()
    if (socket.destroyed || socket.readableEnded) onEnd()
  })
}

/** @throws Refused when a change of the rules came first */
function pass(
  door: DoorView,
  target: Target,
  explanation: Explanation,
  socket: Socket,
  upstream: Socket,
  kind: 'tunnel' | 'service',
): void {
  const address = upstream.remoteAddress
  // The way here took time, in which the rules may have changed.
  if (!stillAllowed(door, target, explanation, address)) {
    upstream.destroy()
    throw new Refused(
      403,
      'changed',
      `the rules for ${target.host} port ${target.port} changed while the tunnel was opened`,
    )
  }
  const line = {
    ...about(target),
    ...ruleOf(explanation),
    ...(kind === 'tunnel' && address !== undefined ? { address } : {}),
  }
  door.audit({
    kind,
    ...line,
    decision: 'allow',
    reason: kind === 'service' ? 'service' : (explanation.tunnel ?? 'pass'),
  })
  establish(socket)
  const since = performance.now()
  const flow = {
    allowed: () => stillAllowed(door, target, explanation, address),
    end: () => {
      socket.destroy()
      upstream.destroy()
    },
  }
  door.flows.add(flow)
  joinSockets(socket, upstream, () => {
    door.flows.delete(flow)
    door.audit({
      kind: 'end',
      ...line,
      decision: 'allow',
      reason: 'end',
      bytesUp: upstream.bytesWritten,
      bytesDown: upstream.bytesRead,
      ms: Math.round(performance.now() - since),
    })
  })
}

/** Looking in cannot begin in the middle of a tunnel, so one that would be looked into now ends too. */
function stillAllowed(door: DoorView, target: Target, before: Explanation, address: string | undefined): boolean {
  const now = evaluate(door.rules, door.subject, target)
  if (now.decision !== before.decision || now.reason === 'denied' || now.tunnel !== before.tunnel) return false
  if (serviceName(target.host) !== undefined || now.rule === undefined || address === undefined) return true
  return forbiddenBy(address, namedRanges(now.rule)) === undefined
}

const about = (target: Target | undefined) => (target === undefined ? {} : { host: target.host, port: target.port })
const ruleOf = (explanation: Explanation | undefined) =>
  explanation?.rule === undefined ? {} : { rule: explanation.rule.id }
