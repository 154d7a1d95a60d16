/**
 * The local API: every route with who may call it, what it takes and what it answers. Types only, so that the SDK needs nothing of the daemon at run time.
 * `daemon/api/routes.ts` must hold a row for each of these (a missing handler, schema or access level does not compile); the OpenAPI document comes from the same rows.
 */
import type { ArtifactEvent, ArtifactRoutes, TaskArtifacts, TaskCommits } from './api-artifacts.ts'
import type { EventStream, Row, Upgrade } from './api-row.ts'
import type { SandboxRoutes } from './api-sandboxes.ts'
import type { ErrorCode } from './errors.ts'
import type { JobFailure, Usage } from './job.ts'

export type * from './api-artifacts.ts'
export type { Access, EventStream, Upgrade } from './api-row.ts'
export type * from './api-sandboxes.ts'

/** problem+json (RFC 9457); `type` is the heading of the code in docs/ERRORS.md. */
export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ErrorCode
  readonly hint?: string
  readonly retryAfterMs?: number
  readonly details?: Readonly<Record<string, unknown>>
  /** Set when a job failed: where, in the guest's own source */
  readonly failure?: JobFailure
}

// ---- tasks

/** A2A 1.0 task states */
export type TaskState = 'submitted' | 'working' | 'input-required' | 'completed' | 'failed' | 'canceled' | 'rejected'
export type TaskKind = 'run' | 'map' | 'session'
export type Grade = 'process' | 'jailed' | 'gvisor' | 'microvm'

/** One source text is an ES module whose default export is `(input, env) => result`; several are named, `main` says which is called. Names end in .js .mjs .ts .mts .json .txt. */
export interface ProgramInput {
  /** Single module; named by `filename` in errors (default "main.js"; give a .ts name for TypeScript) */
  readonly source?: string
  readonly filename?: string
  /** Several modules by name */
  readonly modules?: Readonly<Record<string, string>>
  /** @default the only module, or main.ts / main.js / index.ts / index.js */
  readonly main?: string
}

/** Each absent field takes the node's default. Beyond the node's ceiling the request is refused, not clamped. */
export interface LimitsInput {
  readonly wallMs?: number
  readonly cpuMs?: number
  readonly memoryBytes?: number
  readonly outputBytes?: number
  readonly logBytes?: number
  readonly hostCalls?: number
  readonly hostCallBytes?: number
}

export interface RequiresInput {
  /** Capability label. @default "isolate" */
  readonly capability?: string
  /** Lowest acceptable isolation grade */
  readonly grade?: Grade
  /** Labels a node must carry */
  readonly labels?: readonly string[]
  /** "any" (default), "local", "other", or a node's name or id */
  readonly on?: string
}

export interface RunRequest {
  readonly program: ProgramInput
  readonly input?: unknown
  readonly limits?: LimitsInput
  readonly requires?: RequiresInput
  /** Answer at once with the task instead of waiting for its end. @default false */
  readonly detach?: boolean
  /** For the whole task over all attempts, milliseconds. @default none */
  readonly deadlineMs?: number
  /** Shown in listings */
  readonly name?: string
  /** Files of a commit in, files of the result out. @default none */
  readonly artifacts?: TaskArtifacts
}

export interface MapRequest {
  readonly program: ProgramInput
  readonly inputs: readonly unknown[]
  readonly limits?: LimitsInput
  readonly requires?: RequiresInput
  /** A fresh isolate for every input. @default false: inputs that land on one node share a warm isolate */
  readonly fresh?: boolean
  /** Inputs per piece of delegated work. @default chosen from the number of inputs and nodes */
  readonly pieceSize?: number
  readonly deadlineMs?: number
  readonly detach?: boolean
  readonly name?: string
}

export interface Lease {
  readonly node: string
  readonly epoch: number
}

export interface MapProgress {
  readonly total: number
  readonly done: number
  readonly failed: number
  /** Pieces given again after their node was lost or refused */
  readonly retried: number
  /** Inputs finished by each node, by node id */
  readonly byNode: Readonly<Record<string, number>>
}

export interface TaskView {
  readonly id: string
  readonly kind: TaskKind
  readonly state: TaskState
  readonly name?: string
  /** sha256 of the program, hex */
  readonly program: string
  /** Display only */
  readonly createdAt: string
  readonly endedAt?: string
  /** Who works on it, or did last */
  readonly lease?: Lease
  /** Leases given so far */
  readonly attempts: number
  /** Only for kind "run", once completed */
  readonly output?: unknown
  readonly error?: JobFailure
  readonly usage?: Usage
  /** Why it is not further: e.g. "waiting for a node: ..." */
  readonly note?: string
  /** Set when it took an artifact or gave one */
  readonly commits?: TaskCommits
  readonly progress?: MapProgress
}

