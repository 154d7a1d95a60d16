/**
 * Sandboxes, the egress door and private services in the local API. `api.ts` re-exports all of it, so the SDK still has one contract to see.
 * Unary work is routes; what streams (exec, terminals, files, ports, logs, images) is a box channel of the duplex, see `BOX` below.
 */
import type { EventStream, Row } from './api-row.ts'
import type { Grade } from './job.ts'

// ---- sandboxes

/** `paused` (frozen, wakes in milliseconds) and `stopped` (no process, no memory) wake on use; `lost`: its node or its content is gone */
export type SandboxState = 'running' | 'paused' | 'stopped' | 'lost'
/** `strict`: no rights, read-only root, writable workspace. `build`: root inside with what package managers need, writable root */
export type SandboxProfile = 'strict' | 'build'

/** Each absent field takes the node's default. Beyond the node's ceiling the request is refused, not clamped. */
export interface SandboxLimitsInput {
  readonly memoryBytes?: number
  /** Cores, e.g. 0.5 */
  readonly cpus?: number
  /** Processes and threads at once */
  readonly pids?: number
  /** The workspace */
  readonly diskBytes?: number
  /** Files and folders in the workspace */
  readonly inodes?: number
  /** /tmp; counts as memory too */
  readonly tmpBytes?: number
  /** What profile `build` may write outside the workspace */
  readonly rootBytes?: number
}

export interface SandboxRequest {
  /** A name as `image ls` shows it, or `sha256:...`. @default the node's default image */
  readonly image?: string
  /** Its content becomes the workspace */
  readonly artifact?: string
  /** 1 to 64 of a-z 0-9 . _ - ; unique on this node. @default none */
  readonly name?: string
  readonly limits?: SandboxLimitsInput
  /** Lowest acceptable isolation grade: met or refused. @default the strongest its node offers */
  readonly isolation?: Grade
  /** @default "strict" */
  readonly profile?: SandboxProfile
  /** "any" (default), "local", "other", or a node's name or id */
  readonly on?: string
  /** For every command. No secrets: the guest sees them, and they are kept */
  readonly env?: Readonly<Record<string, string>>
  /** Unused for this long it is frozen, after ten times as long stopped, milliseconds; 0: never. @default the node's */
  readonly idleMs?: number
  /** The agent whose egress rules it is under. @default none */
  readonly agent?: string
}

export interface SandboxLimits {
  readonly memoryBytes: number
  readonly cpus: number
  readonly pids: number
  readonly diskBytes: number
  readonly inodes: number
  readonly tmpBytes: number
  readonly rootBytes: number
}

export interface SandboxView {
  readonly id: string
  readonly name?: string
  readonly state: SandboxState
  /** Id of the node it is on */
  readonly node: string
  readonly nodeName: string
  readonly image: string
  readonly digest: string
  readonly grade: Grade
  readonly profile: SandboxProfile
  readonly limits: SandboxLimits
  /** Path of the workspace in the guest */
  readonly workspace: string
  /** False: what is in the workspace is in memory, and the sandbox only freezes */
  readonly survivesStop: boolean
  readonly snapshots: readonly SnapshotView[]
  /** Display only */
  readonly createdAt: string
  readonly agent?: string
  /** Why it last stopped by itself, or why it is lost */
  readonly note?: string
}

export interface SnapshotView {
  readonly name: string
  /** Display only */
  readonly createdAt: string
  readonly bytes: number
}

export interface ProcessView {
  readonly id: string
  readonly argv: readonly string[]
  readonly running: boolean
  /** Absent while it runs */
  readonly end?: ExecEnd
}

/** How a command ended; every case has its own `reason`. */
export interface ExecEnd {
  readonly reason:
    | 'exit'
    | 'signal'
    | 'timeout'
    | 'memory'
    | 'pids'
    | 'disk'
    | 'output'
    | 'canceled'
    | 'engine-lost'
    | 'sandbox-lost'
  /** For "exit" */
  readonly code?: number
  /** For "signal", e.g. "SIGKILL" */
  readonly signal?: string
  /** More was written than is passed on or kept */
  readonly truncated?: boolean
}

export interface FileEntry {
  /** Relative to the folder listed; for a stat the path asked for */
  readonly name: string
  readonly type: 'file' | 'folder' | 'symlink' | 'other'
  readonly bytes: number
  /** Permission bits */
  readonly mode: number
  /** Milliseconds since 1970; display only */
  readonly modifiedMs: number
  /** Of a symlink */
  readonly target?: string
}

/** Paths are absolute or relative to the workspace. No symlink is followed out of the sandbox. */
export type FileRequest =
  | { readonly op: 'list'; readonly path: string }
  | { readonly op: 'stat'; readonly path: string }
  | { readonly op: 'mkdir'; readonly path: string }
  | { readonly op: 'move'; readonly path: string; readonly to: string }
  | { readonly op: 'remove'; readonly path: string; readonly recursive?: boolean }

