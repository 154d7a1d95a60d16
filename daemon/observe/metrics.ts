/**
 * What `/metrics` shows, in the Prometheus text format. States are pulled from their owners when someone asks, so that nothing can drift;
 * only what happens once (a request, a batch) is counted as it happens. Labels are from closed sets: no peer or task can grow a series.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { TaskState } from '../../protocol/api.ts'
import type { ErrorCode } from '../../protocol/errors.ts'
import type { EventLoopMonitor } from './event-loop.ts'

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
  /** Undefined until they are there. But for `artifacts` and `bytes`, since the start */
  artifacts():
    | {
        readonly artifacts: number
        readonly bytes: number
        readonly moves: Readonly<Record<'own' | 'adopted', number>>
        readonly git: Readonly<Record<'fetch' | 'push', number>>
        readonly fetchedRecords: number
        readonly replication: {
          /** As of now, like what is running */
          readonly active: number
          readonly heard: number
          readonly running: Readonly<Record<'fetch' | 'serve', number>>
          readonly fetches: Readonly<Record<'ok' | 'failed', number>>
          readonly serves: Readonly<Record<'ok' | 'failed', number>>
          readonly bytes: Readonly<Record<'in' | 'out', number>>
        }
      }
    | undefined
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
  addGauges(registry, sources, loop)
  addWork(registry, sources)
  addArtifacts(registry, sources)
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

function addWork(registry: Registry, sources: MetricSources): void {
  const work: Counter = new Counter({
    name: 'manyhands_work_total',
    help: 'Runs, batches and sessions that the hands of this node have finished, for it and for peers, by "ok" or error code',
    labelNames: ['outcome'],
    registers: [registry],
    collect: () => {
      work.reset()
      for (const [outcome, count] of sources.work()) work.inc({ outcome }, count)
    },
  })
}

