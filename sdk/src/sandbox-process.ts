/** Commands in a sandbox: run to their end, held while they run, or left in the background. */
import type { BoxDone, ExecEnd, ExecRequest, TerminalSize } from '../../protocol/api.ts'
import { type BoxSource, BoxStream } from './box-stream.ts'
import type { CallOptions } from './call-options.ts'
import type { DuplexSource } from './duplex.ts'
import { ManyhandsError, protocolError } from './errors.ts'
import { LIMITS } from './limits.ts'
import { compact } from './program.ts'

/** Where the operations of one sandbox go. */
export interface BoxTarget {
  readonly duplex: DuplexSource
  /** Id of the sandbox */
  readonly sandbox: string
}

export interface OutputPiece {
  readonly stream: 'stdout' | 'stderr'
  readonly bytes: Uint8Array
}

export interface ProcessOptions {
  /** Folder to run in. @default the workspace */
  readonly cwd?: string | undefined
  /** Added to the sandbox's own environment; the guest sees it */
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Milliseconds until it is ended. @default none */
  readonly timeout?: number | undefined
  /** Ends it; `exec` then rejects with the signal's reason. @default none */
  readonly signal?: AbortSignal | undefined
}

export interface ExecOptions extends ProcessOptions {
  /** What it reads. A source that throws ends the command, and `exec` rejects with what it threw. @default nothing */
  readonly stdin?: BoxSource | undefined
  /** Called with each piece as it comes; while a returned promise is open, the command waits. Then the result holds no output. @default collected */
  readonly stream?: ((piece: OutputPiece) => void | Promise<void>) | undefined
  /** It is ended beyond this many bytes of output. @default 16 MiB when collected, none when streamed */
  readonly maxOutputBytes?: number | undefined
}

export interface ExecResult {
  /** It ended by itself with code 0 */
  readonly ok: boolean
  /** As a shell tells it: the code; 128 and the number of a signal; 124 for a timeout; 126, 127 for what could not be started; 137 when ended for a limit */
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
  readonly end: ExecEnd
}

export interface SpawnOptions extends ProcessOptions {
  /** A terminal of this size instead of pipes: output comes on one stream. @default none */
  readonly terminal?: TerminalSize | undefined
  /** Whether `write` will be used. @default true */
  readonly stdin?: boolean | undefined
}

const SIGNALS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGSYS: 31,
}

/** A command while it runs. What is not read of its output waits in the sandbox. */
export class SandboxProcess {
  readonly #stream: BoxStream
  #output: AsyncGenerator<OutputPiece, void, undefined> | undefined

  constructor(stream: BoxStream) {
    this.#stream = stream
  }

  /** Both streams in the order they came, once. Leaving the loop early ends the command. */
  output(): AsyncGenerator<OutputPiece, void, undefined> {
    this.#output ??= pieces(this.#stream)
    return this.#output
  }

  /** Resolves when there is room for more. @throws ManyhandsError once it has ended */
  write(input: string | Uint8Array): Promise<void> {
    return this.#stream.write(typeof input === 'string' ? new TextEncoder().encode(input) : input)
  }

  /** No more input. */
  endInput(): void {
    this.#stream.finish()
  }

  /** To its whole process group, e.g. "SIGINT". */
  kill(signal = 'SIGTERM'): void {
    this.#stream.control({ signal })
  }

  resize(size: TerminalSize): void {
    this.#stream.control({ resize: size })
  }

  /** Ends it and its descendants. */
  cancel(): void {
    this.#stream.cancel()
  }

  /** Read the output too, or a command that writes much never ends. @throws ManyhandsError when it was refused or the sandbox was lost before */
  get ended(): Promise<ExecEnd> {
    return this.#stream.done.then(endOf)
  }
}

export async function spawn(
  target: BoxTarget,
  argv: readonly string[],
  options: SpawnOptions,
): Promise<SandboxProcess> {
  const request = { ...requestOf(argv, options), terminal: options.terminal, stdin: options.stdin ?? true }
  return new SandboxProcess(await openExec(target, compact<ExecRequest>(request), options.signal))
}

