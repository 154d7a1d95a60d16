/**
 * Requests: of plain HTTP in absolute form, and those inside tunnels that are looked into. Each is judged by itself, so a redirect is just another request. The
 * message is built anew from its parts: what the guest's parser, this one and the host's could read differently does not go through.
 */
import {
  type ClientRequest,
  type IncomingMessage,
  request as httpRequest,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http'
import type { Socket } from 'node:net'
import { type Duplex, pipeline } from 'node:stream'
import { evaluate, type Explanation } from '../../../protocol/egress/evaluate.ts'
import { ARTIFACTS_HOST, parseAuthority, serviceName } from '../../../protocol/egress/host.ts'
import type { HeaderLine } from '../../../protocol/egress/credential.ts'
import type { Rule } from '../../../protocol/egress/rule.ts'
import type { DoorView, RequestTarget } from './door-view.ts'
import { checkHostHeader } from './host-header.ts'
import { asRefused, Refused, refusalBody, refusalText } from './failure.ts'
import { callHandler } from './handler.ts'
import { headerLines, messageHeaders } from './headers.ts'
import { joinSockets } from './join-sockets.ts'
import { openerFor, type Outgoing, prepare } from './outgoing.ts'
import { type ResponseStages, responseStages } from './response-stages.ts'

export async function serveRequest(door: DoorView, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const release = door.busy(request.socket)
  response.once('close', release)
  let judged: Judged | undefined
  try {
    judged = judge(door, request)
    const { target, explanation, rule } = judged
    if (rule.handler !== undefined) {
      door.audit({ ...lineOf(target, explanation), decision: 'allow', reason: 'handler' })
      await callHandler(door, rule.handler, target, request, response)
      return
    }
    const outgoing = prepare(door, target, rule, headerLines(request))
    await forward(door, judged, outgoing, request, response)
  } catch (error) {
    const refused = asRefused(error)
    tell(door, judged, refused)
    refuse(response, refused, request)
  }
}

/** WebSockets and the like: judged as the request they begin with, then passed on. */
export async function serveUpgrade(
  door: DoorView,
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
): Promise<void> {
  const release = door.busy(socket)
  socket.once('close', release)
  socket.on('error', () => undefined)
  let judged: Judged | undefined
  try {
    judged = judge(door, request)
    const { target, rule } = judged
    if (rule.handler !== undefined) throw new Refused(501, 'handler', 'a handler answers requests only')
    const outgoing = prepare(door, target, rule, headerLines(request), request.headers.upgrade)
    await upgrade(door, judged, outgoing, socket, head)
  } catch (error) {
    const refused = asRefused(error)
    tell(door, judged, refused)
    if (socket.writable) socket.end(refusalText(refused))
    socket.destroySoon()
  }
}

interface Judged {
  readonly target: RequestTarget
  readonly explanation: Explanation
  readonly rule: Rule
}

/** @throws Refused */
function judge(door: DoorView, request: IncomingMessage): Judged {
  const target = targetOf(door, request)
  const explanation = evaluate(door.rules, door.subject, target)
  const rule = ruleFor(target, explanation)
  if (rule === undefined) {
    door.audit({ ...lineOf(target, explanation), decision: 'deny', reason: explanation.reason })
    throw new Told(
      403,
      explanation.reason,
      `no rule allows ${target.method} ${target.scheme}://${target.host}:${target.port}${target.path.split('?')[0]?.slice(0, 200)}`,
    )
  }
  return { target, explanation, rule }
}

/** The rule it goes out by; undefined: it does not. */
function ruleFor(target: RequestTarget, { decision, reason, rule }: Explanation): Rule | undefined {
  if (reason === 'denied') return undefined
  // A rule about all hosts means hosts: it neither opens the way to artifacts nor puts a credential on it
  if (target.host === ARTIFACTS_HOST) return target.scheme === 'http' && target.port === 80 ? ARTIFACTS_RULE : undefined
  if (decision === 'allow') return rule
  return serviceName(target.host) === undefined ? undefined : SERVICE_RULE
}

/** The audit has its line already. */
class Told extends Refused {}

/** A service needs no rule where its node grants it; the daemon decides. */
const SERVICE_RULE: Rule = { id: 'service-grant', for: ['any'], effect: 'allow', host: '*', plain: true }

/** The daemon decides, for it knows which artifact was given to whom by this door; it also puts in the credential, which never comes here. */
const ARTIFACTS_RULE: Rule = { id: 'artifact-grant', for: ['any'], effect: 'allow', host: ARTIFACTS_HOST, plain: true }

function targetOf(door: DoorView, request: IncomingMessage): RequestTarget {
  const { method = 'GET', url = '' } = request
  const origin = door.originOf(request.socket)
  if (origin !== undefined) {
    checkHostHeader(request, origin, origin.scheme === 'https' ? 443 : 80)
    if (!url.startsWith('/') && url !== '*')
      throw new Refused(400, 'malformed', 'a request inside a tunnel names a path')
    return { ...origin, method, path: url }
  }
  const match = /^(https?):\/\/([^/?#\\]+)([/?][^#]*)?$/i.exec(url)
  if (match?.[1] === undefined || match[2] === undefined)
    throw new Refused(400, 'malformed', 'this is a proxy: name a whole address, or CONNECT')
  const authority = parseAuthority(match[2])
  if (authority === undefined) throw new Refused(400, 'malformed', 'the address names no valid host')
  // A guest that asks for https so lets the proxy do the TLS
  const scheme = match[1].toLowerCase() === 'https' ? 'https' : 'http'
  const standard = scheme === 'https' ? 443 : 80
  const { host, port = standard } = authority
  checkHostHeader(request, { host, port }, standard)
  const path = match[3] ?? '/'
  return { scheme, host, port, method, path: path.startsWith('/') ? path : `/${path}` }
}

function send(door: DoorView, judged: Judged, outgoing: Outgoing, socket: Socket): ClientRequest {
  const { target } = outgoing
  const request = httpRequest({
    agent: door.poolOf(socket).agent(outgoing.key, openerFor(door, judged.rule, judged.explanation, outgoing)),
    method: target.method,
    path: target.path,
    headers: outgoing.headers.flat(),
    setHost: false,
  })
  // The decision is made when the address, too, was judged
  request.once('socket', ({ remoteAddress }) => {
    const address = remoteAddress === undefined ? {} : { address: remoteAddress }
    door.audit({
      ...lineOf(judged.target, judged.explanation),
      decision: 'allow',
      reason: 'allowed',
      ...address,
      ...noteOf(outgoing),
    })
  })
  return request
}

async function forward(
  door: DoorView,
  judged: Judged,
  outgoing: Outgoing,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const upstream = send(door, judged, outgoing, request.socket)
  const flow = flowOf(door, judged, () => {
    upstream.destroy()
    request.socket.destroy()
  })
  response.once('close', () => {
    door.flows.delete(flow)
    if (!response.writableFinished) upstream.destroy()
  })
  request.on('error', () => upstream.destroy())
  request.pipe(upstream)
  const answer = await answerOf(upstream)
  const { headers, stages } = readable(upstream, answer, outgoing)
  response.writeHead(answer.statusCode ?? 502, headers.flat())
  await new Promise<void>((resolve) => {
    const parts = [answer, ...stages, response] as const
    pipeline(parts, (error) => {
      if (error) response.destroy()
      resolve()
    })
  })
}

/** Of HTTP (RFC 9110 section 15); what the parser lets through goes down to 0 */
const LEAST_STATUS = 100

/** One that cannot be read is not waited for: it would keep its connection from the next request. @throws Refused */
function readable(upstream: ClientRequest, answer: IncomingMessage, { sensitive }: Outgoing): ResponseStages {
  try {
    const { statusCode = 0 } = answer
    if (statusCode < LEAST_STATUS) throw new Refused(502, 'protocol', `the host answered with the status ${statusCode}`)
    return responseStages(answer, sensitive)
  } catch (error) {
    upstream.destroy()
    throw error
  }
}

function answerOf(upstream: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    upstream.on('error', reject)
    upstream.once('response', resolve)
    upstream.once('upgrade', (_answer, socket) => {
      socket.destroy()
      reject(new Refused(502, 'protocol', 'the host changed the protocol unasked'))
    })
  })
}

function upgrade(door: DoorView, judged: Judged, outgoing: Outgoing, socket: Socket, head: Buffer): Promise<void> {
  const upstream = send(door, judged, outgoing, socket)
  const flow = flowOf(door, judged, () => {
    upstream.destroy()
    socket.destroy()
  })
  socket.once('close', () => door.flows.delete(flow))
  return new Promise((resolve, reject) => {
    // What an event's listener throws would end the process, and with it every door
    const settle = (pass: () => void): void => {
      try {
        resolve(pass())
      } catch (error) {
        reject(error)
      }
    }
    const passOn = (answer: IncomingMessage): void => {
      const { headers, stages } = readable(upstream, answer, outgoing)
      socket.write(
        responseHead(answer, [
          ...headers.filter(([name]) => name.toLowerCase() !== 'transfer-encoding'),
          ['connection', 'close'],
        ]),
      )
      pipeline([answer, ...stages, socket] as const, () => socket.destroySoon())
    }
    const join = (answer: IncomingMessage, other: Duplex, first: Buffer): void => {
      const { headers, text } = readable(upstream, answer, outgoing)
      const protocol = text(answer.headers.upgrade ?? '')
      socket.write(responseHead(answer, [...headers, ['connection', 'upgrade'], ['upgrade', protocol]]))
      if (first.length > 0) other.unshift(first)
      if (head.length > 0) socket.unshift(head)
      joinSockets(socket, other, () => undefined)
    }
    upstream.on('error', reject)
    upstream.once('response', (answer) => settle(() => passOn(answer)))
    upstream.once('upgrade', (answer, other, first) => settle(() => join(answer, other, first)))
    upstream.end()
  })
}

function flowOf(door: DoorView, { target, explanation }: Judged, end: () => void) {
  const flow = {
    allowed: () => {
      const now = evaluate(door.rules, door.subject, target)
      return now.decision === explanation.decision && now.reason === explanation.reason
    },
    end,
  }
  door.flows.add(flow)
  return flow
}

function responseHead(answer: IncomingMessage, headers: readonly HeaderLine[]): string {
  const status = answer.statusCode ?? 502
  return messageHeaders(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`, headers)
}

function refuse(response: ServerResponse, refused: Refused, request: IncomingMessage): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  // What is left of the body is not waited for
  response.writeHead(refused.status, {
    'content-type': 'text/plain; charset=utf-8',
    'x-manyhands-egress': refused.reason,
    ...(request.complete ? {} : { connection: 'close' }),
  })
  response.end(refusalBody(refused))
}

function tell(door: DoorView, judged: Judged | undefined, refused: Refused): void {
  if (refused instanceof Told) return
  const { decision, reason } = refused
  door.audit({ ...lineOf(judged?.target, judged?.explanation), decision, reason, ...addressOf(refused) })
}

const addressOf = ({ address }: Refused) => (address === undefined ? {} : { address })
const noteOf = ({ note }: Outgoing) => (note === undefined ? {} : { note })

function lineOf(target: RequestTarget | undefined, explanation: Explanation | undefined) {
  const rule = explanation?.rule === undefined ? {} : { rule: explanation.rule.id }
  if (target === undefined) return { kind: 'request' as const, ...rule }
  const { host, port, method, path } = target
  return {
    kind: 'request' as const,
    host: host.slice(0, 256),
    port,
    method,
    path: path.split('?', 1)[0] ?? '/',
    ...rule,
  }
}
