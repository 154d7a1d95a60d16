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
  /** An artifact of this node: the workspace becomes a clone of it, and of all artifacts the sandbox reaches this one alone, without holding a token */
  readonly artifact?: string
  /** What the sandbox may do with it. @default "write": it may push */
  readonly artifactAccess?: 'read' | 'write'
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
  /** What its workspace was cloned from, and all that it reaches of artifacts */
  readonly artifact?: SandboxArtifact
  /** Why it last stopped by itself, or why it is lost */
  readonly note?: string
}

export interface SandboxArtifact {
  readonly id: string
  /** As it was called when it was given, which is its name in the guest's remote */
  readonly name: string
  readonly access: 'read' | 'write'
}

export interface SnapshotView {
  readonly name: string
  /** Display only */
  readonly createdAt: string
  readonly bytes: number
}

/** A background process. */
export interface ProcessView {
  readonly id: number
  readonly name: string
  /** In the guest */
  readonly pid: number
  readonly running: boolean
  /** Written so far */
  readonly outputBytes: number
}

/** How a command ended; every case has its own `reason`. */
export interface ExecEnd {
  readonly reason:
    | 'exit'
    | 'signal'
    | 'not-started'
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
  /** For "not-started" */
  readonly message?: string
}

export interface FileEntry {
  readonly name: string
  readonly type: 'file' | 'folder' | 'symlink' | 'other'
  readonly bytes: number
  /** Permission bits */
  readonly mode: number
  /** Milliseconds since 1970, as the guest says */
  readonly modifiedMs: number
}

