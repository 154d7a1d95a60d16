/** A Linux environment on the nearest able node, used as if it were here. It lives until it is removed; it sleeps when unused and wakes on use. */
import type {
  CodeResult,
  ExecEnd,
  ExecRequest,
  Language,
  ProcessView,
  SandboxLimitsInput,
  SandboxProfile,
  SandboxRequest,
  SandboxView,
  SnapshotView,
  TerminalSize,
} from '../../protocol/api.ts'
import { BoxStream } from './box-stream.ts'
import type { CallOptions } from './call-options.ts'
import type { Client } from './client.ts'
import type { DuplexSource } from './duplex.ts'
import { ManyhandsError, protocolError } from './errors.ts'
import type { OpenPort, PortOpener } from './open-port.ts'
import { LIMITS } from './limits.ts'
import { compact, keyOf } from './program.ts'
import { SandboxFiles } from './sandbox-files.ts'
import {
  BackgroundProcess,
  type BoxTarget,
  exec,
  type ExecOptions,
  type ExecResult,
  type OutputPiece,
  pieces,
  type ProcessOptions,
  requestOf,
  SandboxProcess,
  spawn,
  type SpawnOptions,
} from './sandbox-process.ts'

export interface SandboxOptions {
  /** As `mesh.images.list()` names it. @default the default image of its node */
  readonly image?: string | undefined
  /**
   * Name or id of an artifact of this node: the workspace becomes a clone of it (the image needs git), and `git push` from inside works without a token.
   * @default an empty workspace
   */
  readonly artifact?: string | undefined
  /** What the sandbox may do with the artifact. @default "write" */
  readonly artifactAccess?: SandboxRequest['artifactAccess'] | undefined
  readonly limits?: SandboxLimitsInput | undefined
  /** Lowest isolation grade that will do: met or refused. @default the strongest its node offers */
  readonly isolation?: SandboxRequest['isolation'] | undefined
  /** @default "strict" */
  readonly profile?: SandboxProfile | undefined
  /** Unique on this node; `mesh.sandboxes.get(name)` finds it. @default none */
  readonly name?: string | undefined
  /** "any", "local", "other", or the name or id of a node. @default "any": the nearest able one */
  readonly on?: string | undefined
  /** For every command; the guest sees it. No secrets: those are for `mesh.policy`. @default {} */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Unused for this long it is frozen, after ten times as long stopped, milliseconds; 0: never. @default the node's */
  readonly idle?: number | undefined
  /** The agent whose egress rules it is under. @default none */
  readonly agent?: string | undefined
  /** The same key and request give the same sandbox. @default a new one */
  readonly key?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface PortWaitOptions extends CallOptions {
  /** Milliseconds. @default 30,000 */
  readonly timeout?: number | undefined
}

export interface CodeOptions extends CallOptions {
  /** State (variables, imports, the current folder) is kept between calls of one context. @default "default" */
  readonly context?: string | undefined
  /** Milliseconds. @default none */
  readonly timeout?: number | undefined
  /** Standard output and error as they come. @default collected, up to 16 MiB: what writes more is ended with E_OUTPUT */
  readonly stream?: ((piece: OutputPiece) => void | Promise<void>) | undefined
}

export interface CodeOutcome {
  readonly ok: boolean
  readonly stdout: string
  readonly stderr: string
  /** Values the code gave, richest form first */
  readonly results: readonly CodeResult[]
  /** What the code threw */
  readonly error: { readonly name: string; readonly message: string; readonly trace?: string } | undefined
  readonly end: ExecEnd | undefined
  /** False: the interpreter is gone, and the state of its context with it */
  readonly stateKept: boolean
}

export interface SandboxParts {
  readonly client: Client
  readonly duplex: DuplexSource
  readonly openPort: PortOpener
}

export class Sandbox {
  readonly #parts: SandboxParts
  readonly #target: BoxTarget
  readonly files: SandboxFiles
  #view: SandboxView

