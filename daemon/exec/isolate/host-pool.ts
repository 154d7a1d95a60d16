import { MeshError } from '../../../protocol/errors.ts'
import type { HostProcess } from './host-process.ts'

export interface PoolSettings {
  /** Host processes at most, the spare one included */
  readonly maxHosts: number
  /** Host processes of one trust domain at most */
  readonly hostsPerDomain: number
  /** Jobs in one process at most */
  readonly jobsPerHost: number
  /** Jobs after which a process is replaced */
  readonly jobsBeforeRecycling: number
  /** How long a process waits for another job of its domain, milliseconds */
  readonly idleMs: number
  /** How long a job waits for a process that has room before it is refused, milliseconds */
  readonly waitMs: number
}

export interface Place {
  readonly domain: string
  /** Nobody else may be in the process */
  readonly solo: boolean
}

interface Waiting extends Place {
  readonly since: number
  readonly give: (host: HostProcess) => void
  readonly refuse: (error: MeshError) => void
}

/** Jobs that may wait for a process. */
const MOST_WAITING = 1024
/** Starts that may fail in a row before waiting jobs are told. */
const FAILURES_TOLD = 3
/** After a failed start: this long, doubled each time, milliseconds. */
const BACKOFF_MS = 100
const LONGEST_BACKOFF_MS = 10_000
/** Starts in a burst and then per second: programs that crash their process cannot make starting processes all that happens here. */
const START_BURST = 40
const STARTS_PER_SECOND = 5

/**
 * Which host process takes which job. Invariants:
 * H1  A process serves one trust domain in its life.
 * H2  There is one started process without a domain ahead of need, as long as the cap allows.
 * H3  At the cap, the process idle longest gives way; if none is idle, jobs wait in order, but not for ever.
 * H4  At the cap, the process without a domain is for one that has no room elsewhere, not for one that could do with a second.
 */
export class HostPool {
  readonly #settings: PoolSettings
  readonly #start: () => HostProcess
  readonly #hosts = new Set<HostProcess>()
  /** Told to end, not yet gone */
  readonly #leaving = new Set<HostProcess>()
  #waiting: Waiting[] = []
  #starting = 0
  #failures = 0
  readonly #restarts = new StartRate(START_BURST, STARTS_PER_SECOND)
  #backoff: NodeJS.Timeout | undefined
  #closed = false

  constructor(settings: PoolSettings, start: () => HostProcess) {
    this.#settings = settings
    this.#start = start
  }

  get hosts(): ReadonlySet<HostProcess> {
    return this.#hosts
  }