/** Paths are absolute or relative to the workspace. A symbolic link in a path is refused, and so is `..`. */
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
  /** Data of one frame: with the frame's header what a socket gives at once, so that frames are not cut on their way */
  pieceBytes: (64 << 10) - 10,
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
  /** Of a background process, for listings */
  readonly name?: string
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
  | { readonly op: 'logs'; readonly sandbox: string; readonly process: number; readonly follow?: boolean }
  | { readonly op: 'read'; readonly sandbox: string; readonly path: string }
  | { readonly op: 'write'; readonly sandbox: string; readonly path: string; readonly mode?: number }
  /** Lane 1: one JSON WatchEvent a line */
  | { readonly op: 'watch'; readonly sandbox: string; readonly path: string }
  | { readonly op: 'port'; readonly sandbox: string; readonly port: number }
  | { readonly op: 'wait-port'; readonly sandbox: string; readonly port: number; readonly timeoutMs?: number }
  | {
      readonly op: 'wait-log'
      readonly sandbox: string
      readonly process: number
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

export interface WatchEvent {
  readonly kind: 'created' | 'changed' | 'removed'
  readonly name: string
}

export interface ImageProgress {
  /** What is being done, e.g. "downloading" */
  readonly step: string
  /** A layer or file */
  readonly item?: string
  readonly doneBytes?: number
  readonly totalBytes?: number
}

/** A rich result: `type` is a media type. */
export interface CodeResult {
  readonly type: string
  readonly data: string
  /** `data` is base64 of the bytes. @default false: text */
  readonly base64?: boolean
}

export interface BoxDone {
  /** For "exec", "logs" of a process that has ended, "code" */
  readonly end?: ExecEnd
  /** For "start" */
  readonly process?: ProcessView
  /** For "code" */
  readonly results?: readonly CodeResult[]
  readonly error?: { readonly name: string; readonly message: string; readonly trace?: string }
  /** For "code": false when the interpreter and its state are gone */
  readonly stateKept?: boolean
  /** For "wait-log": the line */
  readonly line?: string
  /** For the image operations */
  readonly image?: ImageView
}

// ---- egress

/** Whose traffic it is */
export interface EgressSubject {
  readonly agent?: string
  readonly task?: string
  readonly sandbox?: string
  /** The node whose work it is */
  readonly node?: string
}

/** Without a matching allow nothing passes, and a matching deny always wins. */
export interface PolicyRuleInput {
  /** "any", "agent/<name>", "task/<id>", "sandbox/<name>", "node/<id>"; "agent/*" is every agent */
  readonly for: readonly string[]
  readonly effect: 'allow' | 'deny'
  /** A name, "*.example.com" (any name below it), an address, or "*" */
  readonly host: string
  /** @default 80 and 443 for allow, all for deny */
  readonly ports?: readonly number[]
  /** @default all */
  readonly methods?: readonly string[]
  /** "*" stands for anything, also nothing; the query is not looked at. @default all */
  readonly path?: string
  /** Ranges as CIDR that are not public and may be reached by this rule */
  readonly addresses?: readonly string[]
  /** Puts a secret into a header of a matching request; the guest's own header of that name is dropped */
  readonly inject?: readonly {
    readonly header: string
    readonly secret: string
    /** @default "bearer" for authorization, "raw" for others */
    readonly as?: 'raw' | 'bearer' | 'basic'
    /** With "basic" */
    readonly user?: string
  }[]
  /** Replaces the placeholder a guest holds by the secret, in these headers only */
  readonly replace?: readonly {
    readonly secret: string
    readonly headers: readonly string[]
    /** Environment variable in which the guest finds the placeholder */
    readonly env?: string
  }[]
  readonly rewrite?: {
    readonly scheme?: 'http' | 'https'
    readonly host?: string
    readonly port?: number
    /** Replaces this beginning of the path */
    readonly path?: { readonly from: string; readonly to: string }
    readonly set?: Readonly<Record<string, string>>
    readonly remove?: readonly string[]
  }
  /** A program that answers instead of the host, in an isolate */
  readonly handler?: string
  /** Lets tunnels through that are not TLS to this very host. @default false */
  readonly opaque?: boolean
  /** Lets credentials of this rule travel over plain HTTP. @default false */
  readonly plain?: boolean
  /** For people */
  readonly note?: string
}

export interface PolicyRule extends PolicyRuleInput {
  readonly id: string
}

export interface PolicyQuestion {
  readonly subject?: EgressSubject
  /** Absent: only what is known of a tunnel */
  readonly method?: string
  /** http: or https: */
  readonly url: string
}

/** A secret that is put in, or a program that answers. Without a secret a request goes out without that header; without the program it fails. */
export interface MissingPart {
  readonly kind: 'secret' | 'handler'
  readonly name: string
}

/** A rule as it was just kept. */
export interface KeptRule extends PolicyRule {
  /** What it names and the node does not have; left out when it has all */
  readonly missing?: readonly MissingPart[]
}

export interface PolicyAnswer {
  readonly decision: 'allow' | 'deny'
  readonly reason: 'allowed' | 'denied' | 'no-rule'
  /** The rule that decided */
  readonly rule?: PolicyRule
  /** For a tunnel: "inspect" when a rule can only be kept by looking inside, "opaque" when anything may pass */
  readonly tunnel?: 'pass' | 'inspect' | 'opaque'
  /** What that rule names and the node does not have; left out when it has all */
  readonly missing?: readonly MissingPart[]
  readonly considered: readonly {
    readonly rule: string
    readonly effect: 'allow' | 'deny'
    readonly matched: boolean
    readonly why: string
  }[]
}

export interface SecretView {
  readonly name: string
  /** Display only */
  readonly setAt: string
}

export interface ServiceView {
  readonly name: string
  /** "tcp:<host>:<port>" */
  readonly target: string
  /** As in rules: "agent/<name>", "task/<id>", "node/<id>", "any"; nobody else reaches it */
  readonly grants: readonly string[]
}

/** One decision of the door. */
export interface EgressEvent {
  /** From 1 since the daemon started */
  readonly sequence: number
  /** Display only */
  readonly at: string
  readonly subject: EgressSubject
  /** A tunnel asked for, a request, a connection to a service; "end" says what an allowed tunnel carried; "lost": lines are missing before this one */
  readonly kind: 'tunnel' | 'request' | 'service' | 'end' | 'lost'
  readonly decision: 'allow' | 'deny' | 'failed'
  /** A stable word: "no-rule", "denied", "private-address", ... */
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
  readonly note?: string
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
  'POST /v0/sandboxes/:id/processes/:process/signal': Do<{ signal: string }, { sent: true }>
  /** Of this node, or of the one named by `on` */
  'GET /v0/images': Read<{ images: readonly ImageView[] }, { on?: string }>
  'GET /v0/secrets': Read<{ secrets: readonly SecretView[] }>
  'POST /v0/secrets': Rule<{ name: string; value: string }, SecretView>
  'POST /v0/secrets/:name/remove': Rule<{}, { removed: true }>
  'GET /v0/policy': Read<{ rules: readonly PolicyRule[] }>
  /** With the id of a rule that is there: in its place */
  'POST /v0/policy': Rule<PolicyRuleInput & { readonly id?: string }, KeptRule>
  'POST /v0/policy/:id/remove': Rule<{}, { removed: true }>
  'POST /v0/policy/explain': Row<'POST', 'read', {}, PolicyQuestion, PolicyAnswer>
  'GET /v0/services': Read<{ services: readonly ServiceView[] }>
  'POST /v0/services': Rule<ServiceView, ServiceView>
  'POST /v0/services/:name/remove': Rule<{}, { removed: true }>
  /** What is remembered, oldest first */
  'GET /v0/egress/recent': Read<{ events: readonly EgressEvent[] }>
  'GET /v0/egress/log': Read<EventStream<EgressEvent>>
}