  constructor(parts: SandboxParts, view: SandboxView) {
    this.#parts = parts
    this.#view = view
    this.#target = { duplex: parts.duplex, sandbox: view.id }
    this.files = new SandboxFiles(parts.client, this.#target)
  }

  get id(): string {
    return this.#view.id
  }

  get name(): string | undefined {
    return this.#view.name
  }

  /** As of the last answer; `refresh` asks again. */
  get view(): SandboxView {
    return this.#view
  }

  refresh(options: CallOptions = {}): Promise<SandboxView> {
    return this.#keep(this.#parts.client.call('GET /v0/sandboxes/:id', { params: this.#params, ...options }))
  }

  /**
   * Runs a program to its end. No shell reads `argv`; for one: ['sh', '-c', '...']. A code other than 0 is a result, no error.
   * @throws ManyhandsError E_SANDBOX_LOST, E_UNREACHABLE and all that a daemon refuses with; or the signal's reason
   */
  exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    return exec(this.#target, argv, options)
  }

  /** Starts a program and gives it while it runs: output, input, signals. It ends with the connection. */
  spawn(argv: readonly string[], options: SpawnOptions = {}): Promise<SandboxProcess> {
    return spawn(this.#target, argv, options)
  }

  /** A program on a terminal. @default argv a login shell */
  terminal(
    size: TerminalSize,
    options: ProcessOptions & { readonly argv?: readonly string[] | undefined } = {},
  ): Promise<SandboxProcess> {
    const { argv = ['/bin/sh', '-l'], ...rest } = options
    return spawn(this.#target, argv, { ...rest, terminal: size })
  }

  /** Starts a program in the background: it runs on without this process, and its last output is kept. */
  async start(
    argv: readonly string[],
    options: ProcessOptions & { readonly name?: string | undefined } = {},
  ): Promise<BackgroundProcess> {
    const request = compact<ExecRequest>({ ...requestOf(argv, options), name: options.name })
    const { sandbox, duplex } = this.#target
    const box = new BoxStream(await duplex(options.signal), { op: 'start', sandbox, ...request }, options.signal)
    const { process } = await box.done
    if (!process) throw protocolError('Cannot read the start of a process: it names none')
    return this.process(process.id)
  }

  /** A background process by its id. */
  process(id: number): BackgroundProcess {
    return new BackgroundProcess(this.#target, id, async (process, signal) => {
      await this.#parts.client.call('POST /v0/sandboxes/:id/processes/:process/signal', {
        params: { ...this.#params, process: String(process) },
        body: { signal },
      })
    })
  }

  /** Background processes, those that have ended too. */
  async processes(options: CallOptions = {}): Promise<readonly ProcessView[]> {
    const { client } = this.#parts
    return (await client.call('GET /v0/sandboxes/:id/processes', { params: this.#params, ...options })).processes
  }

  /** Waits until something in the sandbox listens on a TCP port of its loopback. @throws ManyhandsError E_TIMEOUT */
  async waitForPort(port: number, options: PortWaitOptions = {}): Promise<void> {
    const { sandbox, duplex } = this.#target
    const open = { op: 'wait-port' as const, sandbox, port, timeoutMs: options.timeout ?? 30_000 }
    await new BoxStream(await duplex(options.signal), open, options.signal).done
  }

  /** Opens a port of the sandbox on this host's loopback, for HTTP, WebSocket and any TCP. Node only. Close it. @param options.port here. @default any free one */
  port(port: number, options: { readonly port?: number | undefined } = {}): Promise<OpenPort> {
    const { sandbox, duplex } = this.#target
    const dial = async (signal: AbortSignal): Promise<BoxStream> =>
      new BoxStream(await duplex(signal), { op: 'port', sandbox, port }, signal)
    return this.#parts.openPort(dial, options.port ?? 0)
  }

  /** Runs code whose state is kept from call to call, where the image has the language. A throw of the code is a result, no error. */
  async runCode(language: Language, code: string, options: CodeOptions = {}): Promise<CodeOutcome> {
    const { context, timeout, stream, signal } = options
    const { sandbox, duplex } = this.#target
    const box = new BoxStream(
      await duplex(signal),
      {
        op: 'code',
        sandbox,
        language,
        code,
        ...(context === undefined ? {} : { context }),
        ...(timeout === undefined ? {} : { timeoutMs: timeout }),
      },
      signal,
    )
    const texts = { stdout: '', stderr: '' }
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() }
    let left: number = LIMITS.collectedBytes
    for await (const piece of pieces(box)) {
      if (stream) await stream(piece)
      else {
        left -= piece.bytes.length
        if (left < 0) throw tooMuchOutput()
        texts[piece.stream] += decoders[piece.stream].decode(piece.bytes, { stream: true })
      }
    }
    const { results = [], error, end, stateKept = true } = await box.done
    return {
      ok: error === undefined && (end === undefined || end.code === 0),
      ...texts,
      results,
      error,
      end,
      stateKept,
    }
  }

  /** Keeps files and root as they are under a name. @default name one made up */
  snapshot(name?: string, options: CallOptions = {}): Promise<SnapshotView> {
    const body = name === undefined ? {} : { name }
    return this.#parts.client.call('POST /v0/sandboxes/:id/snapshot', { ...this.#waiting(options), body })
  }

  async removeSnapshot(name: string, options: CallOptions = {}): Promise<void> {
    const params = { ...this.#params, name }
    await this.#parts.client.call('POST /v0/sandboxes/:id/snapshots/:name/remove', { params, body: {}, ...options })
  }

  /** Back to a snapshot: every process ends; the id stays. @default snapshot the newest */
  restore(snapshot?: string, options: CallOptions = {}): Promise<SandboxView> {
    const body = snapshot === undefined ? {} : { snapshot }
    return this.#keep(this.#parts.client.call('POST /v0/sandboxes/:id/restore', { ...this.#waiting(options), body }))
  }

  /** A new sandbox with a copy of this one's files. @param options.from a snapshot. @default what is there now */
  async fork(
    options: CallOptions & { readonly name?: string | undefined; readonly from?: string | undefined } = {},
  ): Promise<Sandbox> {
    const { name, from, signal } = options
    const body = compact<{ name?: string; from?: string }>({ name, from })
    const call = { ...this.#waiting({ signal }), body }
    return new Sandbox(this.#parts, await this.#parts.client.call('POST /v0/sandboxes/:id/fork', call))
  }

  /** To another node, with its files and under the same id; its processes and snapshots end. @param to name or id of a node */
  move(to: string, options: CallOptions = {}): Promise<SandboxView> {
    return this.#keep(
      this.#parts.client.call('POST /v0/sandboxes/:id/move', { ...this.#waiting(options), body: { to } }),
    )
  }

  /** Frees what it holds until it is used again. @param depth "pause" freezes, "stop" ends its processes. @default "stop" */
  sleep(depth?: 'pause' | 'stop', options: CallOptions = {}): Promise<SandboxView> {
    const body = depth === undefined ? {} : { depth }
    return this.#keep(this.#parts.client.call('POST /v0/sandboxes/:id/sleep', { ...this.#waiting(options), body }))
  }

  wake(options: CallOptions = {}): Promise<SandboxView> {
    return this.#keep(this.#parts.client.call('POST /v0/sandboxes/:id/wake', { ...this.#waiting(options), body: {} }))
  }

  /** With its files and snapshots. */
  async remove(options: CallOptions = {}): Promise<void> {
    await this.#parts.client.call('POST /v0/sandboxes/:id/remove', { params: this.#params, body: {}, ...options })
  }

  /** Removes it at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove().catch((error: unknown) => {
      if (!(error instanceof ManyhandsError && error.code === 'E_NOT_FOUND')) throw error
    })
  }

  get #params(): { readonly id: string } {
    return { id: this.#view.id }
  }

  #waiting({ signal }: CallOptions) {
    return { params: this.#params, signal, waits: true }
  }

  async #keep(answer: Promise<SandboxView>): Promise<SandboxView> {
    this.#view = await answer
    return this.#view
  }
}

function tooMuchOutput(): ManyhandsError {
  return new ManyhandsError(
    'E_OUTPUT',
    `Cannot collect what the code writes: it is over ${LIMITS.collectedBytes} bytes`,
    {
      hint: 'Take it piece by piece with `stream`',
    },
  )
}

/** `mesh.sandboxes`: those of this node's owner, wherever they are. */
export class Sandboxes {
  readonly #parts: SandboxParts

  constructor(parts: SandboxParts) {
    this.#parts = parts
  }

  /** @throws ManyhandsError E_NO_CANDIDATE, E_GRADE, E_NOT_FOUND (image), E_CONFLICT (name), E_OVERLOADED */
  async create(options: SandboxOptions = {}): Promise<Sandbox> {
    const { key, signal, idle, ...rest } = options
    const body = compact<SandboxRequest>({ ...rest, idleMs: idle })
    const view = await this.#parts.client.call('POST /v0/sandboxes', { body, key: keyOf(key), signal, waits: true })
    return new Sandbox(this.#parts, view)
  }

  /** By id or name. @throws ManyhandsError E_NOT_FOUND */
  async get(id: string, options: CallOptions = {}): Promise<Sandbox> {
    return new Sandbox(
      this.#parts,
      await this.#parts.client.call('GET /v0/sandboxes/:id', { params: { id }, ...options }),
    )
  }

  async list(options: CallOptions = {}): Promise<readonly SandboxView[]> {
    return (await this.#parts.client.call('GET /v0/sandboxes', options)).sandboxes
  }
}