export type MapItem =
  | { readonly ok: true; readonly output: unknown }
  | { readonly ok: false; readonly error: JobFailure }

/** A page of a map's results in input order. */
export interface MapResults {
  readonly from: number
  /** null: not there. A result that is JSON null is `{ok: true, output: null}` */
  readonly items: readonly (MapItem | null)[]
  /** The map has ended: what is not there now never will be */
  readonly complete: boolean
}

export interface Candidate {
  readonly node: string
  readonly name: string
  /** Milliseconds, lower is better; absent when filtered out */
  readonly score?: number
  readonly rttMs?: number
  readonly etaMs?: number
  readonly queued?: number
  readonly outcome: 'chosen' | 'bid' | 'refused' | 'silent' | 'filtered' | 'not-asked'
  /** A sentence: why this outcome */
  readonly reason: string
}

export interface Explanation {
  readonly task: string
  /** One for each lease given or tried, oldest first */
  readonly rounds: readonly {
    readonly epoch: number
    readonly candidates: readonly Candidate[]
    readonly note: string
  }[]
}

export type TaskEvent =
  | { readonly type: 'state'; readonly state: TaskState; readonly lease?: Lease; readonly note?: string }
  | {
      readonly type: 'log'
      readonly level: string
      readonly text: string
      readonly node: string
      readonly input?: number
    }
  | { readonly type: 'progress'; readonly progress: MapProgress }
  | { readonly type: 'end'; readonly task: TaskView }

// ---- mesh

export interface PeerView {
  readonly id: string
  readonly name: string
  readonly role: 'admin' | 'member'
  readonly connected: boolean
  readonly rttMs?: number
  readonly address?: string
  /** Estimated from coordinates when not connected */
  readonly distanceMs?: number
  readonly capabilities: readonly string[]
  readonly executors: readonly ExecutorView[]
  readonly version?: string
  /** Last heard, seconds ago */
  readonly seenSecondsAgo?: number
}

export interface ExecutorView {
  readonly kind: string
  readonly grade: Grade
  readonly slots: number
  readonly free: number
  readonly queued: number
}

export interface CapabilityView {
  readonly label: string
  readonly nodes: readonly {
    readonly id: string
    readonly name: string
    readonly rttMs?: number
    readonly grade?: Grade
    readonly free?: number
    readonly slots?: number
  }[]
}

export interface StatusView {
  readonly id: string
  readonly name: string
  readonly version: string
  readonly mesh: {
    readonly id: string
    readonly name: string
    readonly epoch: number
    readonly members: number
    readonly role: 'admin' | 'member'
    /** False: this node was put out of the mesh, and no member talks to it any more */
    readonly isMember: boolean
  }
  readonly addresses: readonly string[]
  /** Where the local API also listens on loopback, e.g. "http://127.0.0.1:4280"; absent: on the unix socket alone */
  readonly apiUrl?: string
  readonly peers: { readonly known: number; readonly connected: number }
  readonly executors: readonly ExecutorView[]
  readonly tasks: { readonly working: number; readonly queued: number; readonly total: number }
  readonly journal: { readonly sequence: number; readonly healthy: boolean; readonly reason?: string }
  /** `degraded`: it offers nothing to peers, or was put out of the mesh. `read-only`: its journal cannot be written */
  readonly health: 'ok' | 'degraded' | 'read-only'
  readonly uptimeSeconds: number
  /** From the start of the process until the first peer was connected and served, milliseconds; absent until then */
  readonly joinedAfterMs?: number
  readonly pid: number
  readonly memoryBytes: number
  /** Display only */
  readonly startedAt: string
  readonly paths: Readonly<Record<string, string>>
}

export interface Check {
  readonly name: string
  readonly ok: boolean
  /** 'warn': works, less well than it could */
  readonly level: 'ok' | 'warn' | 'fail'
  readonly found: string
  readonly hint?: string
}

export interface DoctorView {
  readonly checks: readonly Check[]
  readonly ok: boolean
}

export interface InviteRequest {
  /** @default "member" */
  readonly role?: 'admin' | 'member'
  /** @default 3,600,000: an hour; at most 7 days */
  readonly ttlMs?: number
}