function addArtifacts(registry: Registry, { artifacts }: MetricSources): void {
  const counter = (name: string, help: string, label: string, read: () => Readonly<Record<string, number>>): void => {
    const made: Counter = new Counter({
      name: `manyhands_${name}`,
      help,
      labelNames: [label],
      registers: [registry],
      collect: () => {
        made.reset()
        for (const [value, count] of Object.entries(read())) made.inc({ [label]: value }, count)
      },
    })
  }
  const held: Gauge = new Gauge({
    name: 'manyhands_artifacts',
    help: 'Artifacts on this node, and the bytes they take as counted for quotas',
    labelNames: ['what'],
    registers: [registry],
    collect: () => {
      const { artifacts: number, bytes } = artifacts() ?? { artifacts: 0, bytes: 0 }
      held.set({ what: 'number' }, number)
      held.set({ what: 'bytes' }, bytes)
    },
  })
  counter(
    'artifact_moves_total',
    'Refs moved by this node, and by records of other nodes that it took',
    'writer',
    () => artifacts()?.moves ?? { own: 0, adopted: 0 },
  )
  counter(
    'git_requests_total',
    'Requests of Git clients that this node has answered; a fetch takes one or two',
    'service',
    () => artifacts()?.git ?? { fetch: 0, push: 0 },
  )
  const single = (name: string, help: string, read: () => number): void => {
    const made: Counter = new Counter({
      name: `manyhands_${name}`,
      help,
      registers: [registry],
      collect: () => {
        made.reset()
        made.inc(read())
      },
    })
  }
  single(
    'artifact_fetched_records_total',
    'Signed records of artifacts that came from other nodes and were new here',
    () => artifacts()?.fetchedRecords ?? 0,
  )
  const replication = (): NonNullable<ReturnType<MetricSources['artifacts']>>['replication'] | undefined =>
    artifacts()?.replication
  const running: Gauge = new Gauge({
    name: 'manyhands_artifact_replication',
    help: 'Artifacts in which replication is under way or waits for a node, and fetches from and for other nodes that run',
    labelNames: ['what'],
    registers: [registry],
    collect: () => {
      const { active = 0, running: { fetch, serve } = { fetch: 0, serve: 0 } } = replication() ?? {}
      running.set({ what: 'artifacts' }, active)
      running.set({ what: 'fetches' }, fetch)
      running.set({ what: 'serves' }, serve)
    },
  })
  single(
    'artifact_holdings_heard_total',
    'Signed statements of other nodes on what they hold of an artifact',
    () => replication()?.heard ?? 0,
  )
  const none = { ok: 0, failed: 0 }
  counter(
    'artifact_fetches_total',
    'Fetches of artifacts from other nodes that have ended',
    'outcome',
    () => replication()?.fetches ?? none,
  )
  counter(
    'artifact_serves_total',
    'Fetches of artifacts by other nodes that have ended; one that was refused counts as failed',
    'outcome',
    () => replication()?.serves ?? none,
  )
  counter(
    'artifact_replication_bytes_total',
    'Bytes of artifacts that came from other nodes and went to them',
    'direction',
    () => replication()?.bytes ?? { in: 0, out: 0 },
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

function addGauges(registry: Registry, sources: MetricSources, loop: EventLoopMonitor): void {
  const gauge = (
    name: string,
    help: string,
    labelNames: string[],
    collect: (set: (labels: Record<string, string>, value: number) => void) => void,
  ): void => {
    const made: Gauge = new Gauge({
      name: `manyhands_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect: () => {
        made.reset()
        collect((labels, value) => made.set(labels, value))
      },
    })
  }
  gauge('tasks', 'Tasks this node knows, by state', ['state'], (set) => {
    const tasks = sources.tasks()
    for (const state of TASK_STATES) set({ state }, tasks[state] ?? 0)
  })
  gauge('leases', 'Leases in force', ['side'], (set) => {
    const leases = sources.leases()
    set({ side: 'held' }, leases.held)
    set({ side: 'given' }, leases.given)
  })
  gauge('executor_jobs', 'Slots of each executor, jobs in them, and jobs waiting', ['kind', 'what'], (set) => {
    for (const { kind, slots, busy, queued } of sources.executors()) {
      set({ kind, what: 'slots' }, slots)
      set({ kind, what: 'busy' }, busy)
      set({ kind, what: 'queued' }, queued)
    }
  })
  gauge('journal_sequence', 'Highest durable record', [], (set) => set({}, sources.journal().sequence))
  gauge('journal_healthy', '1 when the journal can be written', [], (set) => set({}, sources.journal().healthy ? 1 : 0))
  gauge('peers', 'Members of the mesh other than this node', ['state'], (set) => {
    const peers = sources.peers()
    set({ state: 'known' }, peers.known)
    set({ state: 'connected' }, peers.connected)
  })
  gauge('api_clients', 'Clients of the local API', ['kind'], (set) => {
    for (const [kind, value] of Object.entries(sources.clients())) set({ kind }, value)
  })
  gauge('sandboxes', 'Sandboxes on this node, for it and for peers, by state', ['state'], (set) => {
    for (const [state, value] of Object.entries(sources.sandboxes())) set({ state }, value)
  })
  gauge('egress', 'The door to the outside: open doors, ends of its process, its resident bytes', ['what'], (set) => {
    const egress = sources.egress()
    set({ what: 'running' }, egress?.running ? 1 : 0)
    set({ what: 'doors' }, egress?.doors ?? 0)
    set({ what: 'restarts' }, egress?.restarts ?? 0)
    set({ what: 'bytes' }, egress?.residentBytes ?? 0)
  })
  gauge('event_loop_delay_seconds', 'Delay of the event loop since the last scrape', ['quantile'], (set) => {
    const { p50, p99, max } = loop.read()
    set({ quantile: '0.5' }, p50 / 1000)
    set({ quantile: '0.99' }, p99 / 1000)
    set({ quantile: '1' }, max / 1000)
  })
  gauge('memory_bytes', 'Resident memory of the daemon', [], (set) => set({}, process.memoryUsage.rss()))
  gauge('uptime_seconds', 'Since the process started', [], (set) => set({}, process.uptime()))
}
