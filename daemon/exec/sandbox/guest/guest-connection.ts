/**
 * The seam to the inside of a sandbox: commands, files and ports of one guest. Implementations: `helper/` (our static helper as the container's first
 * process) and `shell/` (any /bin/sh, slower and with less). Neither believes what comes from the guest: it can only harm itself.
 */

/** What connects the daemon with the agent inside: the attached standard streams of the container, or of a plain child process. */
export interface GuestTransport {
  /** Takes the parts, one behind the other; they must stay as they are. False when no more should be written until `onDrain` */
  write(...parts: readonly Uint8Array[]): boolean
  onDrain(listener: () => void): void
  /** Bytes the agent wrote on its standard output (1) or error (2) */
  onData(listener: (bytes: Uint8Array, fd: 1 | 2) => void): void
  /** The stream is over, once; nothing comes after it */
  onEnd(listener: (error?: Error) => void): void
  /** Stops and goes on reading: a flood then waits in the guest */
  pause(): void
  resume(): void
  close(): void
}

/** A stream of bytes in both directions. */
export interface ByteDuplex {
  /** To be iterated once; leaving the loop closes the stream */
  readonly readable: AsyncIterable<Uint8Array>
  /** Resolves when there is room for more. @throws MeshError when the stream is closed */
  write(bytes: Uint8Array): Promise<void>
  /** Nothing more will be written; reading goes on */
  end(): void
  close(): void
  /** Resolves when both directions are over; never rejects */
  readonly closed: Promise<void>
}

/** A port of the guest's loopback that the daemon listens on. */
export interface GuestPort {
  /** No further connections; those that came go on */
  close(): void
}

export interface TerminalSize {
  readonly columns: number
  readonly rows: number
}

export interface ExecOptions {
  /** Program, found in PATH unless it holds a slash, and arguments */
  readonly argv: readonly string[]
  /** @default the sandbox's workspace */
  readonly cwd?: string
  /** Added to the sandbox's own */
  readonly env?: Readonly<Record<string, string>>
  /** What the command reads: all at once (the very text "stream" as bytes), a stream that the caller `write`s and ends, or nothing. @default nothing (an empty input) */
  readonly stdin?: Uint8Array | (string & {}) | 'stream'
  /** A terminal: output comes as fd 1 alone */
  readonly pty?: TerminalSize
  /** Milliseconds until it is ended as `timeout`. @default none */
  readonly timeoutMs?: number
  /** Bytes of output after which it is ended as `output`. @default none; what is not read waits in the guest */
  readonly maxOutputBytes?: number
  /** Goes on when the connection ends; the last output is kept for `attach`, as many bytes as `LIMITS.guestKeptBytes` */
  readonly background?: boolean
  /** Of a background process; shown by `processes` */
  readonly name?: string
  /** Does not count as activity, so the sandbox may sleep meanwhile. @default what `background` says */
  readonly passive?: boolean
  /** Ends it as `canceled` */
  readonly signal?: AbortSignal
}

/** How a process ended. `signal` with a kill that nobody here asked for becomes `memory` when the kernel says so. */
export type GuestEnd =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'signal'; readonly signal: string }
  /** It could not be started: no such program, no right to run it, no such folder */
  | {
      readonly kind: 'not-started'
      readonly code: 'E_NOT_FOUND' | 'E_FORBIDDEN' | 'E_BAD_REQUEST'
      readonly message: string
    }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'output' }
  /** A limit of the sandbox explains it. `code`: what it exited with, if it did */
  | { readonly kind: 'memory' | 'pids' | 'disk'; readonly code?: number }
  | { readonly kind: 'canceled' }
  | { readonly kind: 'engine-lost' }
  | { readonly kind: 'sandbox-lost' }

export interface OutputChunk {
  readonly fd: 1 | 2
  readonly bytes: Uint8Array
}

export const GUEST_SIGNALS = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGKILL',
  'SIGUSR1',
  'SIGUSR2',
  'SIGTERM',
  'SIGCONT',
  'SIGSTOP',
  'SIGTSTP',
  'SIGWINCH',
] as const
export type GuestSignal = (typeof GUEST_SIGNALS)[number]

export interface GuestProcess {
  /** Names it on this connection; of a background process also on later ones */
  readonly id: number
  /** To be iterated once. What is not read waits in the guest (a background process goes on and its oldest output is dropped) */
  readonly output: AsyncIterable<OutputChunk>
  /** Input, with `stdin: 'stream'`. Resolves when there is room for more. @throws MeshError E_CONFLICT when it takes none (any more) */
  write(bytes: Uint8Array): Promise<void>
  /** No more input */
  endInput(): void
  resize(size: TerminalSize): void
  /** To its whole process group */
  signal(name: GuestSignal): void
  /** Ends the process and its descendants: SIGTERM, then SIGKILL after `graceMs`. @default LIMITS.guestGraceMs */
  stop(graceMs?: number): void
  /**
   * Follows a background process no longer: what that took is free again, and the process goes on. `output` is over then, and `ended` says `canceled`, unless
   * it had ended before. Each `attach`, and each start in the background, is to be released; a command in the foreground is killed by it.
   */
  release(): void
  /** Never rejects. Resolves when all output has arrived, whether it was read or not */
  readonly ended: Promise<GuestEnd>
}

export interface BackgroundView {
  readonly id: number
  readonly name: string
  readonly pid: number
  readonly running: boolean
  /** Bytes it has written so far */
  readonly outputBytes: number
}

export type FileType = 'file' | 'folder' | 'symlink' | 'other'