export interface InviteView {
  readonly invite: string
  readonly expiresAt: string
  readonly role: 'admin' | 'member'
  readonly meshId: string
  readonly meshName: string
  readonly inviter: string
  /** Compare with what the joining node shows */
  readonly fingerprint: string
}

export interface MemberView {
  readonly id: string
  readonly name: string
  readonly role: 'admin' | 'member'
  readonly sinceEpoch: number
}

export interface MembersView {
  readonly meshId: string
  readonly meshName: string
  readonly epoch: number
  readonly members: readonly MemberView[]
  readonly revoked: readonly { readonly id: string; readonly epoch: number }[]
}

export type MeshEvent =
  | ArtifactEvent
  | { readonly type: 'peer-up'; readonly peer: string; readonly name: string }
  | { readonly type: 'peer-down'; readonly peer: string; readonly name: string; readonly reason: string }
  | { readonly type: 'member-joined'; readonly peer: string; readonly name: string; readonly fingerprint: string }
  | { readonly type: 'member-revoked'; readonly peer: string; readonly name: string; readonly epoch: number }
  | {
      readonly type: 'task'
      readonly task: string
      readonly kind: TaskKind
      readonly state: TaskState
      readonly name?: string
    }
  | { readonly type: 'alarm'; readonly what: string; readonly detail: string }

/** A DSSE envelope: https://github.com/secure-systems-lab/dsse */
export interface ReceiptEnvelope {
  readonly payloadType: string
  readonly payload: string
  readonly signatures: readonly { readonly keyid: string; readonly sig: string }[]
}

export interface ReceiptsView {
  readonly task: string
  readonly receipts: readonly ReceiptEnvelope[]
}

export interface ReceiptCheck {
  readonly valid: boolean
  readonly reason?: string
  readonly node?: string
  readonly task?: string
  readonly epoch?: number
  readonly outcome?: string
  readonly program?: string
  readonly input?: string
  readonly output?: string
  /** Of a receipt of commits: sha256 of the payload of the receipt of the work between them */
  readonly work?: string
  /** Of a receipt of commits: what the task read, and what was made of its result */
  readonly commits?: Pick<TaskCommits, 'input' | 'output'>
  readonly sequence?: number
  readonly previous?: string
}

/**
 * Proof that the answerer knows the token: HMAC-SHA256(verifier, "manyhands-daemon" || 0x00 || nonce), hex. The verifier is the SHA-256 of the token as
 * lower-case hex text, as the daemon keeps no more of a named token. `token` in the query says which one is meant, by the first 16 hex digits of the
 * SHA-256 of its verifier; when it is absent the admin token is.
 */
export interface ChallengeView {
  readonly proof: string
  readonly version: string
}

/** A further token: one with a name and no more rights than it needs. */
export interface TokenRequest {
  /** 1 to 64 of a-z 0-9 . _ - */
  readonly name: string
  readonly access: 'read' | 'run' | 'admin'
}

export interface TokenView extends TokenRequest {
  /** Display only */
  readonly createdAt: string
}

export interface ConfigView {
  readonly config: unknown
  /** For each dotted key: "default", "file", "env" or "flag" */
  readonly origin: Readonly<Record<string, string>>
}

interface Page {
  /** @default 50, at most 500 */
  readonly limit?: number
  /** Opaque; from `next` of the page before */
  readonly after?: string
}

