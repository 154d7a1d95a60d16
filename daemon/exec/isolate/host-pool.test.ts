import { afterEach, expect, test } from 'vitest'
import { codeOf, run } from '../../../test/attack/isolate-kit.ts'
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
