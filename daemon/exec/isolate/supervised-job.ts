import { MeshError } from '../../../protocol/errors.ts'
import { type JobFailure, LINE_END_BYTES, type Usage } from '../../../protocol/job.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import type { JobHooks, JobSpec, LogLine } from '../executor.ts'
import { type Frame, FrameError, FROM_HOST, TO_HOST } from './frame.ts'
import type { HostProcess, HostTenant } from './host-process.ts'
import { parseFailure, parseReport, REPORT_BYTES } from './host-report.ts'
import { encodeJob } from './job-header.ts'
import { type Cause, type Evidence, type HostDeath, neighbourVerdict, type Verdict, verdict } from './verdict.ts'

/** After asking a host to end a job, how long until the whole process is ended instead, milliseconds. */
const END_GRACE_MS = 150
/** The same where nothing is wrong with the job, only its process is busy: ending that would make all its neighbours begin anew. */
const CLOSE_GRACE_MS = 5_000
const CANCEL_GRACE_MS = 1_000
/** Host calls of one job that may be open at once. */
const OPEN_CALLS = 4096
/** Calls of a session that may be open at once, and characters of their inputs: a process that does not read leaves them all here. */
const OPEN_REQUESTS = 65_536
const OPEN_INPUT_CHARS = 256 << 20

const LEVELS: readonly LogLine['level'][] = ['debug', 'info', 'log', 'warn', 'error']

export type Reply = { readonly ok: true; readonly output: string } | { readonly ok: false; readonly error: JobFailure }

/** What the owner of a job is told, and tells. */
export interface JobEvents {
  /** The clock of `onTick` */
  now(): number
  /** The session's program is loaded */
  onLoaded?(): void
  onReply?(id: number, reply: Reply): void
  /** The host died for another's fault or an unknown one, and nothing of this job was seen outside: start it again */
  onAgain(solo: boolean): void
  /** Once, last */
  onDone(error: JobFailure | undefined, usage: Usage): void
}

interface OpenRequest {
  readonly id: number
  readonly chars: number
  readonly since: number
}

let lastId = 0

/**
 * One job from the daemon's side, over the life of one or more host processes. Keeps the job's limits, whatever the process says:
 * counts bytes and calls, keeps the clock, and asks the host, then the kernel, to end what exceeds them.
 *
 * A run is answered by `reply` and then `ended`; a session by `loaded`, replies, and `ended` once it was told to end.
 */
export class SupervisedJob implements HostTenant {
  readonly id: number
  readonly session: boolean
  readonly spec: JobSpec
  readonly #input: string
  readonly #hooks: JobHooks
  readonly #events: JobEvents
  /** Made by the first host call: most jobs make none */
  #calls: AbortController | undefined
  #host: HostProcess | undefined
  #cause: Cause | undefined
  #accused: Evidence['accused']
  #done = false
  /** Of calls that have no answer when it is done */
  #failure: JobFailure = LOST
  #loaded = false
  #timer: NodeJS.Timeout | undefined
  #startedAt = performance.now()
  #output: string | undefined
  #reported: JobFailure | undefined
  #requests = new Map<number, OpenRequest>()
  #openChars = 0
  #nextRequest = 1
  #openCalls = new Set<number>()
  #cpuMs = 0
  #peakBytes = 0
  #outputBytes = 0
  #logBytes = 0
  #logLines = 0
  /** Lines of this attempt that an earlier attempt has delivered */
  #skipLines = 0
  #hostCalls = 0
  #hostCallBytes = 0
  #requestCount = 0

