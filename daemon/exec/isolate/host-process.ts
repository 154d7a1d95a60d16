import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { Socket } from 'node:net'
import { sealedStdio } from '../../processes/sealed-stdio.ts'
import { type Frame, FrameError, FrameReader, FrameWriter, FROM_HOST, TO_HOST } from './frame.ts'
import type { JailCommand } from './jail.ts'
import { innermostProcess, ProcessSampler, type ProcessUse } from './process-sample.ts'
import type { HostDeath } from './verdict.ts'

/** One job as its host process sees it: told everything that comes for it and asked what may come. */
export interface HostTenant {
  readonly id: number
  readonly memoryBytes: number
  readonly cpuMs: number
  /** It is known to be what brings the process down */
  readonly guilty: boolean
  /** Most body bytes of a frame of `type` now; -1 = not allowed */
  frameLimit(type: number): number
  /** @throws FrameError when the frame breaks a rule */
  onFrame(frame: Frame): void
  /** The process's own count of this job's CPU time: a hint. */
  onCpu(ms: number): void
  /** This job alone made the process exceed what it was granted. */
  onExcess(what: 'cpu' | 'memory'): void
  onTick(now: number): void
  onHostDeath(death: HostDeath): void
}

export interface HostTimings {
  /** Longest silence after a ping before the process counts as hung, milliseconds */
  readonly hungMs: number
  /** Longest time from start to hello, milliseconds */
  readonly startMs: number
}

/** Growth that is not the guest's: new isolates, compiled code, garbage not yet collected. */
const MEMORY_SLACK_BYTES = 64 << 20
/** CPU time that is not the guest's: making isolates, handling frames; and the grain of the kernel's count. */
const CPU_SLACK_MS = 30
const CPU_SLACK_PER_JOB_MS = 5
/** A process that used this share of a core while it was silent was computing. */
const BUSY_SHARE = 0.02
const PONG_BYTES = 64 << 10
const STDERR_BYTES = 4096
/** A wrapper follows its child; this long after it is ended itself, milliseconds. */
const WRAPPER_GRACE_MS = 500
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * A running isolate host as the daemon sees it. It belongs to one trust domain from its first job until its end.
 * Whatever it says is untrusted: a frame that breaks a rule ends it.
 */
export class HostProcess {
  readonly ready: Promise<boolean>
  readonly exited: Promise<void>
  domain: string | undefined
  /** Kept for one job */
  solo = false
  /** Takes no more jobs */
  retiring = false
  /** Jobs it has had */
  served = 0
  lastLoadAt = 0
  idleSince: number
  readonly tenants = new Map<number, HostTenant>()
  residentBytes = 0

  readonly #child: ChildProcess
  readonly #out: FrameWriter
  readonly #timings: HostTimings
  readonly #onIdle: (host: HostProcess) => void
  #helloed = false
  #settleReady: (ok: boolean) => void = () => {}
  #startTimer: NodeJS.Timeout
  #sampler: ProcessSampler | undefined
  #stderr = ''
  #dead = false
  #how: HostDeath['how'] = 'exit'
  #ping = 0
  #pongs = 0
  #pingAt = 0
  #pingCpuMs = 0
  /** When the process last had no jobs */
  #base: ProcessUse = { residentBytes: 0, cpuMs: 0 }
  #grantedCpuMs = 0

