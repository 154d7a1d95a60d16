import { randomBytes } from 'node:crypto'
import { MeshError } from '../../../../../protocol/errors.ts'
import type { GuestTransport } from '../guest-connection.ts'
import { PAYLOAD_BYTES, PRELUDE } from './program.ts'

/** Most bytes of one answer; requests ask for less. */
const MAX_ANSWER = 1 << 20
/** Most bytes of an earlier conversation before the answer to the first request. */
const MAX_STALE = 64 << 20
/** A line of standard error; longer ones are none of ours. */
const MAX_EVENT = 512
/** The status of an answer, with room to spare. */
const STATUS_BYTES = 16
/** Requests that wait. */
const MAX_WAITING = 4096

export interface StepResult {
  readonly status: number
  readonly bytes: Buffer
}

interface Step {
  readonly id: string
  readonly resolve: (result: StepResult) => void
  readonly reject: (error: Error) => void
}

export interface JobEnd {
  readonly id: number
  readonly status: number
  /** Which outputs hold anything, or "E" and an errno that kept it from starting */
  readonly which: string
}

/** Requests to the shell, answered in order. See `program.ts`. */
export class ShellLane {
  /** Whether bytes may follow a request; known once it has begun */
  takesPayload = false
  readonly #transport: GuestTransport
  readonly #token: string
  readonly #onEnd: (end: JobEnd) => void
  readonly #onOver: (error: Error) => void
  #steps: Step[] = []
  /** What came and is no answer yet: the first `#have` bytes of it */
  #kept: Buffer = Buffer.alloc(0)
  #have = 0
  /** Up to here no mark of the next answer begins */
  #looked = 0
  #stale = 0
  #begun = false
  #events = ''
  /** Of this conversation: an answer to an earlier one is none to ours */
  readonly #name = randomBytes(8).toString('hex')
  #serial = 0
  #over: Error | undefined

