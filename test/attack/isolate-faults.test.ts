import { readdirSync, readFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import {
  createIsolateExecutor,
  type IsolateExecutor,
  type IsolateExecutorOptions,
} from '../../daemon/exec/isolate/isolate-executor.ts'
import { codeOf, run, specOf, until } from './isolate-kit.ts'

const open: IsolateExecutor[] = []
const start = async (options: IsolateExecutorOptions = {}) => {
  const executor = await createIsolateExecutor(options)
  open.push(executor)
  await executor.warm()
  return executor
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((executor) => executor.close()))
})

const WAIT = `export default (ms) => new Promise((resolve) => setTimeout(() => resolve('waited'), 300))`

/** Processes below this one, by state letter. */
function descendants(state?: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        const [letter, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        return Number(parent) === process.pid && (state === undefined || letter === state) ? [Number(name)] : []
      } catch {
        return []
      }
    })
}

describe('isolate hosts that fail', () => {
  it('F03 killed in the middle of a job: that job is lost, the next one runs', async () => {
    const executor = await start()
    const started = Promise.withResolvers<void>()
    const job = run(
      executor,
      `export default async (_, env) => { await env.started(); await new Promise(() => {}) }`,
      { hostFunctions: ['started'] },
      {
        onHostCall: async () => {
          started.resolve()
          return 'null'
        },
      },
    )
    await started.promise
    const [pid = 0] = executor.assignments().get('tenant-a') ?? []
    process.kill(pid, 'SIGKILL')
    expect(codeOf(await job)).toBe('E_EXECUTOR_LOST')
    expect(codeOf(await run(executor, 'export default () => 1'))).toBe('ok')
    await until(() => executor.hostPids().length >= 2)
    expect(executor.hostPids()).not.toContain(pid)
  })

  it('F03 jobs of other processes are not touched, and neighbours without outside effects run again', async () => {
    const executor = await start({ hostsPerDomain: 1 })
    const other = run(executor, WAIT, { domain: 'tenant-b' })
    const lines: string[] = []
    const neighbours = [1, 2, 3].map((n) =>
      run(executor, `console.log('line ${n}'); ${WAIT}`, {}, { onLog: ({ text }) => lines.push(text) }),
    )
    await until(() => lines.length === 3)
    const [pid = 0] = executor.assignments().get('tenant-a') ?? []
    process.kill(pid, 'SIGKILL')
    expect((await Promise.all([other, ...neighbours])).map(codeOf)).toEqual(['ok', 'ok', 'ok', 'ok'])
    expect(lines.sort()).toEqual(['line 1', 'line 2', 'line 3'])
  })

  it('F03 a session ends and says so, and its open calls are answered', async () => {
    const executor = await start()
    const replies: string[] = []
    const session = await executor.open(specOf(WAIT), {
      onReply: (id, reply) => replies.push(`${id} ${reply.ok ? 'ok' : reply.error.code}`),
    })
    session.call(1, 'null')
    session.call(2, 'null')
    const [pid = 0] = executor.assignments().get('tenant-a') ?? []
    process.kill(pid, 'SIGKILL')
    expect((await session.ended).error?.code).toBe('E_EXECUTOR_LOST')
    expect(replies).toEqual(['1 E_EXECUTOR_LOST', '2 E_EXECUTOR_LOST'])
    session.call(3, 'null')
    expect(replies).toContain('3 E_EXECUTOR_LOST')
  })

  it('F06 a stopped process counts as hung and its jobs move on', async () => {
    const executor = await start({ hungMs: 400 })
    const job = run(executor, WAIT)
    await until(() => (executor.assignments().get('tenant-a') ?? []).length > 0)
    const [pid = 0] = executor.assignments().get('tenant-a') ?? []
    await new Promise((resolve) => setTimeout(resolve, 50))
    process.kill(pid, 'SIGSTOP')
    expect(codeOf(await job)).toBe('E_EXECUTOR_LOST')
    expect(executor.hostPids()).not.toContain(pid)
    expect(codeOf(await run(executor, 'export default () => 1'))).toBe('ok')
  })

  it('F03 at most so many starts in a row when programs keep killing their process', async () => {
    const executor = await start()
    for (let round = 0; round < 6; round++) {
      const job = run(executor, 'export default () => new Promise(() => {})')
      await until(() => (executor.assignments().get('tenant-a') ?? []).length > 0)
      for (const pid of executor.assignments().get('tenant-a') ?? []) process.kill(pid, 'SIGKILL')
      expect(codeOf(await job)).toBe('E_EXECUTOR_LOST')
    }
    expect(codeOf(await run(executor, 'export default () => 1'))).toBe('ok')
  })

  it('RES-04 many jobs and kills leave no process, no zombie, no descriptor', async () => {
    const before = descendants().length
    const files = readdirSync('/proc/self/fd').length
    const executor = await start()
    for (let round = 0; round < 8; round++) {
      await Promise.all(Array.from({ length: 25 }, () => run(executor, 'export default () => 1')))
      const outcome = await run(
        executor,
        'export default () => { for (;;) new Uint8Array(1e8).fill(1) && globalThis.kept?.push(new Uint8Array(1e8).fill(1)) || (globalThis.kept ??= []) }',
        {
          limits: { memoryBytes: 32 << 20, wallMs: 5000 },
        },
      )
      expect(codeOf(outcome)).toBe('E_MEMORY')
    }
    expect(descendants('Z')).toEqual([])
    await executor.close()
    expect(descendants().length).toBe(before)
    await until(() => readdirSync('/proc/self/fd').length <= files + 2)
  }, 120_000)

  it('closing ends open jobs with E_EXECUTOR_LOST and refuses new ones', async () => {
    const executor = await start()
    const job = run(executor, 'export default () => new Promise(() => {})')
    await new Promise((resolve) => setTimeout(resolve, 30))
    await executor.close()
    expect(codeOf(await job)).toBe('E_EXECUTOR_LOST')
    expect(codeOf(await run(executor, 'export default () => 1'))).toBe('E_STOPPING')
    expect(executor.hostPids()).toEqual([])
  })

  it('processes are replaced after their number of jobs', async () => {
    const executor = await start({ jobsBeforeRecycling: 3, hostsPerDomain: 1 })
    const pids = new Set<number>()
    for (let i = 0; i < 9; i++) {
      expect(codeOf(await run(executor, 'export default () => 1'))).toBe('ok')
      for (const pid of executor.assignments().get('tenant-a') ?? []) pids.add(pid)
    }
    expect(pids.size).toBeGreaterThanOrEqual(3)
  })

  it('at the cap of processes an idle domain gives way, a busy one does not', async () => {
    const executor = await start({ maxHosts: 2, hostsPerDomain: 1 })
    for (const domain of ['a', 'b', 'c', 'd'])
      expect(codeOf(await run(executor, 'export default () => 1', { domain }))).toBe('ok')
    expect(executor.hostPids().length).toBeLessThanOrEqual(2)
    const busy = ['e', 'f', 'g'].map((domain) => run(executor, WAIT, { domain }))
    expect((await Promise.all(busy)).map(codeOf)).toEqual(['ok', 'ok', 'ok'])
  })

  it('at the cap a domain with sessions leaves a process to another, and who finds none is told', async () => {
    const executor = await start({ maxHosts: 2, hostsPerDomain: 2, waitMs: 300 })
    const sessionOf = (domain: string) =>
      executor.open(specOf('export default () => 1', { domain }), { onReply: () => {} })
    const sessions = [await sessionOf('a'), await sessionOf('a')]
    await until(() => executor.hostPids().length === 2)
    sessions.push(await sessionOf('a'), await sessionOf('b'))
    expect(codeOf(await run(executor, 'export default () => 1', { domain: 'c' }))).toBe('E_OVERLOADED')
    for (const domain of ['a', 'b'])
      expect(codeOf(await run(executor, 'export default () => 1', { domain }))).toBe('ok')
    for (const session of sessions) session.close()
  })
})
