import type { PulledSeries } from './pulled-series.ts'

/** Since the start, but for `artifacts`, `bytes`, `active` and `running`, which are as of now. */
export interface ArtifactNumbers {
  readonly artifacts: number
  readonly bytes: number
  readonly moves: Readonly<Record<'own' | 'adopted', number>>
  readonly git: Readonly<Record<'fetch' | 'push', number>>
  readonly fetchedRecords: number
  readonly replication: {
    readonly active: number
    readonly heard: number
    readonly running: Readonly<Record<'fetch' | 'serve', number>>
    readonly fetches: Readonly<Record<'ok' | 'failed', number>>
    readonly serves: Readonly<Record<'ok' | 'failed', number>>
    readonly bytes: Readonly<Record<'in' | 'out', number>>
  }
}

const NONE: ArtifactNumbers = {
  ...{ artifacts: 0, bytes: 0, fetchedRecords: 0 },
  ...{ moves: { own: 0, adopted: 0 }, git: { fetch: 0, push: 0 } },
  replication: {
    ...{ active: 0, heard: 0, running: { fetch: 0, serve: 0 } },
    ...{ fetches: { ok: 0, failed: 0 }, serves: { ok: 0, failed: 0 }, bytes: { in: 0, out: 0 } },
  },
}

/** @param read undefined until artifacts are there, which counts as none */
export function addArtifacts(series: PulledSeries, read: () => ArtifactNumbers | undefined): void {
  const numbers = (): ArtifactNumbers => read() ?? NONE
  series.gauge(
    'artifacts',
    'Artifacts on this node, and the bytes they take as counted for quotas',
    ['what'],
    (set) => {
      const { artifacts, bytes } = numbers()
      set({ what: 'number' }, artifacts)
      set({ what: 'bytes' }, bytes)
    },
  )
  series.gauge(
    'artifact_replication',
    'Artifacts in which replication is under way or waits for a node, and fetches from and for other nodes that run',
    ['what'],
    (set) => {
      const { active, running } = numbers().replication
      set({ what: 'artifacts' }, active)
      set({ what: 'fetches' }, running.fetch)
      set({ what: 'serves' }, running.serve)
    },
  )
  const counter = (name: string, help: string, label: string, of: () => Readonly<Record<string, number>>): void =>
    series.counter(name, help, [label], (set) => {
      for (const [value, count] of Object.entries(of())) set({ [label]: value }, count)
    })
  counter(
    'artifact_moves_total',
    'Refs moved by this node, and by records of other nodes that it took',
    'writer',
    () => numbers().moves,
  )
  counter(
    'git_requests_total',
    'Requests of Git clients that this node has answered; a fetch takes one or two',
    'service',
    () => numbers().git,
  )
  series.counter(
    'artifact_fetched_records_total',
    'Signed records of artifacts that came from other nodes and were new here',
    [],
    (set) => set({}, numbers().fetchedRecords),
  )
  series.counter(
    'artifact_holdings_heard_total',
    'Signed statements of other nodes on what they hold of an artifact',
    [],
    (set) => set({}, numbers().replication.heard),
  )
  counter(
    'artifact_fetches_total',
    'Fetches of artifacts from other nodes that have ended',
    'outcome',
    () => numbers().replication.fetches,
  )
  counter(
    'artifact_serves_total',
    'Fetches of artifacts by other nodes that have ended; one that was refused counts as failed',
    'outcome',
    () => numbers().replication.serves,
  )
  counter(
    'artifact_replication_bytes_total',
    'Bytes of artifacts that came from other nodes and went to them',
    'direction',
    () => numbers().replication.bytes,
  )
}
