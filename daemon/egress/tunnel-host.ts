/** The side of tunnels that leads out: doors lent to peers and services granted to them. Who asks is who the connection proved to be. */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { EGRESS_LIMITS } from '../../protocol/egress/limits.ts'
import type { EgressSubject } from '../../protocol/egress/rule.ts'
import { toMeshError } from '../../protocol/errors.ts'
import type { ByteStream, MeshNet } from '../net/mesh-net.ts'
import { openingFrame } from './frame.ts'
import type { AuditTrail } from './audit-log.ts'
import type { StoredServices } from './service-registry.ts'
import { joinTunnel, readOpeningFrom, TUNNEL_PROTOCOL, type TunnelAnswer, TunnelOpening } from './tunnel-stream.ts'

interface Loan {
  readonly peer: string
  readonly socketPath: string
  readonly abort: AbortController
}

interface ServiceFlow {
  readonly name: string
  readonly subject: EgressSubject
  readonly abort: AbortController
}

type Refusal = Exclude<TunnelAnswer, { ok: true }>
const NO: Refusal = { status: 403, reason: 'no-grant', message: 'there is no such door or service for this node' }

export class TunnelHost {
  readonly #services: StoredServices
  readonly #audit: AuditTrail
  readonly #loans = new Map<string, Loan>()
  readonly #flows = new Set<ServiceFlow>()
  readonly #perPeer = new Map<string, number>()

  constructor(net: MeshNet | undefined, services: StoredServices, audit: AuditTrail) {
    this.#services = services
    this.#audit = audit
    net?.handleStream(TUNNEL_PROTOCOL, (stream) => void this.#serve(stream))
  }

  /** Lets `peer`, and nobody else, reach the door at `socketPath`. @returns the ticket, and how to take it back */
  lend(peer: string, socketPath: string): { ticket: string; revoke: () => void } {
    const ticket = randomBytes(32).toString('base64url')
    const loan = { peer, socketPath, abort: new AbortController() }
    this.#loans.set(ticket, loan)
    return {
      ticket,
      revoke: () => {
        this.#loans.delete(ticket)
        loan.abort.abort()
      },
    }
  }

  /** Connects a subject of this node to a service of this node. Undefined when it is not here or not granted. */
  async dialLocal(name: string, subject: EgressSubject): Promise<{ socket: Socket } | undefined> {
    const target = this.#services.granted(name, subject)
    if (target === undefined) return undefined
    // Known before it is dialed, so that a change of grants meanwhile is not missed
    const flow = this.#track(name, subject)
    const forget = () => void this.#flows.delete(flow)
    const socket = await dial(target).catch((error: unknown) => {
      forget()
      throw error
    })
    socket.once('close', forget)
    if (flow.abort.signal.aborted) {
      socket.destroy()
      return undefined
    }
    flow.abort.signal.addEventListener('abort', () => socket.destroy(), { once: true })
    return { socket }
  }

  /** Grants changed: connections that would not be made now end. */
  recheck(): void {
    for (const flow of this.#flows)
      if (this.#services.granted(flow.name, flow.subject) === undefined) flow.abort.abort()
  }

  close(): void {
    for (const loan of this.#loans.values()) loan.abort.abort()
    for (const flow of this.#flows) flow.abort.abort()
    this.#loans.clear()
  }

  async #serve(stream: ByteStream): Promise<void> {
    const { peer } = stream
    const open = this.#perPeer.get(peer) ?? 0
    if (open >= EGRESS_LIMITS.tunnelsPerPeer) {
      await answer(stream, { status: 503, reason: 'too-many', message: 'too many tunnels are open' }).catch(
        () => undefined,
      )
      stream.abort(new Error('too many tunnels'))
      return
    }
    this.#perPeer.set(peer, open + 1)
    try {
      await this.#open(stream)
    } catch (error) {
      stream.abort(toMeshError(error))
    } finally {
      const left = (this.#perPeer.get(peer) ?? 1) - 1
      if (left > 0) this.#perPeer.set(peer, left)
      else this.#perPeer.delete(peer)
    }
  }

  async #open(stream: ByteStream): Promise<void> {
    const { message, rest } = await readOpeningFrom(stream, EGRESS_LIMITS.handshakeMs)
    const opening = TunnelOpening.safeParse(message)
    if (!opening.success) return refuse(stream, { status: 400, reason: 'malformed', message: 'this opens no tunnel' })
    const way =
      opening.data.kind === 'door'
        ? this.#door(stream.peer, opening.data.ticket)
        : this.#service(stream.peer, opening.data)
    if (way === undefined) return refuse(stream, NO)
    let socket: Socket
    try {
      socket = await way.dial()
    } catch {
      way.done()
      return refuse(stream, { status: 502, reason: 'unreachable', message: 'what the tunnel leads to does not answer' })
    }
    try {
      await answer(stream, { ok: true })
      await joinTunnel({ stream, rest }, socket, way.signal)
    } finally {
      socket.destroy()
      way.done()
    }
  }

  #door(peer: string, ticket: string) {
    const loan = this.#loans.get(ticket)
    if (loan === undefined || loan.peer !== peer) return undefined
    return { dial: () => dial({ path: loan.socketPath }), signal: loan.abort.signal, done: () => undefined }
  }

  #service(peer: string, { name, subject: claimed }: Extract<TunnelOpening, { kind: 'service' }>) {
    // Agent and task are what the peer says; the node is what it proved
    const subject = { ...claimed, node: peer }
    const target = this.#services.granted(name, subject)
    const line = { at: new Date().toISOString(), subject, kind: 'service', host: name } as const
    if (target === undefined) {
      this.#audit.add({ ...line, decision: 'deny', reason: 'no-grant' })
      return undefined
    }
    this.#audit.add({ ...line, decision: 'allow', reason: 'service' })
    const flow = this.#track(name, subject)
    return { dial: () => dial(target), signal: flow.abort.signal, done: () => void this.#flows.delete(flow) }
  }

  #track(name: string, subject: EgressSubject): ServiceFlow {
    const flow = { name, subject, abort: new AbortController() }
    this.#flows.add(flow)
    return flow
  }
}

const answer = (stream: ByteStream, message: TunnelAnswer): Promise<void> =>
  stream.write(openingFrame(message), AbortSignal.timeout(EGRESS_LIMITS.handshakeMs))

async function refuse(stream: ByteStream, why: Refusal): Promise<void> {
  await answer(stream, why)
  await stream.end(AbortSignal.timeout(EGRESS_LIMITS.handshakeMs))
}

/** @throws Error when it does not connect in time */
export function dial(target: { host: string; port: number } | { path: string }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...target, allowHalfOpen: true })
    const timer = setTimeout(() => socket.destroy(new Error('no answer in time')), EGRESS_LIMITS.dialMs)
    socket.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.on('error', () => undefined)
      resolve(socket)
    })
  })
}