  constructor(transport: GuestTransport, token: string, onEnd: (end: JobEnd) => void, onOver: (error: Error) => void) {
    this.#transport = transport
    this.#token = token
    this.#onEnd = onEnd
    this.#onOver = onOver
    transport.onData((bytes, fd) => {
      if (this.#over !== undefined) return
      try {
        if (fd === 1) this.#takeOutput(bytes)
        else this.#takeEvents(bytes)
      } catch (error) {
        this.lose(error instanceof Error ? error : new Error(String(error)))
      }
    })
    transport.onEnd((error) => this.lose(error ?? new Error('The stream to the sandbox ended')))
  }

  /** The first request of a conversation. @throws MeshError E_SANDBOX_LOST, E_GUEST_FEATURE where it has no folder to write to */
  async begin(signal: AbortSignal): Promise<void> {
    const late = (): void =>
      this.lose(new MeshError('E_SANDBOX_LOST', 'The agent in the sandbox did not answer in time'))
    if (signal.aborted) late()
    signal.addEventListener('abort', late, { once: true })
    try {
      // what is left of a line that was cut ends here
      this.#transport.write(Buffer.alloc(PAYLOAD_BYTES + 1, '\n'))
      const { status, bytes } = await this.#ask(PRELUDE, this.#name)
      this.#begun = true
      this.takesPayload = bytes.subarray(-3).toString('latin1') === 'abc'
      if (status !== 0)
        throw new MeshError('E_GUEST_FEATURE', 'The agent in this sandbox has no folder it may write to')
    } finally {
      signal.removeEventListener('abort', late)
    }
  }

  /** @throws MeshError E_SANDBOX_LOST, E_OVERLOADED */
  run(script: string, payload?: Uint8Array): Promise<StepResult> {
    this.#serial += 1
    return this.#ask(script, `${this.#name}.${this.#serial}`, payload)
  }

  lose(error: Error): void {
    if (this.#over !== undefined) return
    this.#over = error
    this.#transport.close()
    for (const step of this.#steps) step.reject(this.#lost())
    this.#steps = []
    this.#onOver(error)
  }

  #lost(): MeshError {
    if (this.#over instanceof MeshError) return this.#over
    return new MeshError('E_SANDBOX_LOST', 'The sandbox, or the agent in it, is gone', { cause: this.#over })
  }

  #ask(script: string, id: string, payload?: Uint8Array): Promise<StepResult> {
    return new Promise((resolve, reject) => {
      if (this.#over !== undefined) return reject(this.#lost())
      if (this.#steps.length >= MAX_WAITING) {
        return reject(
          new MeshError('E_OVERLOADED', 'The agent in the sandbox has too much to do', { retryAfterMs: 100 }),
        )
      }
      this.#steps.push({ id, resolve, reject })
      this.#transport.write(Buffer.from(`${this.#token} ${id} ${script} .\n`))
      if (payload !== undefined) this.#transport.write(payload)
    })
  }

  #takeOutput(bytes: Uint8Array): void {
    this.#keep(bytes)
    let all = this.#kept.subarray(0, this.#have)
    for (let step = this.#steps[0]; step !== undefined; step = this.#steps[0]) {
      const mark = Buffer.from(`\0${this.#token} ${step.id} `)
      const at = all.indexOf(mark, this.#looked)
      const end = at < 0 ? -1 : all.indexOf(10, at + mark.length)
      if (at >= 0 && end < 0 && all.length > at + mark.length + STATUS_BYTES)
        throw new Error('An answer of the guest does not end')
      if (end < 0) {
        this.#looked = Math.max(0, at < 0 ? all.length - mark.length + 1 : at)
        break
      }
      const status = Number(all.toString('latin1', at + mark.length, end))
      const answer = all.subarray(this.#begun ? this.#afterStale(all, at) : Math.max(0, at - 3), at)
      all = all.subarray(end + 1)
      this.#looked = 0
      this.#steps.shift()
      step.resolve({ status: Number.isInteger(status) ? status : 5, bytes: answer })
    }
    this.#bound(all)
  }

  /** With room for as much again, so that many small pieces are not copied for each of them. */
  #keep(bytes: Uint8Array): void {
    const have = this.#have + bytes.length
    if (have > this.#kept.length) {
      const larger = Buffer.allocUnsafe(2 * have)
      larger.set(this.#kept.subarray(0, this.#have))
      this.#kept = larger
    }
    this.#kept.set(bytes, this.#have)
    this.#have = have
  }

  /** Where the answer begins: an earlier conversation's last request may have been answered meanwhile. */
  #afterStale(all: Buffer, end: number): number {
    const at = end === 0 ? -1 : all.lastIndexOf(`\0${this.#token} `, end - 1)
    return at < 0 ? 0 : Math.min(end, all.indexOf(10, at) + 1)
  }

  #bound(rest: Buffer): void {
    // What was answered is its asker's
    if (rest.length < this.#have) this.#only(rest)
    if (this.#begun && this.#have > MAX_ANSWER + 256) throw new Error('An answer of the guest is too long')
    if (this.#begun || this.#have < 4096) return
    // only its end can hold the beginning of the first answer
    this.#stale += this.#have - 256
    if (this.#stale > MAX_STALE) throw new Error('The agent does not answer')
    this.#only(rest.subarray(-256))
  }

  #only(rest: Buffer): void {
    this.#kept = Buffer.from(rest)
    this.#have = rest.length
    this.#looked = 0
  }

  #takeEvents(bytes: Uint8Array): void {
    const lines = (this.#events + Buffer.from(bytes).toString('latin1')).split('\n')
    this.#events = (lines.pop() ?? '').slice(-MAX_EVENT)
    for (const line of lines) {
      const at = line.lastIndexOf(`\0${this.#token} end `)
      const found = at < 0 ? null : /^(\d{1,10}) (\d{1,3}) (-|[12]{1,2}|E\d{1,3})$/.exec(line.slice(at + 38))
      if (found === null) continue
      this.#onEnd({ id: Number(found[1]), status: Number(found[2]), which: found[3] ?? '-' })
    }
  }
}
