/**
 * The seam between untrusted code and the outside. A guest has no network; a **door** is the one way out: a unix socket of the proxy process that belongs to one
 * subject and applies the node's rules to everything that comes in. Whoever makes the guest opens its door, puts `env` and `files` into it, and closes the
 * door when it is gone.
 */
import type { Socket } from 'node:net'
import type { MissingPart, SecretView, ServiceView } from '../../protocol/api-sandboxes.ts'
import type { EgressSubject, Rule, RuleInput } from '../../protocol/egress/rule.ts'
import type { Explanation, Target } from '../../protocol/egress/evaluate.ts'

/** What a guest needs so that curl, git, npm, pip, apt and Node find the door by themselves. */
export interface DoorKit {
  /** Environment of every process in the guest; holds placeholders where rules ask for them, never a secret */
  readonly env: Readonly<Record<string, string>>
  /** Files to put into the guest, readable by all, owned by root where possible */
  readonly files: readonly { readonly path: string; readonly content: string; readonly mode: number }[]
  /** Certificate of this subject's own authority, which signs only for hosts whose rules look inside */
  readonly caPem: string
  /** Name of a secret to the text that stands for it in this guest */
  readonly placeholders: Readonly<Record<string, string>>
}

/** Where the door is led into a guest. Connections to `127.0.0.1:<DOOR_PORT>` in there reach the door. */
export type DoorPlace =
  /** A container with a network namespace of its own: the process in it. Needs root */
  | { readonly kind: 'namespace'; readonly pid: number }
  /** Any other: an agent inside that can listen on the guest's own loopback address */
  | { readonly kind: 'guest'; readonly guest: GuestListener }

/** The part of a guest's connection that a door needs. */
export interface GuestListener {
  listen(port: number, onConnection: (connection: GuestBytes) => void): Promise<{ close(): void }>
}

export interface GuestBytes {
  readonly readable: AsyncIterable<Uint8Array>
  write(bytes: Uint8Array): Promise<void>
  end(): void
  close(): void
}

export interface OpenDoor extends DoorKit {
  readonly subject: EgressSubject
  /** Unix socket, HTTP/1.1 proxy; in a private folder. It stays the same when the proxy restarts */
  readonly socketPath: string
  /** Listens inside the guest. @throws MeshError E_EGRESS when it cannot be entered */
  lead(place: DoorPlace): Promise<void>
  /** Ends its connections too. Never throws */
  close(): Promise<void>
}

/** A door lent to work on another node: what that node needs to lead its guest's traffic here. Travels inside the delegation, only to `peer`. */
export interface DoorTicket {
  readonly id: string
  readonly kit: DoorKit
}

export interface LentDoor {
  readonly ticket: DoorTicket
  /** Revokes: ends its connections at once */
  close(): Promise<void>
}

export interface DoorLimits {
  /** Connections at once. @default EGRESS_LIMITS.tunnels */
  readonly tunnels?: number
  /** Both directions together over the life of the door. @default no limit */
  readonly bytes?: number
  /** @default EGRESS_LIMITS.tunnelMs */
  readonly tunnelMs?: number
  /** @default EGRESS_LIMITS.idleMs */
  readonly idleMs?: number
  /** For the headers of the first request of a connection. @default EGRESS_LIMITS.handshakeMs */
  readonly handshakeMs?: number
}

/** Takes a connection over that a guest made to `artifacts.manyhands`: HTTP/1.1 follows, without a credential. The door it came by says whose it is. */
export type ArtifactsEntry = (connection: Socket) => void

export interface PolicyStore {
  list(): readonly Rule[]
  /** Adds or, with the id of one there, replaces; durable and in force, for open tunnels too, when it resolves. @throws MeshError E_BAD_REQUEST, E_STORAGE */
  put(rule: Omit<RuleInput, 'id'> & { readonly id?: string }): Promise<Rule>
  /** @returns false when there is none */
  remove(id: string): Promise<boolean>
  /** What would happen, and why, without doing it */
  explain(subject: EgressSubject, target: Target): Explanation
}

/** Credentials, encrypted at rest. A value goes in and comes out only into the proxy's memory. */
export interface SecretStore {
  list(): readonly SecretView[]
  /** @throws MeshError E_BAD_REQUEST, E_TOO_LARGE, E_STORAGE */
  set(name: string, value: string): Promise<void>
  /** @returns false when there is none */
  remove(name: string): Promise<boolean>
}

export interface ServiceRegistry {
  list(): readonly ServiceView[]
  /** Replaces one of that name; connections that are no longer granted end. @throws MeshError E_BAD_REQUEST, E_STORAGE */
  expose(service: ServiceView): Promise<ServiceView>
  remove(name: string): Promise<boolean>
}

export interface AuditEntry {
  /** From 1 since the daemon started */
  readonly sequence: number
  /** ISO 8601 */
  readonly at: string
  readonly subject: EgressSubject
  /** A tunnel asked for, a request, a connection to a service; `end` says what an allowed tunnel carried */
  readonly kind: 'tunnel' | 'request' | 'service' | 'end' | 'lost'
  readonly decision: 'allow' | 'deny' | 'failed'
  /** Why, as a stable word: "no-rule", "denied", "private-address", ... */
  readonly reason: string
  readonly rule?: string
  readonly host?: string
  readonly port?: number
  readonly method?: string
  /** Without the query, cut */
  readonly path?: string
  /** What was dialed, or refused */
  readonly address?: string
  readonly bytesUp?: number
  readonly bytesDown?: number
  readonly ms?: number
  /** For people: placeholders out of place, lines lost */
  readonly note?: string
}

export interface AuditLog {
  /** The latest, oldest first. @param limit default 100, at most 1000 */
  recent(limit?: number): readonly AuditEntry[]
  /** Called for each new line. @returns stops it */
  on(listener: (entry: AuditEntry) => void): () => void
}

export interface EgressState {
  /** Whether the proxy process runs */
  readonly running: boolean
  readonly restarts: number
  readonly doors: number
  readonly residentBytes: number
}

export interface EgressDoor {
  readonly policy: PolicyStore
  readonly secrets: SecretStore
  readonly services: ServiceRegistry
  readonly audit: AuditLog
  state(): EgressState
  /** What the rule names and this node does not have now */
  missing(rule: Rule): Promise<readonly MissingPart[]>
  /** The first door starts the proxy process. @param artifacts without it there are none behind this door. @throws MeshError E_EGRESS when that fails, E_OVERLOADED */
  open(subject: EgressSubject, limits?: DoorLimits, artifacts?: ArtifactsEntry): Promise<OpenDoor>
  /** A door here for work that runs on `peer`: the rules and secrets of this node apply and stay here. */
  lend(subject: EgressSubject, peer: string, limits?: DoorLimits, artifacts?: ArtifactsEntry): Promise<LentDoor>
  /** The other end: a socket here whose connections leave through the door that `peer` lent. */
  leadHome(peer: string, ticket: DoorTicket): Promise<OpenDoor>
  close(): Promise<void>
}