  constructor(spec: JobSpec, input: string | undefined, hooks: JobHooks, events: JobEvents) {
    lastId = (lastId % 0xffff_ffff) + 1
    this.id = lastId
    this.spec = spec
    this.session = input === undefined
    this.#input = input ?? ''
    this.#hooks = hooks
    this.#events = events
    hooks.signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  get memoryBytes(): number {
    return this.spec.limits.memoryBytes
  }

  get cpuMs(): number {
    return this.spec.limits.cpuMs
  }

  get done(): boolean {
    return this.#done
  }

  start(host: HostProcess): void {
    this.#host = host
    this.#startedAt = performance.now()
    this.#skipLines = this.#logLines
    host.load(this, this.session, encodeJob(this.spec, this.#input))
    this.#timer = setTimeout(() => this.end('deadline'), this.spec.limits.wallMs)
  }

  request(id: number, input: string): void {
    const isFull = this.#requests.size >= OPEN_REQUESTS || this.#openChars + input.length > OPEN_INPUT_CHARS
    if (this.#done || isFull) {
      this.#events.onReply?.(id, { ok: false, error: this.#done ? this.#failure : TOO_MANY })
      return
    }
    const ref = this.#nextRequest
    this.#nextRequest = (ref % 0xffff_ffff) + 1
    this.#requests.set(ref, { id, chars: input.length, since: this.#events.now() })
    this.#openChars += input.length
    // While it ends nobody takes it: it fails with the others, and for their reason
    if (this.#cause !== undefined) return
    this.#requestCount += 1
    this.#host?.send(TO_HOST.call, this.id, ref, 0, input)
  }

  /** Ends it politely first, so that its neighbours in the process live on. Without a cause: a session's normal end. */
  end(cause: Cause | undefined): void {
    if (this.#done) return
    const first = this.#cause === undefined
    this.#cause ??= cause
    if (this.#host === undefined) return this.#finish(verdict(this.#evidence()))
    if (cause === 'memory') return this.#host.kill()
    if (!first) return
    clearTimeout(this.#timer)
    this.#host.send(TO_HOST.end, this.id)
    const grace = cause === undefined ? CLOSE_GRACE_MS : cause === 'canceled' ? CANCEL_GRACE_MS : END_GRACE_MS
    this.#timer = setTimeout(() => {
      // a session's end that is not answered is a process that does not answer
      this.#cause ??= 'closing'
      this.#host?.kill()
    }, grace)
  }

  /** It will not be started, for a reason that is not its own. */
  refuse(error: MeshError): void {
    const { code, message, hint } = error
    this.#finish({ kind: 'failed', error: { code, message, ...(hint === undefined ? {} : { hint }) } })
  }

  // --- limits seen from outside ---------------------------------------------------------------------------------------

  onTick(now: number): void {
    const [oldest] = this.#requests.values()
    if (oldest !== undefined && now - oldest.since > this.spec.limits.wallMs) this.end('deadline')
    if (this.#host?.tenants.size === 1) this.#peak()
  }

  onCpu(ms: number): void {
    this.#cpuMs = Math.max(this.#cpuMs, ms)
    if (ms > this.spec.limits.cpuMs) this.end('cpu')
  }

  onExcess(what: 'cpu' | 'memory'): void {
    this.#peak()
    this.end(what)
  }

  #peak(): void {
    this.#peakBytes = Math.max(this.#peakBytes, this.#host?.grownBytes() ?? 0)
  }

  #onAbort = (): void => this.end('canceled')

  // --- from the host process -------------------------------------------------------------------------------------------

  frameLimit(type: number): number {
    const { outputBytes, hostCallBytes } = this.spec.limits
    switch (type) {
      case FROM_HOST.reply:
        // the host counts characters, so what it lets through may be three times as many bytes
        return this.session || this.#output === undefined ? 3 * outputBytes + REPORT_BYTES : -1
      case FROM_HOST.hostCall:
        return hostCallBytes
      case FROM_HOST.log:
        return 4 * LIMITS.logLineBytes
      case FROM_HOST.loaded:
        return this.session && !this.#loaded ? 0 : -1
      case FROM_HOST.ended:
      case FROM_HOST.lost:
        return REPORT_BYTES
      default:
        return -1
    }
  }

  onFrame(frame: Frame): void {
    switch (frame.type) {
      case FROM_HOST.reply:
        return this.#onReply(frame)
      case FROM_HOST.hostCall:
        return this.#onHostCall(frame)
      case FROM_HOST.log:
        return this.#onLog(frame)
      case FROM_HOST.loaded:
        this.#loaded = true
        clearTimeout(this.#timer)
        return this.#events.onLoaded?.()
      case FROM_HOST.ended:
        return this.#onEnded(frame)
      case FROM_HOST.lost:
        this.#accused = frame.flag === 1 ? 'abuse' : 'memory'
        this.#host?.kill()
    }
  }

  #onReply(frame: Frame): void {
    const request = this.#requests.get(frame.ref)
    if (this.session && request === undefined)
      throw new FrameError(`Cannot accept a reply: call ${frame.ref} is not open`)
    const reply = this.#reply(frame)
    if (request === undefined) {
      if (reply.ok) this.#output = reply.output
      else this.#reported = reply.error
      return
    }
    this.#requests.delete(frame.ref)
    this.#openChars -= request.chars
    this.#events.onReply?.(request.id, reply)
  }

  #reply(frame: Frame): Reply {
    if (frame.flag !== 1) {
      if (frame.body.length > REPORT_BYTES)
        throw new FrameError(`Cannot accept a failure: it has ${frame.body.length} bytes`)
      const found = verdict({ reported: parseFailure(frame.body.toString()) })
      return found.kind === 'failed' ? { ok: false, error: found.error } : { ok: false, error: LOST }
    }
    this.#outputBytes += frame.body.length
    if (frame.body.length <= this.spec.limits.outputBytes) return { ok: true, output: frame.body.toString() }
    const found = verdict({ cause: 'output' })
    return { ok: false, error: found.kind === 'failed' ? found.error : LOST }
  }

  #onLog(frame: Frame): void {
    const level = LEVELS[frame.flag]
    if (level === undefined) throw new FrameError(`Cannot accept a log line: no level ${frame.flag}`)
    if (this.#cause !== undefined) return
    if (this.#skipLines > 0) {
      this.#skipLines -= 1
      return
    }
    this.#logBytes += frame.body.length + LINE_END_BYTES
    this.#logLines += 1
    if (this.#logBytes > this.spec.limits.logBytes) this.end('log')
    else this.#hooks.onLog?.({ level, text: frame.body.toString() })
  }

  #onHostCall(frame: Frame): void {
    const { ref } = frame
    const name = this.spec.hostFunctions[frame.flag]
    if (name === undefined) throw new FrameError(`Cannot accept a host call: no function ${frame.flag}`)
    if (this.#openCalls.has(ref)) throw new FrameError(`Cannot accept a host call: ${ref} is open`)
    if (this.#cause !== undefined) return
    this.#hostCalls += 1
    if (this.#hostCalls > this.spec.limits.hostCalls || this.#openCalls.size >= OPEN_CALLS) return this.end('calls')
    if (!this.#countCallBytes(frame.body.length)) return
    this.#openCalls.add(ref)
    const answered = this.#serve(name, frame.body.toString())
    void answered.then(({ ok, json }) => {
      this.#openCalls.delete(ref)
      if (this.#done || this.#cause !== undefined) return
      if (this.#countCallBytes(Buffer.byteLength(json)))
        this.#host?.send(TO_HOST.hostReply, this.id, ref, ok ? 1 : 0, json)
    })
  }

  #countCallBytes(bytes: number): boolean {
    this.#hostCallBytes += bytes
    if (this.#hostCallBytes <= this.spec.limits.hostCallBytes) return true
    this.end('calls')
    return false
  }

  /** Only a MeshError's own words reach the guest: anything else may hold what it must not see. */
  async #serve(name: string, argsJson: string): Promise<{ ok: boolean; json: string }> {
    try {
      if (this.#hooks.onHostCall === undefined) throw new MeshError('E_HOST_CALL', `Nobody serves env.${name}()`)
      this.#calls ??= new AbortController()
      return { ok: true, json: await this.#hooks.onHostCall(name, argsJson, this.#calls.signal) }
    } catch (error) {
      const known = error instanceof MeshError ? error : new MeshError('E_HOST_CALL', `env.${name}() failed`)
      const { code, message, hint } = known
      return { ok: false, json: JSON.stringify({ code, message, hint }) }
    }
  }

  #onEnded(frame: Frame): void {
    const report = parseReport(frame.body.toString())
    this.#cpuMs = Math.max(this.#cpuMs, report.cpuMs)
    this.#reported ??= report.error
    const host = this.#host
    if (host?.tenants.size === 1) this.#peak()
    const complete =
      this.#cause === undefined && this.#reported === undefined && (this.session || this.#output !== undefined)
    this.#finish(complete ? undefined : verdict(this.#evidence()))
    host?.leave(this)
  }

  onHostDeath(death: HostDeath): void {
    const host = this.#host
    const tenants = [...(host?.tenants.values() ?? [])]
    const guilty = tenants.some((tenant) => tenant !== this && tenant.guilty)
    const evidence = { ...this.#evidence(), death, alone: tenants.length === 1 }
    const found = guilty ? neighbourVerdict(evidence) : verdict(evidence)
    if (found.kind === 'failed') {
      this.#finish(found)
      return
    }
    this.#host = undefined
    this.#output = undefined
    clearTimeout(this.#timer)
    this.#events.onAgain(found.solo)
  }

  get guilty(): boolean {
    return this.#cause !== undefined || this.#accused !== undefined
  }

  #evidence(): Evidence {
    return {
      cause: this.#cause,
      reported: this.#reported,
      accused: this.#accused,
      repeatable: !this.session && this.#hostCalls === 0,
      grownBytes: this.#peakBytes,
      memoryBytes: this.spec.limits.memoryBytes,
    }
  }

  #finish(found: Verdict | undefined): void {
    if (this.#done) return
    this.#done = true
    clearTimeout(this.#timer)
    this.#hooks.signal?.removeEventListener('abort', this.#onAbort)
    this.#calls?.abort()
    const error = found?.kind === 'failed' ? found.error : undefined
    this.#failure = error ?? LOST
    for (const { id } of this.#requests.values()) this.#events.onReply?.(id, { ok: false, error: this.#failure })
    this.#requests.clear()
    this.#events.onDone(error, this.#usage())
  }

  /** The result of a run that is done without error. */
  get output(): string {
    return this.#output ?? 'null'
  }

  #usage(): Usage {
    return {
      wallMs: performance.now() - this.#startedAt,
      cpuMs: this.#cpuMs,
      memoryBytes: this.#peakBytes,
      outputBytes: this.#outputBytes,
      logBytes: this.#logBytes,
      hostCalls: this.#hostCalls,
      calls: this.session ? this.#requestCount : 1,
    }
  }
}

const LOST: JobFailure = { code: 'E_EXECUTOR_LOST', message: 'The session has ended' }
const TOO_MANY: JobFailure = { code: 'E_OVERLOADED', message: 'Too many calls of this session are open' }