export async function exec(target: BoxTarget, argv: readonly string[], options: ExecOptions): Promise<ExecResult> {
  const { stdin, stream, signal } = options
  const maxOutputBytes = options.maxOutputBytes ?? (stream ? undefined : LIMITS.collectedBytes)
  const request = { ...requestOf(argv, options), stdin: stdin === undefined ? undefined : true, maxOutputBytes }
  const box = await openExec(target, compact<ExecRequest>(request), signal)
  // Input of a command that has ended is of no use to anyone, so nobody waits for it
  if (stdin !== undefined) void box.pump(stdin)
  const collected: Record<OutputPiece['stream'], Uint8Array[]> = { stdout: [], stderr: [] }
  let left = maxOutputBytes ?? 0
  for await (const piece of pieces(box)) {
    if (stream) await stream(piece)
    else {
      left -= piece.bytes.length
      // The node of the sandbox, which may be another's, was to end the command before
      if (left < 0) throw protocolError('Cannot collect the output: more came than was asked for')
      collected[piece.stream].push(piece.bytes)
    }
  }
  const end = endOf(await box.done)
  const exitCode = exitCodeOf(end)
  return { ok: exitCode === 0, exitCode, stdout: text(collected.stdout), stderr: text(collected.stderr), end }
}

async function openExec(target: BoxTarget, request: ExecRequest, signal: AbortSignal | undefined): Promise<BoxStream> {
  return new BoxStream(await target.duplex(signal), { op: 'exec', sandbox: target.sandbox, ...request }, signal)
}

export function requestOf(argv: readonly string[], options: ProcessOptions) {
  const { cwd, env, timeout } = options
  return { argv, cwd, env, timeoutMs: timeout }
}

export async function* pieces(box: BoxStream): AsyncGenerator<OutputPiece, void, undefined> {
  for await (const { lane, bytes } of box.output()) yield { stream: lane === 1 ? 'stdout' : 'stderr', bytes }
}

/** As a shell would tell it. */
export function exitCodeOf(end: ExecEnd): number {
  switch (end.reason) {
    case 'exit':
      return end.code ?? 0
    case 'signal':
      return 128 + (SIGNALS[end.signal ?? ''] ?? 0)
    case 'not-started':
      return end.message?.includes('permission') ? 126 : 127
    case 'timeout':
      return 124
    case 'canceled':
      return 130
    default:
      return 137
  }
}

export function endOf(done: BoxDone): ExecEnd {
  if (done.end) return done.end
  throw protocolError('Cannot read the end of a command: it names none')
}

function text(parts: readonly Uint8Array[]): string {
  const decoder = new TextDecoder()
  return parts.map((part) => decoder.decode(part, { stream: true })).join('') + decoder.decode()
}

export interface LogOptions {
  /** Go on until the process ends. @default false */
  readonly follow?: boolean | undefined
  readonly signal?: AbortSignal | undefined
}

/** A process that runs on without this one; its last output is kept. */
export class BackgroundProcess {
  readonly #target: BoxTarget
  readonly #kill: (process: number, signal: string) => Promise<void>
  readonly id: number

  constructor(target: BoxTarget, id: number, kill: (process: number, signal: string) => Promise<void>) {
    this.#target = target
    this.id = id
    this.#kill = kill
  }

  /** What is kept of its output, then, with `follow`, what comes. */
  async *logs(options: LogOptions = {}): AsyncGenerator<OutputPiece, void, undefined> {
    yield* pieces(await this.#open(options.follow ?? false, options.signal))
  }

  /** Waits for its end, reading its output to nowhere. */
  async ended({ signal }: CallOptions = {}): Promise<ExecEnd> {
    const box = await this.#open(true, signal)
    for await (const _ of box.output());
    return endOf(await box.done)
  }

  /** Waits until it has written a line with this text, now or before, and gives the line. @throws ManyhandsError E_TIMEOUT, E_CONFLICT when it ended without */
  async waitForLog(
    line: string,
    options: { readonly timeout?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<string> {
    const { sandbox, duplex } = this.#target
    const { timeout, signal } = options
    const open = { op: 'wait-log' as const, sandbox, process: this.id, text: line }
    const box = new BoxStream(
      await duplex(signal),
      timeout === undefined ? open : { ...open, timeoutMs: timeout },
      signal,
    )
    const done = await box.done
    if (done.line === undefined) throw new ManyhandsError('E_CONFLICT', 'The process ended without such a line')
    return done.line
  }

  /** To its whole process group. @default "SIGTERM" */
  kill(signal = 'SIGTERM'): Promise<void> {
    return this.#kill(this.id, signal)
  }

  async #open(follow: boolean, signal: AbortSignal | undefined): Promise<BoxStream> {
    const { sandbox, duplex } = this.#target
    return new BoxStream(await duplex(signal), { op: 'logs', sandbox, process: this.id, follow }, signal)
  }
}