export interface FileStat {
  readonly type: FileType
  readonly bytes: number
  /** Permission bits */
  readonly mode: number
  /** Milliseconds since 1970, as the guest says */
  readonly modifiedMs: number
  readonly uid: number
  readonly gid: number
}

export interface FileEntry extends FileStat {
  readonly name: string
}

export interface FileChange {
  readonly kind: 'created' | 'changed' | 'removed'
  readonly name: string
}

/**
 * Files of the guest by absolute path, seen with the rights of its user. A symbolic link anywhere in a path is refused (E_SYMLINK), also one put there
 * meanwhile, and so is `..`. Everything throws MeshError: E_NOT_FOUND, E_FORBIDDEN, E_CONFLICT (exists, not empty), E_BAD_REQUEST (wrong type of file),
 * E_SYMLINK, E_DISK, E_TOO_LARGE, E_GUEST_FEATURE, E_SANDBOX_LOST.
 */
export interface GuestFiles {
  /** @throws MeshError E_TOO_LARGE above `maxBytes` (default LIMITS.guestFileBytes) */
  read(path: string, options?: { readonly maxBytes?: number; readonly signal?: AbortSignal }): Promise<Uint8Array>
  /** Flat memory whatever the size */
  readStream(
    path: string,
    options?: { readonly offset?: number; readonly signal?: AbortSignal },
  ): AsyncIterable<Uint8Array>
  /** Replaces the file in one step: readers see the old content or the new. Missing folders are made. `mode` defaults to the old file's, else 0644 */
  write(
    path: string,
    content: Uint8Array | string | AsyncIterable<Uint8Array>,
    options?: { readonly mode?: number; readonly signal?: AbortSignal },
  ): Promise<void>
  list(path: string, options?: { readonly maxEntries?: number }): Promise<readonly FileEntry[]>
  /** Of the link itself, if the last part is one */
  stat(path: string): Promise<FileStat>
  /** With missing parents; an existing folder is fine */
  mkdir(path: string): Promise<void>
  move(from: string, to: string): Promise<void>
  /** @param options.recursive with everything in it */
  remove(path: string, options?: { readonly recursive?: boolean }): Promise<void>
  /** Changes directly in a folder until the signal or the end of the loop. Bounded: under a flood, changes of one name are told once */
  watch(path: string, options?: { readonly signal?: AbortSignal }): AsyncIterable<FileChange>
}

export interface GuestConnection {
  /** What this agent can do beyond running commands and small files; the rest throws E_GUEST_FEATURE */
  readonly features: {
    readonly pty: boolean
    readonly ports: boolean
    /** `stdin: 'stream'` */
    readonly streamInput: boolean
    readonly watch: boolean
    /** Descendants that left a command's process group are ended with it */
    readonly tree: boolean
  }
  readonly files: GuestFiles
  /** @throws MeshError E_BAD_REQUEST, E_OVERLOADED (too many at once), E_GUEST_FEATURE, E_SANDBOX_LOST */
  exec(options: ExecOptions): GuestProcess
  /** Of background processes, also those of earlier connections */
  processes(): Promise<readonly BackgroundView[]>
  /** Its kept output from the oldest byte, then what follows. @throws MeshError E_NOT_FOUND */
  attach(id: number): Promise<GuestProcess>
  /** Ends every process of the guest but the agent */
  killAll(): Promise<void>
  /** A connection to a TCP port on the guest's loopback. @throws MeshError E_UNREACHABLE when nothing listens, E_GUEST_FEATURE */
  dial(port: number, options?: { readonly signal?: AbortSignal }): Promise<ByteDuplex>
  /**
   * Connections of the guest's programs to 127.0.0.1:`port`, until it is closed or this connection is over. They do not count as activity.
   * @throws MeshError E_CONFLICT when a program of the guest listens there, E_GUEST_FEATURE
   */
  listen(port: number, onConnection: (connection: ByteDuplex) => void): Promise<GuestPort>
  /** Resolves when the agent answers. @throws MeshError E_SANDBOX_LOST */
  ping(): Promise<void>
  /** Resolves with the reason when the connection is over, for whatever cause; every process then ends as `sandbox-lost` or `engine-lost` */
  readonly closed: Promise<Error | undefined>
  /** Foreground commands, open streams, operations and holds now; when the last of them ended, as `performance.now()` */
  readonly activity: { readonly active: number; readonly lastAt: number }
  /** Counts as activity until the returned function is called */
  hold(): () => void
  /** Ends the connection; what is open ends for this reason. Later calls change nothing */
  lost(reason: 'engine-lost' | 'sandbox-lost', error?: Error): void
  /** As `lost('sandbox-lost')`: the agent is told nothing and goes on */
  close(): void
}

/** Facts from outside the guest that say why a process was killed; see `Sandbox.evidence`. */
export interface EndEvidence {
  readonly oomKills: number
  readonly pidsRefused: number
  readonly diskFull: boolean
}

export interface GuestOptions {
  /** The 32 hexadecimal characters the agent was started with: they mark where a conversation begins */
  readonly token: string
  /** Where commands run when they name no folder */
  readonly cwd: string
  /** For every command */
  readonly env?: Readonly<Record<string, string>>
  /** A folder of this host that the container sees: then bytes go straight between daemon and agent, where the runtime allows it */
  readonly sharedFolder?: { readonly host: string; readonly guest: string }
  /** Asked when the connection begins, and when a process ends in a way that a limit may explain */
  evidence?(): Promise<EndEvidence | undefined>
}
