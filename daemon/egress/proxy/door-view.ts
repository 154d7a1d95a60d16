/** What the parts of the proxy know of the door they work for. */
import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { EgressSubject, Rule } from '../../../protocol/egress/rule.ts'
import type { Target } from '../../../protocol/egress/evaluate.ts'
import type { Authority } from '../certificates.ts'
import type { Audit } from './audit-sender.ts'
import type { Lookup } from './dial.ts'
import type { AuditLine, HandlerRequest, HandlerResponse } from './messages.ts'
import type { UpstreamPool } from './upstream.ts'

/** What all doors of the process share. */
export interface DoorContext {
  readonly lookup: Lookup
  readonly uplinkPath: string
  /** Whom the proxy trusts as a client */
  readonly upstreamTls: () => SecureContext
  readonly audit: Audit
  readonly handle: (request: HandlerRequest) => Promise<HandlerResponse | undefined>
  /** Connections of all doors */
  readonly room: { used: number }
}

export interface Flow {
  /** Whether it would be let through under the rules of now */
  readonly allowed: () => boolean
  readonly end: () => void
}

/** Where the requests of a connection go when a CONNECT said so. */
export interface Origin {
  readonly scheme: 'http' | 'https'
  readonly host: string
  readonly port: number
}

/** A request's target with nothing left out. */
export type RequestTarget = Required<Target>

export interface DoorView {
  readonly id: string
  readonly subject: EgressSubject
  readonly context: DoorContext
  readonly authority: Authority
  readonly rules: readonly Rule[]
  readonly secrets: ReadonlyMap<string, string>
  readonly placeholders: Readonly<Record<string, string>>
  /** What passes now */
  readonly flows: Set<Flow>
  /** Serves the requests inside a tunnel. `raw` is the guest's connection, `socket` what comes out of it. */
  serveInside(origin: Origin, socket: Socket, raw: Socket): void
  /** What a connection was opened for by CONNECT. */
  originOf(socket: Socket): Origin | undefined
  /** Says that the connection works; without it a connection is given little time. @returns ends that */
  busy(socket: Socket): () => void
  /** Upstream connections that live as long as the guest's connection and serve nobody else. */
  poolOf(socket: Socket): UpstreamPool
  audit(line: Omit<AuditLine, 'at' | 'door'>): void
}