  /** Calls `give` with a process that has room, at once if there is one. */
  place(place: Place, give: (host: HostProcess) => void, refuse: (error: MeshError) => void): void {
    if (this.#closed) return refuse(new MeshError('E_STOPPING', 'The executor is shutting down'))
    const host = this.#find(place)
    if (host !== undefined) return give(host)
    if (this.#waiting.length >= MOST_WAITING)
      return refuse(new MeshError('E_OVERLOADED', 'Too many jobs wait for a process'))
    this.#waiting.push({ ...place, since: performance.now(), give, refuse })
    this.#grow()
  }

  /** Starts the spare process if there is none; resolves when it is up. */
  async warm(): Promise<void> {
    this.#grow()
    await Promise.all([...this.#hosts].map((host) => host.ready))
  }

  /** To be called when a process has no jobs any more. */
  onIdle(host: HostProcess): void {
    const spent = host.solo || host.served >= this.#settings.jobsBeforeRecycling
    if (spent || host.retiring) this.#drop(host)
    this.#serve()
  }

  /** To be called now and then. */
  tick(now: number): void {
    for (const host of this.#hosts) {
      const idle = host.domain !== undefined && host.tenants.size === 0
      if (idle && now - host.idleSince > this.#settings.idleMs) this.#drop(host)
    }
    const [oldest] = this.#waiting
    if (oldest === undefined || now - oldest.since <= this.#settings.waitMs) return
    const error = new MeshError('E_OVERLOADED', 'Every process for programs is taken by the work of others')
    this.#waiting.shift()?.refuse(error)
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#backoff)
    for (const waiting of this.#waiting.splice(0))
      waiting.refuse(new MeshError('E_STOPPING', 'The executor is shutting down'))
    await Promise.all(
      [...this.#hosts, ...this.#leaving].map((host) => {
        host.kill()
        return host.exited
      }),
    )
  }

  #find(place: Place): HostProcess | undefined {
    if (place.solo) return this.#assign(place)
    const { jobsPerHost, hostsPerDomain, maxHosts } = this.#settings
    const own = [...this.#hosts].filter((host) => host.domain === place.domain && usable(host))
    // Of idle ones the last that worked: what it needs is still in the caches of a core
    const [best] = own
      .filter((host) => host.tenants.size < jobsPerHost)
      .sort((a, b) => a.tenants.size - b.tenants.size || b.lastLoadAt - a.lastLoadAt)
    const isEnough = best !== undefined && (best.tenants.size === 0 || this.#hosts.size >= maxHosts)
    if (isEnough || own.length >= hostsPerDomain) return best
    return this.#assign(place) ?? best
  }

  /** Gives the spare process to a domain. */
  #assign(place: Place): HostProcess | undefined {
    const spare = [...this.#hosts].find((host) => host.domain === undefined && usable(host))
    if (spare === undefined) return undefined
    spare.domain = place.domain
    spare.solo = place.solo
    this.#grow()
    return spare
  }

  #serve(): void {
    const still: Waiting[] = []
    for (const waiting of this.#waiting.splice(0)) {
      const host = this.#find(waiting)
      if (host === undefined) still.push(waiting)
      else waiting.give(host)
    }
    this.#waiting.push(...still)
    if (still.length > 0) this.#grow()
  }

  /** Keeps one process without a domain started or starting. */
  #grow(): void {
    if (this.#closed || this.#starting > 0 || this.#backoff !== undefined) return
    if ([...this.#hosts].some((host) => host.domain === undefined)) return
    if (this.#hosts.size >= this.#settings.maxHosts && !this.#makeRoom()) return
    const wait = this.#restarts.take(performance.now())
    if (wait > 0) return this.#retry(wait)
    let host: HostProcess
    try {
      host = this.#start()
    } catch {
      // Without a descriptor, a process or memory to spare, starting one fails before there is one
      return this.#startFailed()
    }
    this.#hosts.add(host)
    this.#starting += 1
    void host.ready.then((up) => this.#started(host, up))
    void host.exited.then(() => this.#exited(host))
  }

  #started(host: HostProcess, up: boolean): void {
    this.#starting -= 1
    if (up) {
      this.#failures = 0
      this.#serve()
      return
    }
    this.#hosts.delete(host)
    this.#startFailed()
  }

  #startFailed(): void {
    this.#failures += 1
    if (this.#failures >= FAILURES_TOLD) {
      const error = new MeshError('E_EXECUTOR_LOST', 'No process to run jobs can be started here', {
        hint: 'Ask the operator to run doctor.',
      })
      for (const waiting of this.#waiting.splice(0)) waiting.refuse(error)
    }
    this.#retry(Math.min(LONGEST_BACKOFF_MS, BACKOFF_MS * 2 ** (this.#failures - 1)))
  }

  #retry(wait: number): void {
    this.#backoff ??= setTimeout(() => {
      this.#backoff = undefined
      this.#grow()
    }, wait)
  }

  #exited(host: HostProcess): void {
    this.#hosts.delete(host)
    this.#serve()
    this.#grow()
  }

  /** Only when somebody waits: an idle process of another domain is worth more than a spare one. */
  #makeRoom(): boolean {
    if (this.#waiting.length === 0) return false
    const idle = [...this.#hosts].filter((host) => host.domain !== undefined && host.tenants.size === 0)
    const [oldest] = idle.sort((a, b) => a.idleSince - b.idleSince)
    if (oldest === undefined) return false
    this.#drop(oldest)
    return true
  }

  #drop(host: HostProcess): void {
    host.retiring = true
    this.#hosts.delete(host)
    this.#leaving.add(host)
    host.kill()
    void host.exited.then(() => this.#leaving.delete(host))
  }
}

function usable(host: HostProcess): boolean {
  return host.alive && host.pid !== undefined && !host.retiring && !host.solo
}

/** A token bucket. */
class StartRate {
  readonly #burst: number
  readonly #perMs: number
  #tokens: number
  #at = 0

  constructor(burst: number, perSecond: number) {
    this.#burst = burst
    this.#perMs = perSecond / 1000
    this.#tokens = burst
  }

  /** Takes a token, or gives the milliseconds until there is one. */
  take(now: number): number {
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) * this.#perMs)
    this.#at = now
    if (this.#tokens < 1) return (1 - this.#tokens) / this.#perMs
    this.#tokens -= 1
    return 0
  }
}
