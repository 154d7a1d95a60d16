/**
 * What `/metrics` shows, in the Prometheus text format. States are pulled from their owners when someone asks, so that nothing can drift;
 * only what happens once (a request, a batch) is counted as it happens. Labels are from closed sets: no peer or task can grow a series.
 */
import { Histogram, Registry } from 'prom-client'
import type { TaskState } from '../../protocol/api.ts'
import type { ErrorCode } from '../../protocol/errors.ts'
import { addArtifacts, type ArtifactNumbers } from './artifact-metrics.ts'
import type { EventLoopMonitor } from './event-loop.ts'
import { PulledSeries } from './pulled-series.ts'

export interface MetricSources {
  tasks(): Partial<Readonly<Record<TaskState, number>>>
  /** Leases this node holds now, and those it has given to others */
  leases(): { readonly held: number; readonly given: number }
  executors(): readonly {
    readonly kind: string
    readonly slots: number
    readonly busy: number
    readonly queued: number
  }[]
  journal(): { readonly sequence: number; readonly healthy: boolean }
  peers(): { readonly known: number; readonly connected: number }
  /** Runs, batches and sessions that this node's hands have finished, by "ok" or error code */
  work(): ReadonlyMap<'ok' | ErrorCode, number>
  /** Sandboxes on this node, by state */
  sandboxes(): Readonly<Record<string, number>>
  /** The door; undefined until it is there */
  egress():
    | { readonly running: boolean; readonly restarts: number; readonly doors: number; readonly residentBytes: number }
    | undefined
  /** Undefined until they are there */
  artifacts(): ArtifactNumbers | undefined
  /** Event streams and duplexes of the local API */
  clients(): { readonly streams: number; readonly duplexes: number; readonly connections: number }
}

export interface Metrics {
  readonly contentType: string
  render(): Promise<string>
  /** @param route row of the route table, or "none" */
  request(route: string, status: number, seconds: number): void
  /** @param seconds of the synced write */
  journalBatch(records: number, seconds: number): void
  taskEnded(state: TaskState, seconds: number): void
}

export function createMetrics(sources: MetricSources, loop: EventLoopMonitor): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const series = new PulledSeries(registry)
  addGauges(series, sources, loop)
  addWork(series, sources)
  addArtifacts(series, () => sources.artifacts())
  const requests = new Histogram({
    name: 'manyhands_api_request_seconds',
    help: 'Requests of the local API, until their answer was written',
    labelNames: ['route', 'status'],
    buckets: [0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    registers,
  })
  const batches = new Histogram({
    name: 'manyhands_journal_batch_records',
    help: 'Records that shared one sync',
    buckets: [1, 4, 16, 64, 256, 1024],
    registers,
  })
  const syncs = new Histogram({
    name: 'manyhands_journal_sync_seconds',
    help: 'Time of a synced write',
    buckets: [0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2],
    registers,
  })
  const ended = new Histogram({
    name: 'manyhands_task_seconds',
    help: 'Tasks from acceptance to their end',
    labelNames: ['state'],
    buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600],
    registers,
  })
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    request: (route, status, seconds) => requests.observe({ route, status }, seconds),
    journalBatch(records, seconds) {
      batches.observe(records)
      syncs.observe(seconds)
    },
    taskEnded: (state, seconds) => ended.observe({ state }, seconds),
  }
}

function addWork(series: PulledSeries, { work }: MetricSources): void {
  series.counter(
    'work_total',
    'Runs, batches and sessions that the hands of this node have finished, for it and for peers, by "ok" or error code',
    ['outcome'],
    (set) => {
      for (const [outcome, count] of work()) set({ outcome }, count)
    },
  )
}

const TASK_STATES: readonly TaskState[] = [
  'submitted',
  'working',
  'input-required',
  'completed',
  'failed',
  'canceled',
  'rejected',
]

function addGauges(series: PulledSeries, sources: MetricSources, loop: EventLoopMonitor): void {
  series.gauge('tasks', 'Tasks this node knows, by state', ['state'], (set) => {
    const tasks = sources.tasks()
    for (const state of TASK_STATES) set({ state }, tasks[state] ?? 0)
  })
  series.gauge('leases', 'Leases in force', ['side'], (set) => {
    const leases = sources.leases()
    set({ side: 'held' }, leases.held)
    set({ side: 'given' }, leases.given)
  })
  series.gauge('executor_jobs', 'Slots of each executor, jobs in them, and jobs waiting', ['kind', 'what'], (set) => {
    for (const { kind, slots, busy, queued } of sources.executors()) {
      set({ kind, what: 'slots' }, slots)
      set({ kind, what: 'busy' }, busy)
      set({ kind, what: 'queued' }, queued)
    }
  })
  series.gauge('journal_sequence', 'Highest durable record', [], (set) => set({}, sources.journal().sequence))
  series.gauge('journal_healthy', '1 when the journal can be written', [], (set) =>
    set({}, sources.journal().healthy ? 1 : 0),
  )
  series.gauge('peers', 'Members of the mesh other than this node', ['state'], (set) => {
    const peers = sources.peers()
    set({ state: 'known' }, peers.known)
    set({ state: 'connected' }, peers.connected)
  })
  series.gauge('api_clients', 'Clients of the local API', ['kind'], (set) => {
    for (const [kind, value] of Object.entries(sources.clients())) set({ kind }, value)
  })
  series.gauge('sandboxes', 'Sandboxes on this node, for it and for peers, by state', ['state'], (set) => {
    for (const [state, value] of Object.entries(sources.sandboxes())) set({ state }, value)
  })
  series.gauge(
    'egress',
    'The door to the outside: open doors, ends of its process, its resident bytes',
    ['what'],
    (set) => {
      const egress = sources.egress()
      set({ what: 'running' }, egress?.running ? 1 : 0)
      set({ what: 'doors' }, egress?.doors ?? 0)
      set({ what: 'restarts' }, egress?.restarts ?? 0)
      set({ what: 'bytes' }, egress?.residentBytes ?? 0)
    },
  )
  series.gauge('event_loop_delay_seconds', 'Delay of the event loop since the last scrape', ['quantile'], (set) => {
    const { p50, p99, max } = loop.read()
    set({ quantile: '0.5' }, p50 / 1000)
    set({ quantile: '0.99' }, p99 / 1000)
    set({ quantile: '1' }, max / 1000)
  })
  series.gauge('memory_bytes', 'Resident memory of the daemon', [], (set) => set({}, process.memoryUsage.rss()))
  series.gauge('uptime_seconds', 'Since the process started', [], (set) => set({}, process.uptime()))
}