/** `:name` in a path is a parameter. Replies are JSON unless they are a `Stream`. */
export interface Routes extends ArtifactRoutes, SandboxRoutes {
  'GET /v0/challenge': Row<'GET', 'open', { nonce: string; token?: string }, undefined, ChallengeView>
  'GET /v0/status': Row<'GET', 'read', {}, undefined, StatusView>
  'GET /v0/peers': Row<'GET', 'read', {}, undefined, { peers: readonly PeerView[] }>
  'GET /v0/capabilities': Row<'GET', 'read', { label?: string }, undefined, { capabilities: readonly CapabilityView[] }>
  'GET /v0/doctor': Row<'GET', 'read', {}, undefined, DoctorView>
  'GET /v0/config': Row<'GET', 'read', {}, undefined, ConfigView>
  'GET /v0/members': Row<'GET', 'read', {}, undefined, MembersView>
  'POST /v0/invites': Row<'POST', 'admin', {}, InviteRequest, InviteView>
  'POST /v0/members/:id/revoke': Row<'POST', 'admin', {}, {}, MembersView>
  'GET /v0/events': Row<'GET', 'read', {}, undefined, EventStream<MeshEvent>>
  'POST /v0/tasks': Row<'POST', 'run', {}, RunRequest, TaskView>
  'POST /v0/maps': Row<'POST', 'run', {}, MapRequest, TaskView>
  'GET /v0/tasks': Row<
    'GET',
    'read',
    Page & { state?: TaskState; kind?: TaskKind },
    undefined,
    { tasks: readonly TaskView[]; next?: string }
  >
  'GET /v0/tasks/:id': Row<'GET', 'read', {}, undefined, TaskView>
  'GET /v0/tasks/:id/results': Row<'GET', 'read', { from?: number; limit?: number }, undefined, MapResults>
  'GET /v0/tasks/:id/events': Row<'GET', 'read', {}, undefined, EventStream<TaskEvent>>
  'GET /v0/tasks/:id/explain': Row<'GET', 'read', {}, undefined, Explanation>
  'GET /v0/tasks/:id/receipts': Row<'GET', 'read', {}, undefined, ReceiptsView>
  'POST /v0/tasks/:id/cancel': Row<'POST', 'run', {}, {}, TaskView>
  'POST /v0/receipts/verify': Row<'POST', 'read', {}, ReceiptEnvelope, ReceiptCheck>
  'GET /v0/tokens': Row<'GET', 'admin', {}, undefined, { tokens: readonly TokenView[] }>
  /** `token` is shown this once */
  'POST /v0/tokens': Row<'POST', 'admin', {}, TokenRequest, { token: string }>
  'POST /v0/tokens/:name/revoke': Row<'POST', 'admin', {}, {}, { tokens: readonly TokenView[] }>
  'POST /v0/shutdown': Row<'POST', 'admin', {}, { drainMs?: number }, { stopping: true }>
  /** Answers 101 and becomes a duplex of frames: see `DuplexMessage`. */
  'GET /v0/duplex': Row<'GET', 'run', {}, undefined, Upgrade>
  'GET /v0/openapi.json': Row<'GET', 'open', {}, undefined, unknown>
  'GET /metrics': Row<'GET', 'read', {}, undefined, string>
}

export type RouteName = keyof Routes

/**
 * The duplex: `Connection: Upgrade`, `Upgrade: manyhands-duplex-1`. Carries runs with host functions, and sessions.
 * Each frame is [u32 LE length of what follows][u32 LE channel][u8 type][payload]; a frame is at most 16 MiB. The client numbers channels from 1.
 * Payloads are UTF-8. "json" payloads are one JSON value; "id+text" payloads are [u32 LE id][JSON text passed through untouched].
 */
export const DUPLEX = {
  protocol: 'manyhands-duplex-1',
  maxFrameBytes: 16 << 20,
  type: {
    /** client: json RunOpen; starts a run. One with host functions ends when the client goes away */
    run: 1,
    /** client: json SessionOpen */
    session: 2,
    /** daemon: json OpenReply: the task exists (session: and is bound) */
    opened: 3,
    /** client, session: id+text: input of a call */
    call: 4,
    /** daemon, session: id+text: output of a call */
    reply: 5,
    /** daemon, session: id+text: JobFailure of a call */
    callFailed: 6,
    /** daemon: id+text: {"name", "args"} of a host call */
    hostCall: 7,
    /** client: id+text: result of a host call */
    hostResult: 8,
    /** client: id+text: {"code","message"} of a failed host call */
    hostFailed: 9,
    /** daemon: json TaskEvent of type log */
    log: 10,
    /** daemon: json TaskView: last frame of the channel */
    end: 11,
    /** daemon: json Problem: last frame of the channel */
    problem: 12,
    /** client: empty: cancel the task */
    cancel: 13,
    /** client, session: empty: no more calls; the task completes */
    finish: 14,
    /** both: empty: are you there / I am (channel 0) */
    ping: 15,
    pong: 16,
    /** client: json BoxOpen; this and the next: see `BOX` */
    box: 32,
    /** both, box: lane byte and bytes */
    data: 33,
    /** both, box: u32 LE bytes consumed */
    credit: 34,
    /** client, box: json BoxControl */
    control: 35,
    /** daemon, box: json BoxDone: last frame of the channel */
    done: 36,
  },
} as const

export interface RunOpen extends RunRequest {
  readonly key?: string
  /** Names callable from the guest as `env.<name>(...)` */
  readonly hostFunctions: readonly string[]
}

export interface SessionOpen {
  readonly program: ProgramInput
  readonly limits?: LimitsInput
  readonly requires?: RequiresInput
  readonly hostFunctions?: readonly string[]
  readonly name?: string
}

export interface OpenReply {
  readonly task: string
  readonly lease?: Lease
}