export interface FileReply {
  /** For "list" and "stat" */
  readonly entries: readonly FileEntry[]
}

export interface ImageView {
  readonly names: readonly string[]
  /** "sha256:..." */
  readonly digest: string
  readonly bytes: number
  /** Display only */
  readonly createdAt: string
}

// ---- the duplex: box channels

/**
 * A box channel carries one streaming operation on a sandbox or on the images of a node. The client opens it with `box` (json BoxOpen). Data frames are
 * [u8 lane][bytes], lane 0 to the guest, 1 and 2 from it (standard output and error; 1 for everything else). Each side may have `windowBytes` of data frames
 * unacknowledged: the receiver returns what it consumed as `credit` (u32 LE). A side that ends its half sends `finish`; `control` (json BoxControl) steers a
 * process; `done` (json BoxDone) or `problem` is the last frame. `cancel` ends the operation.
 */
export const BOX = {
  windowBytes: 1 << 20,
  /** Data of one frame */
  pieceBytes: 64 << 10,
} as const

export interface TerminalSize {
  readonly columns: number
  readonly rows: number
}

export interface ExecRequest {
  /** No shell reads it: the first is the program */
  readonly argv: readonly string[]
  /** @default the workspace */
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** Milliseconds. @default none */
  readonly timeoutMs?: number
  /** A terminal of this size instead of pipes */
  readonly terminal?: TerminalSize
  /** Whether standard input follows on lane 0. @default false: it is empty */
  readonly stdin?: boolean
  /** It is ended beyond this much output. @default none: the caller's pace bounds it */
  readonly maxOutputBytes?: number
}

export type Language = 'python' | 'node' | 'shell'

export type BoxOpen =
  | ({ readonly op: 'exec'; readonly sandbox: string } & ExecRequest)
  /** Ends at once with its ProcessView; the process runs on, its output is kept */
  | ({ readonly op: 'start'; readonly sandbox: string } & ExecRequest)
  /** Output of a background process from its beginning, or what is kept of it */
  | { readonly op: 'logs'; readonly sandbox: string; readonly process: string; readonly follow?: boolean }
  | { readonly op: 'read'; readonly sandbox: string; readonly path: string }
  | { readonly op: 'write'; readonly sandbox: string; readonly path: string; readonly mode?: number }
  /** Lane 1: one JSON WatchEvent a line */
  | { readonly op: 'watch'; readonly sandbox: string; readonly path: string }
  | { readonly op: 'port'; readonly sandbox: string; readonly port: number }
  | { readonly op: 'wait-port'; readonly sandbox: string; readonly port: number; readonly timeoutMs?: number }
  | {
      readonly op: 'wait-log'
      readonly sandbox: string
      readonly process: string
      /** A line that contains this text */
      readonly text: string
      readonly timeoutMs?: number
    }
  | {
      readonly op: 'code'
      readonly sandbox: string
      readonly language: Language
      readonly code: string
      /** State is kept between calls of one context. @default "default" */
      readonly context?: string
      readonly timeoutMs?: number
    }
  /** `on`: as for a sandbox; lane 1: progress, one JSON ImageProgress a line */
  | { readonly op: 'image-pull'; readonly image: string; readonly on?: string }
  /** Lane 0: a tar of a root folder, or an image as `docker save` writes it */
  | { readonly op: 'image-import'; readonly image: string; readonly on?: string }
  | { readonly op: 'image-build'; readonly on?: string }

export type BoxControl = { readonly signal: string } | { readonly resize: TerminalSize }

export type WatchEvent = { readonly path: string; readonly change: 'created' | 'changed' | 'removed' }

export interface ImageProgress {
  /** What is being done, e.g. "downloading" */
  readonly step: string
  /** A layer or file */
  readonly item?: string
  readonly doneBytes?: number
  readonly totalBytes?: number
}

/** A rich result: `type` is a media type; text as it is, anything else as base64. */
export interface CodeResult {
  readonly type: string
  readonly data: string
}

export interface BoxDone {
  /** For "exec", "logs" of a process that has ended, "code" */
  readonly end?: ExecEnd
  /** For "start" */
  readonly process?: ProcessView
  /** For "code" */
  readonly results?: readonly CodeResult[]
  readonly error?: { readonly name: string; readonly message: string; readonly trace?: string }
  /** For "wait-log": the line */
  readonly line?: string
  /** For the image operations */
  readonly image?: ImageView
}

// ---- egress

/** Which guests a rule is for. Absent: all */
export interface EgressSubject {
  readonly agent?: string
  readonly task?: string
  /** Id or name of a sandbox */
  readonly sandbox?: string
}

