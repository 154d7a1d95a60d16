import { MeshError } from '../../../../../protocol/errors.ts'
import { LIMITS } from '../../../../../protocol/limits.ts'
import { ByteQueue } from '../byte-queue.ts'
import { type EndCause, needsEvidence, type ProcessEnd, SIGNAL_NUMBERS, verdict } from '../end-verdict.ts'
import { errnoError } from '../errno.ts'
import type { EndEvidence, ExecOptions, GuestEnd, GuestProcess, GuestSignal, OutputChunk } from '../guest-connection.ts'
import { OUTPUT_PIECES } from '../output-pieces.ts'
import type { JobEnd, ShellLane } from './lane.ts'

/** Between two looks at the output of a running job, milliseconds: often at first. */
const FIRST_LOOK_MS = 20
const LAST_LOOK_MS = 250
const FETCH_BYTES = 256 << 10

export interface ShellJobContext {
  readonly lane: Pick<ShellLane, 'run'>
  evidence(): Promise<EndEvidence | undefined>
  readonly before: EndEvidence | undefined
  lostKind(): 'engine-lost' | 'sandbox-lost'
  /** The shell's commands that start it; undefined when it runs already */
  readonly start: string | undefined
  /** Where its outputs are to be read from */
  readonly from: readonly [number, number]
  /** It has ended, and everything was read */
  forget(): void
}

/** A job of the shell. Its outputs are files in the guest, fetched while there is room here; it takes no input but what it began with. */
export class ShellProcess implements GuestProcess {
  readonly id: number
  readonly output: AsyncIterable<OutputChunk>
  readonly ended: Promise<GuestEnd>
  readonly #context: ShellJobContext
  readonly #options: ExecOptions
  readonly #queue: ByteQueue<OutputChunk>
  readonly #offsets: [number, number]
  readonly #exit = Promise.withResolvers<JobEnd | 'lost'>()
  #queued = 0
  #roomy: (() => void) | undefined
  #outputBytes = 0
  #discarding = false
  #cause: EndCause | undefined
  #sent: number | undefined
  #timers: NodeJS.Timeout[] = []
  #nextLook: NodeJS.Timeout | undefined