  constructor(command: JailCommand, timings: HostTimings, onIdle: (host: HostProcess) => void) {
    this.#timings = timings
    this.#onIdle = onIdle
    this.idleSince = performance.now()
    this.ready = new Promise((resolve) => {
      this.#settleReady = resolve
    })
    this.#child = spawn(command.file, [...command.args], {
      stdio: sealedStdio([
        'ignore',
        'ignore',
        'pipe',
        'pipe',
        ...(command.filter === undefined ? [] : (['pipe'] as const)),
      ]),
      env: { PATH },
      cwd: '/',
      // A group of its own: Ctrl-C in the daemon's terminal lets work end, and what a wrapper begins ends with it
      detached: true,
    })
    this.exited = new Promise((resolve) => {
      const ended = (code: number | null, signal: string | null) => {
        this.#ended(code, signal)
        resolve()
      }
      this.#child.once('exit', ended)
      this.#child.once('error', () => ended(null, null))
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_BYTES)
    })
    const streams = streamsOf(this.#child)
    const filter = streams[4]
    if (filter instanceof Socket) filter.on('error', () => {}).end(command.filter ?? '')
    this.#out = new FrameWriter(this.#connect(streams[3]))
    this.#startTimer = setTimeout(() => this.kill('hung'), timings.startMs)
  }

  get alive(): boolean {
    return !this.#dead
  }

  /** The process that runs guests, or undefined before hello. */
  get pid(): number | undefined {
    return this.#sampler?.pid
  }

  load(tenant: HostTenant, session: boolean, body: Buffer): void {
    if (this.tenants.size === 0) this.#rebase()
    this.#grantedCpuMs += tenant.cpuMs + CPU_SLACK_PER_JOB_MS
    this.tenants.set(tenant.id, tenant)
    this.served += 1
    this.lastLoadAt = performance.now()
    this.send(TO_HOST.load, tenant.id, 0, session ? 1 : 0, body)
  }

  send(type: number, job: number, ref?: number, flag?: number, body?: string | Uint8Array): void {
    if (!this.#dead) this.#out.send(type, job, ref, flag, body)
  }

  /** The tenant has got its last frame. */
  leave(tenant: HostTenant): void {
    if (!this.tenants.delete(tenant.id) || this.tenants.size > 0) return
    this.idleSince = performance.now()
    if (!this.#dead) this.#onIdle(this)
  }

  /** Growth since it last had no jobs: what its jobs hold together. */
  grownBytes(): number {
    const use = this.#sampler?.sample()
    if (use !== undefined) this.residentBytes = use.residentBytes
    return Math.max(0, this.residentBytes - this.#base.residentBytes)
  }

  kill(how: HostDeath['how'] = 'exit'): void {
    if (this.#dead) return
    if (this.#how === 'exit') this.#how = how
    clearTimeout(this.#startTimer)
    const inner = this.pid
    if (inner === undefined || inner === this.#child.pid) return this.#killGroup()
    // the wrapper then reaps it and follows; ended first, it would leave an orphan for somebody else to reap
    try {
      process.kill(inner, 'SIGKILL')
    } catch {}
    const timer = setTimeout(() => this.#killGroup(), WRAPPER_GRACE_MS)
    this.#child.once('exit', () => clearTimeout(timer))
  }

  /** A wrapper that is killed alone while it starts leaves behind a child that waits for it for ever. */
  #killGroup(): void {
    const { pid } = this.#child
    if (pid === undefined) return
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // it is gone
    }
  }

  /** Looks at the process: to be called every few milliseconds while it has jobs. */
  tick(now: number): void {
    if (this.#dead || this.tenants.size === 0) return
    for (const tenant of [...this.tenants.values()]) tenant.onTick(now)
    this.#heartbeat(now)
    const use = this.#sampler?.sample()
    if (use === undefined || this.tenants.size === 0) return
    this.residentBytes = use.residentBytes
    let memory = MEMORY_SLACK_BYTES
    for (const tenant of this.tenants.values()) memory += tenant.memoryBytes
    if (use.residentBytes - this.#base.residentBytes > memory) this.#excess('memory')
    else if (use.cpuMs - this.#base.cpuMs > this.#grantedCpuMs + CPU_SLACK_MS) this.#excess('cpu')
  }

  #excess(what: 'cpu' | 'memory'): void {
    const [first, second] = this.tenants.values()
    if (first !== undefined && second === undefined) first.onExcess(what)
    else this.kill()
  }

  #heartbeat(now: number): void {
    if (this.#pongs < this.#ping) {
      if (now - this.#pingAt > this.#timings.hungMs) this.#overdue(now)
      return
    }
    this.#ping += 1
    this.#pingAt = now
    this.#pingCpuMs = this.#sampler?.sample()?.cpuMs ?? 0
    this.send(TO_HOST.ping, 0, this.#ping)
  }

  /** Silent, but computing: a guest holds its thread, and the limits of its job decide when that ends. Silent and idle: stopped, or stuck. */
  #overdue(now: number): void {
    const cpuMs = this.#sampler?.sample()?.cpuMs ?? 0
    if (cpuMs - this.#pingCpuMs < this.#timings.hungMs * BUSY_SHARE) return this.kill('hung')
    this.#pingAt = now
    this.#pingCpuMs = cpuMs
  }

  #rebase(): void {
    const use = this.#sampler?.sample()
    if (use !== undefined) this.#base = use
    this.#grantedCpuMs = 0
  }

  #connect(stream: unknown): (chunk: Buffer) => void {
    if (!(stream instanceof Socket)) return () => {}
    const reader = new FrameReader(
      (type, job) => this.#limit(type, job),
      (frame) => this.#receive(frame),
    )
    stream.on('error', () => {})
    stream.on('close', () => this.kill())
    stream.on('data', (chunk: Buffer) => {
      if (this.#dead) return
      try {
        reader.push(chunk)
      } catch (error) {
        stream.destroy()
        if (!(error instanceof FrameError)) this.#stderr = String(error)
        this.kill('violation')
      }
    })
    return (chunk) => stream.write(chunk)
  }

  #limit(type: number, job: number): number {
    if (job !== 0) return this.tenants.get(job)?.frameLimit(type) ?? -1
    if (type === FROM_HOST.hello) return this.#helloed ? -1 : 0
    return type === FROM_HOST.pong && this.#pongs < this.#ping ? PONG_BYTES : -1
  }

  #receive(frame: Frame): void {
    if (frame.job !== 0) this.tenants.get(frame.job)?.onFrame(frame)
    else if (frame.type === FROM_HOST.hello) this.#hello()
    else this.#pong(frame)
  }

  #hello(): void {
    this.#helloed = true
    clearTimeout(this.#startTimer)
    try {
      this.#sampler = new ProcessSampler(innermostProcess(this.#child.pid ?? 0))
    } catch {
      // it is gone already, or /proc is hidden: without a look at it there are no limits
      this.kill()
      return
    }
    this.#rebase()
    this.#settleReady(true)
  }

  #pong(frame: Frame): void {
    if (frame.ref !== this.#ping) throw new FrameError(`Cannot accept a pong: ${frame.ref} was not asked for`)
    this.#pongs = this.#ping
    const cpu: unknown = JSON.parse(frame.body.toString())
    if (typeof cpu !== 'object' || cpu === null) throw new FrameError('Cannot accept a pong: no object')
    for (const [job, ms] of Object.entries(cpu)) {
      if (typeof ms === 'number' && Number.isFinite(ms)) this.tenants.get(Number(job))?.onCpu(ms)
    }
  }

  #ended(code: number | null, signal: string | null): void {
    this.#dead = true
    clearTimeout(this.#startTimer)
    this.#sampler?.close()
    // What a wrapper may have left behind ends when it hears nobody, and must not keep this process alive until then
    for (const stream of streamsOf(this.#child)) stream?.destroy()
    this.#settleReady(false)
    const death: HostDeath = { how: this.#how, signal: signal ?? signalOf(code), stderr: this.#stderr }
    for (const tenant of [...this.tenants.values()]) tenant.onHostDeath(death)
  }
}

/** Where no file can be opened any more there are none, whatever the types say, and the error is told later. */
function streamsOf({ stdio }: { readonly stdio?: ChildProcess['stdio'] }): readonly ChildProcess['stdio'][number][] {
  return stdio ?? []
}

/** A wrapper reports that its child died of signal n by exiting with 128 + n. */
function signalOf(code: number | null): string | undefined {
  if (code === null || code <= 128) return undefined
  return Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0]
}
