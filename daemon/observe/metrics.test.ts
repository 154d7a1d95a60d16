import { expect, it } from 'vitest'
import { watchEventLoop } from './event-loop.ts'
import { createMetrics } from './metrics.ts'

it('shows states as they are when asked, and counts what happened', async () => {
  let working = 1
  const loop = watchEventLoop()
  try {
    const metrics = createMetrics(
      {
        tasks: () => ({ working }),
        leases: () => ({ held: 2, given: 3 }),
        executors: () => [{ kind: 'isolate', slots: 4, busy: 1, queued: 7 }],
        journal: () => ({ sequence: 42, healthy: true }),
        peers: () => ({ known: 5, connected: 4 }),
        work: () =>
          new Map([
            ['ok', 8],
            ['E_CPU', 1],
          ] as const),
        sandboxes: () => ({ running: 2, stopped: 1 }),
        egress: () => ({ running: true, restarts: 0, doors: 3, residentBytes: 7 }),
        artifacts: () => ({
          ...{ artifacts: 3, bytes: 4_096, fetchedRecords: 6 },
          moves: { own: 11, adopted: 12 },
          git: { fetch: 13, push: 14 },
          replication: {
            ...{ active: 15, heard: 16, running: { fetch: 17, serve: 18 } },
            ...{ fetches: { ok: 19, failed: 20 }, serves: { ok: 21, failed: 22 }, bytes: { in: 23, out: 24 } },
          },
        }),
        clients: () => ({ connections: 3, streams: 2, duplexes: 1 }),
      },
      loop,
    )
    metrics.request('GET /v0/status', 200, 0.002)
    metrics.journalBatch(16, 0.001)
    metrics.taskEnded('completed', 0.01)
    working = 9
    const text = await metrics.render()
    for (const line of [
      'manyhands_tasks{state="working"} 9',
      'manyhands_tasks{state="failed"} 0',
      'manyhands_leases{side="given"} 3',
      'manyhands_executor_jobs{kind="isolate",what="queued"} 7',
      'manyhands_work_total{outcome="ok"} 8',
      'manyhands_work_total{outcome="E_CPU"} 1',
      'manyhands_api_clients{kind="duplexes"} 1',
      'manyhands_artifacts{what="number"} 3',
      'manyhands_artifacts{what="bytes"} 4096',
      'manyhands_artifact_moves_total{writer="adopted"} 12',
      'manyhands_git_requests_total{service="push"} 14',
      'manyhands_artifact_fetched_records_total 6',
      'manyhands_artifact_replication{what="artifacts"} 15',
      'manyhands_artifact_replication{what="serves"} 18',
      'manyhands_artifact_holdings_heard_total 16',
      'manyhands_artifact_fetches_total{outcome="failed"} 20',
      'manyhands_artifact_serves_total{outcome="ok"} 21',
      'manyhands_artifact_replication_bytes_total{direction="out"} 24',
      'manyhands_journal_sequence 42',
      'manyhands_journal_batch_records_sum 16',
      'manyhands_api_request_seconds_count{route="GET /v0/status",status="200"} 1',
    ])
      expect(text).toContain(line)
    expect(await metrics.render()).toContain('manyhands_work_total{outcome="ok"} 8\n')
    expect(text).toMatch(/manyhands_event_loop_delay_seconds\{quantile="0\.99"\} \d/)
  } finally {
    loop.close()
  }
})

it('sees an event loop that is held up', async () => {
  const loop = watchEventLoop()
  try {
    await new Promise((resolve) => setTimeout(resolve, 250))
    loop.read()
    // The first sample after a read only sets the time to measure from
    await new Promise((resolve) => setTimeout(resolve, 250))
    const end = performance.now() + 400
    while (performance.now() < end);
    await new Promise((resolve) => setTimeout(resolve, 250))
    expect(loop.read().max).toBeGreaterThan(50)
  } finally {
    loop.close()
  }
})
