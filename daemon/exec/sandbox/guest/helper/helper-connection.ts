import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import { errnoError } from '../errno.ts'
import type {
  BackgroundView,
  ByteDuplex,
  EndEvidence,
  ExecOptions,
  GuestConnection,
  GuestOptions,
  GuestPort,
  GuestProcess,
  GuestTransport,
} from '../guest-connection.ts'
import { noSuchProcess } from '../no-such-process.ts'
import { decodeJob, encodeExec } from './bodies.ts'
import { moveToSocket } from './direct-socket.ts'
import { HelperFiles } from './helper-files.ts'
import { HelperProcess, type ProcessContext } from './helper-process.ts'
import { dialPort, listenOnPort } from './helper-socket.ts'
import { type ChannelEnd, type ChannelHandler, Link, lostError } from './link.ts'
import { END_HOW, EXEC_FLAGS, TO_GUEST, u32 } from './wire.ts'

export class HelperConnection implements GuestConnection {
  readonly features = { pty: true, ports: true, streamInput: true, watch: true, tree: true } as const
  readonly files: HelperFiles
  readonly closed: Promise<Error | undefined>
  readonly #link: Link
  readonly #options: GuestOptions
  #evidence: EndEvidence | undefined
  #lostKind: 'engine-lost' | 'sandbox-lost' = 'sandbox-lost'

  private constructor(link: Link, closed: Promise<Error | undefined>, options: GuestOptions) {
    this.#link = link
    this.#options = options
    this.closed = closed
    this.files = new HelperFiles(link)
  }

  /** @throws MeshError E_SANDBOX_LOST when there is no answer before the signal */
  static async open(transport: GuestTransport, options: GuestOptions, signal: AbortSignal): Promise<HelperConnection> {
    let over = (_error: Error): void => {}
    const closed = new Promise<Error | undefined>((resolve) => {
      over = resolve
    })
    let link = await Link.start(transport, options.token, (error) => over(error), signal)
    const direct =
      options.sharedFolder === undefined ? undefined : await moveToSocket(link, transport, options.sharedFolder)
    if (direct !== undefined) {
      const next = direct === 'late' ? transport : direct
      link = await Link.start(next, options.token, (error) => over(error), signal)
    }
    const connection = new HelperConnection(link, closed, options)
    connection.#evidence = await options.evidence?.()
    return connection
  }

  get activity(): { active: number; lastAt: number } {
    return this.#link.activity
  }

  hold(): () => void {
    return this.#link.hold()
  }

  exec(options: ExecOptions): GuestProcess {
    const streamed = options.stdin === 'stream' || options.pty !== undefined
    const input = options.stdin !== undefined && options.stdin !== 'stream' ? options.stdin : undefined
    const body = encodeExec({
      credit: LIMITS.guestWindowBytes,
      size: options.pty,
      name: Buffer.from(options.name ?? '').toString('utf8', 0, LIMITS.nameBytes),
      cwd: options.cwd ?? this.#options.cwd,
      argv: options.argv,
      env: { ...this.#options.env, ...options.env },
    })
    const flags =
      (options.pty === undefined ? 0 : EXEC_FLAGS.pty) |
      (options.background === true ? EXEC_FLAGS.background : 0) |
      (streamed || input !== undefined ? EXEC_FLAGS.input : 0)
    const context = this.#context((handler) =>
      this.#link.open(TO_GUEST.exec, flags, body, handler, LIMITS.guestWindowBytes),
    )
    const process = new HelperProcess(context, options)
    if (input !== undefined) void feed(process, input, !streamed)
    return process
  }

  async processes(): Promise<readonly BackgroundView[]> {
    const found: BackgroundView[] = []
    await this.#ask(TO_GUEST.jobs, 'Cannot list the processes', (bytes) => found.push(decodeJob(bytes)))
    return found
  }

  async attach(id: number): Promise<GuestProcess> {
    const open = (handler: ChannelHandler): ReturnType<Link['open']> =>
      this.#link.open(TO_GUEST.attach, 0, u32(LIMITS.guestWindowBytes, id), handler, LIMITS.guestWindowBytes)
    const process = new HelperProcess(this.#context(open), { argv: [`process ${id}`], stdin: 'stream', passive: true })
    if (await process.opened) return process
    throw noSuchProcess(id)
  }

  killAll(): Promise<void> {
    return this.#ask(TO_GUEST.killAll, 'Cannot end the processes')
  }

  dial(port: number, options: { readonly signal?: AbortSignal } = {}): Promise<ByteDuplex> {
    return dialPort(this.#link, port, options.signal)
  }

  listen(port: number, onConnection: (connection: ByteDuplex) => void): Promise<GuestPort> {
    return listenOnPort(this.#link, port, onConnection)
  }

  ping(): Promise<void> {
    return this.#link.ping()
  }

  lost(reason: 'engine-lost' | 'sandbox-lost', error?: Error): void {
    this.#lostKind = reason
    const code = reason === 'engine-lost' ? 'E_ENGINE_LOST' : 'E_SANDBOX_LOST'
    this.#link.lose(error ?? new MeshError(code, 'The connection to the sandbox was given up'))
  }

  close(): void {
    this.lost('sandbox-lost')
  }

  #context(open: ProcessContext['open']): ProcessContext {
    return {
      open,
      evidenceBefore: () => this.#evidence,
      evidenceNow: async () => {
        const now = await this.#options.evidence?.().catch(() => undefined)
        if (now !== undefined) this.#evidence = now
        return now
      },
      lostKind: () => this.#lostKind,
    }
  }

  #ask(type: number, doing: string, onOut: (bytes: Buffer) => void = () => {}): Promise<void> {
    return new Promise((resolve, reject) => {
      const handler = {
        onOut: (_fd: number, bytes: Buffer): void => onOut(bytes),
        onEnd(end: ChannelEnd): void {
          if (end.how === END_HOW.done) resolve()
          else reject(end.how === 'lost' ? lostError(end.error) : errnoError(end.number, doing))
        },
      }
      this.#link.open(type, 0, u32(), handler, LIMITS.guestWindowBytes)
    })
  }
}

/** A command that does not read its input is no failure of ours. */
async function feed(process: HelperProcess, input: Uint8Array | string, last: boolean): Promise<void> {
  try {
    await process.write(typeof input === 'string' ? Buffer.from(input) : input)
    if (last) process.endInput()
  } catch {
    // it ended first
  }
}