  constructor(id: number, context: ShellJobContext, options: ExecOptions) {
    this.id = id
    this.#context = context
    this.#options = options
    this.#offsets = [context.from[0], context.from[1]]
    this.#queue = new ByteQueue<OutputChunk>(
      OUTPUT_PIECES,
      (bytes) => this.#taken(bytes),
      () => this.#discard(),
    )
    this.output = this.#queue
    this.ended = this.#live()
  }

  write(): Promise<void> {
    return Promise.reject(new MeshError('E_CONFLICT', 'Cannot write to the command: it takes no input'))
  }

  endInput(): void {
    // it has all its input
  }

  resize(): void {
    // it has no terminal
  }

  signal(name: GuestSignal): void {
    this.#sent = SIGNAL_NUMBERS[name]
    this.#context.lane.run(`mh_kill ${this.id} ${name.slice(3)}`).catch(() => undefined)
  }

  stop(graceMs: number = LIMITS.guestGraceMs): void {
    if (graceMs <= 0) return this.signal('SIGKILL')
    this.signal('SIGTERM')
    this.#later(graceMs, () => this.signal('SIGKILL'))
  }

  release(): void {
    this.#cause ??= 'canceled'
    this.#discard()
    this.#exit.resolve('lost')
  }

  /** From the lane: its job ended. */
  jobEnded(end: JobEnd | 'lost'): void {
    this.#exit.resolve(end)
    // Nothing more can be fetched, whether there is room for it or not.
    if (end === 'lost') this.#discard()
  }

  async #live(): Promise<GuestEnd> {
    const cancel = (): void => this.#endFor('canceled')
    const { signal, timeoutMs } = this.#options
    try {
      if (this.#context.start !== undefined) await this.#context.lane.run(this.#context.start)
      if (timeoutMs !== undefined) this.#later(timeoutMs, () => this.#endFor('timeout'))
      if (signal?.aborted === true) cancel()
      signal?.addEventListener('abort', cancel, { once: true })
      return await this.#judge(await this.#follow())
    } catch {
      return this.#cause === undefined ? { kind: this.#context.lostKind() } : { kind: this.#cause }
    } finally {
      for (const timer of this.#timers) clearTimeout(timer)
      clearTimeout(this.#nextLook)
      signal?.removeEventListener('abort', cancel)
      this.#queue.end()
      this.#context.forget()
    }
  }

  async #follow(): Promise<JobEnd> {
    for (let pause = FIRST_LOOK_MS; ; pause = Math.min(LAST_LOOK_MS, pause * 1.5)) {
      const end = await Promise.race([this.#exit.promise, this.#sleep(pause)])
      if (end === 'lost') throw new Error('lost')
      const looked = end === undefined ? '12' : end.which
      for (const fd of [1, 2] as const) {
        while (looked.includes(String(fd)) && (await this.#fetch(fd)) && this.#cause === undefined);
      }
      if (end !== undefined) return end
    }
  }

  /** Gives whether there may be more now. */
  async #fetch(fd: 1 | 2): Promise<boolean> {
    while (this.#queued >= LIMITS.guestWindowBytes && !this.#discarding) {
      await new Promise<void>((resolve) => {
        this.#roomy = resolve
      })
    }
    const offset = this.#offsets[fd - 1] ?? 0
    const { bytes } = await this.#context.lane.run(
      `tail -c +${offset + 1} "$mh_dir/${this.id}.${fd}" 2>/dev/null | head -c ${FETCH_BYTES}`,
    )
    this.#offsets[fd - 1] = offset + bytes.length
    this.#deliver(fd, bytes)
    return bytes.length === FETCH_BYTES
  }

  #deliver(fd: 1 | 2, bytes: Buffer): void {
    if (this.#discarding || bytes.length === 0) return
    const room = (this.#options.maxOutputBytes ?? Number.POSITIVE_INFINITY) - this.#outputBytes
    const kept = bytes.length > room ? bytes.subarray(0, room) : bytes
    this.#outputBytes += bytes.length
    this.#queued += kept.length
    if (kept.length > 0) this.#queue.push({ fd, bytes: new Uint8Array(kept) })
    if (kept.length < bytes.length) this.#endFor('output')
  }

  #endFor(cause: EndCause): void {
    this.#cause ??= cause
    this.#discard()
    this.stop(cause === 'output' ? 0 : LIMITS.guestGraceMs)
  }

  #taken(bytes: number): void {
    this.#queued -= bytes
    this.#roomy?.()
  }

  #discard(): void {
    this.#discarding = true
    this.#roomy?.()
  }

  #sleep(ms: number): Promise<undefined> {
    return new Promise((resolve) => {
      this.#nextLook = setTimeout(() => resolve(undefined), ms)
    })
  }

  #later(ms: number, work: () => void): void {
    this.#timers.push(setTimeout(work, Math.min(ms, 0x7fff_ffff)))
  }

  async #judge({ status, which }: JobEnd): Promise<GuestEnd> {
    if (which.startsWith('E')) {
      const { code, message } = errnoError(Number(which.slice(1)), `Cannot run "${this.#options.argv[0] ?? ''}"`)
      if (code === 'E_DISK') return { kind: 'disk' }
      return { kind: 'not-started', code: code === 'E_FORBIDDEN' ? code : 'E_NOT_FOUND', message }
    }
    // a shell says 128 + signal; only of a signal that was sent from here it is certain that it was one
    const end: ProcessEnd =
      this.#sent !== undefined && status === 128 + this.#sent
        ? { kind: 'signal', number: this.#sent }
        : { kind: 'exit', code: status }
    const ask = this.#cause === undefined && this.#sent === undefined && needsEvidence(end)
    return verdict(end, this.#cause, this.#context.before, ask ? await this.#context.evidence() : undefined)
  }
}