export interface PolicyRuleInput {
  readonly effect: 'allow' | 'deny'
  readonly for?: EgressSubject
  /** "api.example.com", "*.example.com" (any depth below), or an address */
  readonly host: string
  /** @default 80 and 443 */
  readonly ports?: readonly number[]
  /** @default any; a rule that names methods, paths or credentials reads HTTPS with the sandbox's own authority */
  readonly methods?: readonly string[]
  /** Prefixes of the path, each beginning with "/". @default any */
  readonly paths?: readonly string[]
  /** Header -> name of a secret, whose value the proxy puts in */
  readonly inject?: Readonly<Record<string, string>>
  /** "https://other.example:8443": where it goes instead */
  readonly rewrite?: string
  /** Id of a program that answers in an isolate */
  readonly handler?: string
  /** The host may resolve to private addresses. @default false */
  readonly private?: boolean
}

export interface PolicyRule extends PolicyRuleInput {
  readonly id: string
  /** Display only */
  readonly createdAt: string
}

export interface PolicyQuestion {
  readonly for?: EgressSubject
  /** @default "GET" */
  readonly method?: string
  readonly url: string
}

export interface PolicyAnswer {
  readonly allowed: boolean
  /** The rule that decided; absent: none matched */
  readonly rule?: PolicyRule
  /** A sentence */
  readonly reason: string
}

export interface SecretView {
  readonly name: string
  /** Display only */
  readonly createdAt: string
}

export interface ServiceRequest {
  /** 1 to 48 of a-z 0-9 - */
  readonly name: string
  /** "tcp:127.0.0.1:5432" or "unix:/run/postgresql/.s.PGSQL.5432" */
  readonly to: string
  /** "agent/<name>", "task/<id>", "node/<name or id>", "sandbox/<id>"; nobody else reaches it */
  readonly grants: readonly string[]
}

export interface ServiceView extends ServiceRequest {
  /** Connections open now */
  readonly connections: number
}

export interface EgressEvent {
  /** Display only */
  readonly at: string
  readonly decision: 'allowed' | 'denied' | 'closed'
  readonly subject: EgressSubject
  readonly host: string
  readonly port: number
  readonly method?: string
  readonly path?: string
  /** Id of the rule that decided */
  readonly rule?: string
  /** A sentence */
  readonly reason: string
  readonly sentBytes?: number
  readonly receivedBytes?: number
}

// ---- routes

type Read<Reply, Query = {}> = Row<'GET', 'read', Query, undefined, Reply>
type Do<Body, Reply> = Row<'POST', 'run', {}, Body, Reply>
type Rule<Body, Reply> = Row<'POST', 'admin', {}, Body, Reply>

/** `:id` of a sandbox is its id or its name on this node. */
export interface SandboxRoutes {
  /** Answers once it runs; with an idempotency key the same request gives the same sandbox */
  'POST /v0/sandboxes': Do<SandboxRequest, SandboxView>
  'GET /v0/sandboxes': Read<{ sandboxes: readonly SandboxView[] }>
  'GET /v0/sandboxes/:id': Read<SandboxView>
  'POST /v0/sandboxes/:id/sleep': Do<{ depth?: 'pause' | 'stop' }, SandboxView>
  'POST /v0/sandboxes/:id/wake': Do<{}, SandboxView>
  'POST /v0/sandboxes/:id/remove': Do<{}, { removed: true }>
  /** `name`: made up when absent */
  'POST /v0/sandboxes/:id/snapshot': Do<{ name?: string }, SnapshotView>
  'POST /v0/sandboxes/:id/snapshots/:name/remove': Do<{}, { removed: true }>
  /** `snapshot`: its name; the newest when absent */
  'POST /v0/sandboxes/:id/restore': Do<{ snapshot?: string }, SandboxView>
  /** `from`: a snapshot; what is there now when absent */
  'POST /v0/sandboxes/:id/fork': Do<{ name?: string; from?: string }, SandboxView>
  'POST /v0/sandboxes/:id/move': Do<{ to: string }, SandboxView>
  'POST /v0/sandboxes/:id/files': Do<FileRequest, FileReply>
  'GET /v0/sandboxes/:id/processes': Read<{ processes: readonly ProcessView[] }>
  'POST /v0/sandboxes/:id/processes/:process/signal': Do<{ signal: string }, ProcessView>
  /** Of this node, or of the one named by `on` */
  'GET /v0/images': Read<{ images: readonly ImageView[] }, { on?: string }>
  'GET /v0/secrets': Read<{ secrets: readonly SecretView[] }>
  'POST /v0/secrets': Rule<{ name: string; value: string }, SecretView>
  'POST /v0/secrets/:name/remove': Rule<{}, { removed: true }>
  'GET /v0/policy': Read<{ rules: readonly PolicyRule[] }>
  'POST /v0/policy': Rule<PolicyRuleInput, PolicyRule>
  'POST /v0/policy/:id/remove': Rule<{}, { removed: true }>
  'POST /v0/policy/explain': Row<'POST', 'read', {}, PolicyQuestion, PolicyAnswer>
  'GET /v0/services': Read<{ services: readonly ServiceView[] }>
  'POST /v0/services': Rule<ServiceRequest, ServiceView>
  'POST /v0/services/:name/remove': Rule<{}, { removed: true }>
  'GET /v0/egress/log': Read<EventStream<EgressEvent>>
}
