import { availableParallelism } from 'node:os'
import { MeshError } from '../../../protocol/errors.ts'
import type { JobFailure, Usage } from '../../../protocol/job.ts'
import type {
  Executor,
  ExecutorSession,
  ExecutorState,
  Grade,
  JobHooks,
  JobOutcome,
  JobSpec,
  SessionHooks,
} from '../executor.ts'
import { hostEntry } from './host-entry.ts'
import { HostPool, type PoolSettings } from './host-pool.ts'
import { HostProcess, type HostTimings } from './host-process.ts'
import { HOST_FLAGS, HOST_LIMITS } from './host-settings.ts'
import { type JailCommand, jailCommand } from './jail.ts'
import { type JailReport, probeJail } from './jail-probe.ts'
import { type JobEvents, SupervisedJob } from './supervised-job.ts'
import { WatchClock } from './watch-clock.ts'

export interface IsolateExecutorOptions extends Partial<PoolSettings>, Partial<HostTimings> {
  /** Default: the strongest jail this machine allows */
  readonly jail?: JailReport
  /** Jobs that run at once; more wait. Default: 8 for each core */
  readonly slots?: number
  /** Isolates each process keeps ready. Default 4 */
  readonly warmIsolates?: number
  /** Memory limit for which isolates are kept ready, bytes. Default 128 MiB */
  readonly warmMemoryBytes?: number
}

/** How often limits are looked at while jobs run, milliseconds. */
const TICK_MS = 20
const DEFAULT_MEMORY_BYTES = 128 << 20

/**
 * Runs programs in jailed processes full of V8 isolates.
 * @throws MeshError E_INTERNAL when not even the files of the host can be found
 */
export async function createIsolateExecutor(options: IsolateExecutorOptions = {}): Promise<IsolateExecutor> {
  const jail = options.jail ?? (await probeJail())
  return new IsolateExecutor(jail, options)
}

export class IsolateExecutor implements Executor {
  readonly kind = 'isolate'
  readonly grade: Grade
  readonly jail: JailReport
  readonly #slots: number
  readonly #pool: HostPool
  readonly #jobs = new Set<SupervisedJob>()
  readonly #clock = new WatchClock()
  #ticker: NodeJS.Timeout | undefined

  constructor(jail: JailReport, options: IsolateExecutorOptions) {
    const cores = availableParallelism()
    this.jail = jail
    this.grade = jail.grade
    this.#slots = options.slots ?? 8 * cores
    const settings: PoolSettings = {
      maxHosts: options.maxHosts ?? Math.max(4, 2 * cores + 2),
      hostsPerDomain: options.hostsPerDomain ?? cores,
      jobsPerHost: options.jobsPerHost ?? 24,
      jobsBeforeRecycling: options.jobsBeforeRecycling ?? 2000,
      idleMs: options.idleMs ?? 60_000,
      waitMs: options.waitMs ?? 30_000,
    }
    const timings: HostTimings = { hungMs: options.hungMs ?? 3000, startMs: options.startMs ?? 15_000 }
    const command = hostCommand(jail, options.warmIsolates ?? 4, options.warmMemoryBytes ?? DEFAULT_MEMORY_BYTES)
    this.#pool = new HostPool(settings, () => new HostProcess(command, timings, (host) => this.#pool.onIdle(host)))
  }

  state(): ExecutorState {
    return { slots: this.#slots, busy: this.#jobs.size }
  }

  /** Ids of the host processes now running, for tests and diagnosis. */
  hostPids(): number[] {
    return [...this.#pool.hosts].flatMap(({ pid, alive }) => (alive && pid !== undefined ? [pid] : []))
  }

  /** The same by trust domain. */
  assignments(): Map<string, number[]> {
    const byDomain = new Map<string, number[]>()
    for (const { domain, pid, alive } of this.#pool.hosts) {
      if (alive && domain !== undefined && pid !== undefined)
        byDomain.set(domain, [...(byDomain.get(domain) ?? []), pid])
    }
    return byDomain
  }

  run(job: JobSpec, inputJson: string, hooks: JobHooks = {}): Promise<JobOutcome> {
    return new Promise((resolve) => {
      const running: SupervisedJob = this.#begin(job, inputJson, hooks, {
        onDone: (error, usage) =>
          resolve(error === undefined ? { ok: true, output: running.output, usage } : { ok: false, error, usage }),
      })
    })
  }

  open(job: JobSpec, hooks: SessionHooks): Promise<ExecutorSession> {
    return new Promise((resolve, reject) => {
      const ended = Promise.withResolvers<{ error: JobFailure | undefined; usage: Usage }>()
      const session: SupervisedJob = this.#begin(job, undefined, hooks, {
        onLoaded: () =>
          resolve({
            call: (id, inputJson) => session.request(id, inputJson),
            ended: ended.promise,
            close: () => session.end(undefined),
          }),
        onReply: (id, reply) => hooks.onReply(id, reply),
        onDone: (error, usage) => {
          ended.resolve({ error, usage })
          reject(loadError(error))
        },
      })
    })
  }

  async warm(): Promise<void> {
    await this.#pool.warm()
  }

  async close(): Promise<void> {
    clearInterval(this.#ticker)
    for (const job of [...this.#jobs]) job.end('closing')
    await this.#pool.close()
  }

  #begin(
    spec: JobSpec,
    input: string | undefined,
    hooks: JobHooks,
    events: Omit<JobEvents, 'onAgain' | 'now'>,
  ): SupervisedJob {
    const job: SupervisedJob = new SupervisedJob(spec, input, hooks, {
      ...events,
      onAgain: (solo) => this.#place(job, solo),
      onDone: (error, usage) => {
        this.#jobs.delete(job)
        this.#quiet()
        events.onDone(error, usage)
      },
      now: () => this.#clock.now(),
    })
    this.#jobs.add(job)
    if (hooks.signal?.aborted === true) queueMicrotask(() => job.end('canceled'))
    else this.#place(job, false)
    this.#watch()
    return job
  }

  #place(job: SupervisedJob, solo: boolean): void {
    this.#pool.place(
      { domain: job.spec.domain, solo },
      (host) => {
        if (!job.done) job.start(host)
      },
      (error) => queueMicrotask(() => job.refuse(error)),
    )
  }

  #watch(): void {
    this.#ticker ??= setInterval(() => {
      const watched = this.#clock.look()
      for (const host of this.#pool.hosts) host.tick(watched)
      this.#pool.tick(performance.now())
    }, TICK_MS)
    this.#ticker.ref()
  }

  /** The ticker stays for recycling, but keeps nobody awake. */
  #quiet(): void {
    if (this.#jobs.size === 0) this.#ticker?.unref()
  }
}

function hostCommand(jail: JailReport, warmIsolates: number, memoryBytes: number): JailCommand {
  const program = {
    node: process.execPath,
    entry: hostEntry(),
    flags: HOST_FLAGS,
    args: [String(warmIsolates), String(memoryBytes)],
  }
  return jailCommand(jail.tools, program, HOST_LIMITS)
}

function loadError(failure: JobFailure | undefined): MeshError {
  if (failure === undefined) return new MeshError('E_CANCELED', 'The session was closed before its program was loaded')
  const { code, message, hint } = failure
  return new MeshError(code, message, { details: { failure }, ...(hint === undefined ? {} : { hint }) })
}
