import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import { ByteQueue, keepBytes } from '../byte-queue.ts'
import { type EndCause, needsEvidence, type ProcessEnd, SIGNAL_NUMBERS, verdict } from '../end-verdict.ts'
import { errnoError } from '../errno.ts'
import type {
  EndEvidence,
  ExecOptions,
  GuestEnd,
  GuestProcess,
  GuestSignal,
  OutputChunk,
  TerminalSize,
} from '../guest-connection.ts'
import { OUTPUT_PIECES } from '../output-pieces.ts'
import { clampSize } from './bodies.ts'
import type { Channel, ChannelEnd, ChannelHandler } from './link.ts'
import { END_HOW, TO_GUEST } from './wire.ts'

/** After SIGKILL to everything, how long to wait for the helper to say so, milliseconds. */
const KILL_WAIT_MS = 10_000

/** What a process needs of its connection. */
export interface ProcessContext {
  /** Opens its channel */
  open(handler: ChannelHandler): Channel
  /** The counters as they were last seen: before this process */
  evidenceBefore(): EndEvidence | undefined
  evidenceNow(): Promise<EndEvidence | undefined>
  lostKind(): 'engine-lost' | 'sandbox-lost'
}

export class HelperProcess implements GuestProcess {
  readonly id: number
  readonly output: AsyncIterable<OutputChunk>
  readonly ended: Promise<GuestEnd>
  /** Resolves with whether it was opened: always for a process that is started, and for one attached to, when it exists */
  readonly opened: Promise<boolean>
  readonly #channel: Channel
  readonly #context: ProcessContext
  readonly #queue: ByteQueue<OutputChunk>
  readonly #before: EndEvidence | undefined
  readonly #maxOutput: number
  readonly #program: string
  #resolveEnd: (end: GuestEnd) => void = () => {}
  #resolveOpened: (opened: boolean) => void = () => {}
  #outputBytes = 0
  #discarding = false
  #inputOpen: boolean
  #cause: EndCause | undefined
  #timers: NodeJS.Timeout[] = []
  #stopSignal: (() => void) | undefined

  constructor(context: ProcessContext, options: ExecOptions) {
    this.#context = context
    this.#before = context.evidenceBefore()
    this.#maxOutput = options.maxOutputBytes ?? Number.POSITIVE_INFINITY
    this.#program = options.argv[0] ?? ''
    this.#inputOpen = options.stdin !== undefined || options.pty !== undefined
    this.ended = new Promise((resolve) => {
      this.#resolveEnd = resolve
    })
    this.opened = new Promise((resolve) => {
      this.#resolveOpened = resolve
    })
    this.#queue = new ByteQueue<OutputChunk>(
      OUTPUT_PIECES,
      (bytes) => this.#channel.took(bytes),
      () => this.#discard(),
    )
    this.output = this.#queue
    this.#channel = context.open({
      inPieces: true,
      onOpened: () => this.#resolveOpened(true),
      onOut: (fd, body) => this.#onOut(fd, body),
      onEnd: (end) => this.#onEnd(end),
    })
    this.#channel.active = !(options.passive ?? options.background ?? false)
    this.id = this.#channel.id
    this.#arm(options)
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#inputOpen || !(await this.#channel.write(bytes))) {
      throw new MeshError('E_CONFLICT', 'Cannot write to the command: it takes no input, or has ended')
    }
  }

  endInput(): void {
    if (!this.#inputOpen) return
    this.#inputOpen = false
    this.#channel.finish()
  }

  resize(size: TerminalSize): void {
    const body = Buffer.alloc(4)
    body.writeUInt16LE(clampSize(size.columns), 0)
    body.writeUInt16LE(clampSize(size.rows), 2)
    this.#channel.send(TO_GUEST.resize, 0, body)
  }

  signal(name: GuestSignal): void {
    this.#channel.send(TO_GUEST.signal, SIGNAL_NUMBERS[name])
  }

  stop(graceMs: number = LIMITS.guestGraceMs): void {
    if (graceMs <= 0) return this.#kill()
    this.#channel.send(TO_GUEST.tree, SIGNAL_NUMBERS.SIGTERM)
    // a stopped process sees the signal only when it goes on
    this.#channel.send(TO_GUEST.tree, SIGNAL_NUMBERS.SIGCONT)
    this.#later(graceMs, () => this.#kill())
  }

  release(): void {
    if (!this.#channel.over) this.#cause ??= 'canceled'
    this.#channel.close()
  }

  #kill(): void {
    this.#channel.send(TO_GUEST.tree, SIGNAL_NUMBERS.SIGKILL)
    this.#later(KILL_WAIT_MS, () => this.#channel.close())
  }

  #arm(options: ExecOptions): void {
    if (options.timeoutMs !== undefined) this.#later(options.timeoutMs, () => this.#endFor('timeout'))
    const { signal } = options
    if (signal === undefined) return
    const cancel = (): void => this.#endFor('canceled')
    this.#stopSignal = () => signal.removeEventListener('abort', cancel)
    if (signal.aborted) cancel()
    else signal.addEventListener('abort', cancel, { once: true })
  }

  #endFor(cause: EndCause): void {
    this.#cause ??= cause
    // whoever is told that it ends does not read any more; what is in the pipes must not hold it back
    this.#discard()
    if (cause === 'output') this.#kill()
    else this.stop()
  }

  #later(ms: number, work: () => void): void {
    this.#timers.push(setTimeout(work, Math.min(ms, 0x7fff_ffff)))
  }

  /** What comes from now on is dropped. What is queued may have used up all credit, so the guest is given as much again, once. */
  #discard(): void {
    if (this.#discarding) return
    this.#discarding = true
    this.#channel.grant(LIMITS.guestWindowBytes)
  }

  #onOut(fd: number, body: Buffer): void {
    const room = this.#maxOutput - this.#outputBytes
    this.#outputBytes += body.length
    if (this.#discarding) return this.#channel.took(body.length)
    const kept = body.length > room ? body.subarray(0, room) : body
    if (kept.length > 0) this.#queue.push({ fd: fd === 2 ? 2 : 1, bytes: keepBytes(kept) })
    if (kept.length < body.length) this.#endFor('output')
  }

  #onEnd(end: ChannelEnd): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#stopSignal?.()
    this.#inputOpen = false
    this.#resolveOpened(end.how !== END_HOW.failed)
    this.#queue.end()
    void this.#judge(end).then(this.#resolveEnd)
  }

  async #judge(end: ChannelEnd): Promise<GuestEnd> {
    if (end.how === 'lost')
      return this.#cause === undefined ? { kind: this.#context.lostKind() } : { kind: this.#cause }
    if (end.how === END_HOW.notStarted || end.how === END_HOW.failed) return this.#notStarted(end.number)
    if (end.how === END_HOW.full) return { kind: 'pids' }
    const process: ProcessEnd =
      end.how === END_HOW.signal ? { kind: 'signal', number: end.number } : { kind: 'exit', code: end.number }
    const ask = this.#cause === undefined && needsEvidence(process)
    const after = ask ? await this.#context.evidenceNow() : undefined
    return verdict(process, this.#cause, this.#before, after)
  }

  #notStarted(errno: number): GuestEnd {
    const { code, message } = errnoError(errno, `Cannot run "${this.#program}"`)
    if (code === 'E_PIDS') return { kind: 'pids' }
    if (code === 'E_MEMORY') return { kind: 'memory' }
    const known = code === 'E_NOT_FOUND' || code === 'E_FORBIDDEN' ? code : 'E_BAD_REQUEST'
    return { kind: 'not-started', code: known, message }
  }
}
