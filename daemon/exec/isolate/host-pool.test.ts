import { afterEach, expect, test } from 'vitest'
import { codeOf, run } from '../../../test/attack/isolate-kit.ts'
import { HostPool } from './host-pool.ts'
import { createIsolateExecutor, type IsolateExecutor } from './isolate-executor.ts'

let executor: IsolateExecutor | undefined
afterEach(() => executor?.close())

test('programs one after the other stay in one process; those at once are spread', async () => {
  const started = await createIsolateExecutor({ hostsPerDomain: 2 })
  executor = started
  await started.warm()
  const processes = (): number[] => started.assignments().get('a') ?? []
  for (let round = 0; round < 5; round++) {
    expect(codeOf(await run(started, 'export default () => 1', { domain: 'a' }))).toBe('ok')
    // another process is ready all the time
    await started.warm()
  }
  expect(processes()).toHaveLength(1)
  const wait = 'export default () => new Promise((done) => setTimeout(done, 300))'
  const both = [1, 2].map(() => run(started, wait, { domain: 'a' }))
  expect(processes()).toHaveLength(2)
  expect((await Promise.all(both)).map(codeOf)).toEqual(['ok', 'ok'])
})

test('where no process can be started for want of descriptors, jobs are refused and nothing else happens', async () => {
  const settings = {
    maxHosts: 2,
    hostsPerDomain: 1,
    jobsPerHost: 1,
    jobsBeforeRecycling: 1,
    idleMs: 60_000,
    waitMs: 60_000,
  }
  let starts = 0
  const pool = new HostPool(settings, () => {
    starts += 1
    throw Object.assign(new Error('spawn EMFILE'), { code: 'EMFILE' })
  })
  const refused = await new Promise((_, refuse) =>
    pool.place({ domain: 'a', solo: false }, () => undefined, refuse),
  ).catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'E_EXECUTOR_LOST' })
  expect(starts).toBeGreaterThan(1)
  await pool.close()
})
