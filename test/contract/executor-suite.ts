/**
 * What every executor must do, whatever runs behind it. Called with a way to make one; a new implementation gets its suite by one call.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Executor,
  GRADES,
  type JobHooks,
  type JobOutcome,
  type JobSpec,
  type LogLine,
  type Program,
} from '../../daemon/exec/executor.ts'
import type { JobFailure } from '../../protocol/job.ts'

const MIB = 1 << 20

function spec(source: string | Program['modules'], more: Partial<JobSpec> = {}): JobSpec {
  const modules = typeof source === 'string' ? [{ name: 'main.js', type: 'js' as const, source }] : source
  return {
    program: { main: 'main.js', modules },
    limits: {
      wallMs: 20_000,
      cpuMs: 20_000,
      memoryBytes: 64 * MIB,
      outputBytes: MIB,
      logBytes: MIB,
      hostCalls: 5000,
      hostCallBytes: 8 * MIB,
    },
    domain: 'suite',
    hostFunctions: [],
    ...more,
  }
}

type Settled = { ok: true; output: string } | { ok: false; error: JobFailure }

/** A session whose calls are promises. */
async function openSession(executor: Executor, job: JobSpec, hooks: JobHooks = {}) {
  const waiting = new Map<number, (reply: Settled) => void>()
  let last = 0
  const session = await executor.open(job, {
    ...hooks,
    onReply: (id, reply) => {
      waiting.get(id)?.(reply)
      waiting.delete(id)
    },
  })
  const call = (input: unknown) =>
    new Promise<Settled>((resolve) => {
      last += 1
      waiting.set(last, resolve)
      session.call(last, JSON.stringify(input))
    })
  return { session, call }
}

export function executorSuite(name: string, create: () => Promise<Executor>): void {
  describe(`${name} keeps the executor contract`, () => {
    let executor: Executor
    const run = (job: JobSpec, input: unknown = null, hooks: JobHooks = {}): Promise<JobOutcome> =>
      executor.run(job, JSON.stringify(input), hooks)

    beforeAll(async () => {
      executor = await create()
      await executor.warm()
    })
    afterAll(() => executor.close())

    it('names its kind, grade and state', () => {
      expect(executor.kind).not.toBe('')
      expect(GRADES).toContain(executor.grade)
      expect(executor.state().slots).toBeGreaterThan(0)
      expect(executor.state().busy).toBe(0)
    })

    it('runs the default export with the input and gives JSON text back untouched', async () => {
      const outcome = await run(spec('export default async (x) => ({ got: x, text: "ä€😀\\u2028" })'), {
        a: [1, null, 'ü'],
      })
      expect(outcome.ok && JSON.parse(outcome.output)).toEqual({ got: { a: [1, null, 'ü'] }, text: 'ä€😀\u2028' })
    })

    it('takes a plain function as well as an async one, and undefined as null', async () => {
      expect(await run(spec('export default (x) => x + 1'), 1)).toMatchObject({ ok: true, output: '2' })
      expect(await run(spec('export default () => {}'))).toMatchObject({ ok: true, output: 'null' })
    })

    it('links modules of every type', async () => {
      const outcome = await run(
        spec([
          {
            name: 'main.js',
            type: 'js',
            source: `import { twice } from './lib/twice.js'; import data from './data.json'; import text from './lib/note.txt'; export default (x) => [twice(x), data, text]`,
          },
          { name: 'lib/twice.js', type: 'js', source: `import '../main.js'; export const twice = (x) => x * 2` },
          { name: 'data.json', type: 'json', source: '{"k":[1,2]}' },
          { name: 'lib/note.txt', type: 'text', source: 'a "note"\nof two lines' },
        ]),
        21,
      )
      expect(outcome.ok && JSON.parse(outcome.output)).toEqual([42, { k: [1, 2] }, 'a "note"\nof two lines'])
    })

    it('waits for top-level await, also over a timer', async () => {
      const source = `const k = await new Promise((resolve) => setTimeout(() => resolve(7), 20)); export default (x) => x + k`
      const outcome = await run(spec(source), 1)
      expect(outcome, JSON.stringify(outcome)).toMatchObject({ ok: true, output: '8' })
    })

    const failures: readonly [what: string, source: string, expected: Partial<JobFailure>][] = [
      ['a syntax error', 'export default () => {\n  let a = ;\n}', { code: 'E_SYNTAX', file: 'main.js', line: 2 }],
      ['a missing module', `import './gone.js'\nexport default () => 1`, { code: 'E_IMPORT', file: 'main.js' }],
      ['a missing export', `import { none } from './main.js'\nexport default () => 1`, { code: 'E_IMPORT' }],
      ['no default export', 'export const a = 1', { code: 'E_IMPORT' }],
      [
        'a thrown error',
        'export default () => {\n  throw new TypeError("no")\n}',
        { code: 'E_GUEST', name: 'TypeError', message: 'no', file: 'main.js', line: 2 },
      ],
      [
        'a rejected promise',
        'export default async () => {\n  await null\n  throw new RangeError("late")\n}',
        { code: 'E_GUEST', name: 'RangeError', line: 3 },
      ],
      ['an error while loading', 'null.x\nexport default () => 1', { code: 'E_GUEST', name: 'TypeError', line: 1 }],
      [
        'an error while loading, later',
        'await new Promise((r) => setTimeout(r, 10)); throw new TypeError("x")',
        { code: 'E_GUEST', name: 'TypeError' },
      ],
      ['something thrown that is no error', 'export default () => { throw 5 }', { code: 'E_GUEST' }],
      ['a result that is not JSON', 'export default () => 1n', { code: 'E_RESULT' }],
      ['a circular result', 'export default () => { const a = {}; a.a = a; return a }', { code: 'E_RESULT' }],
    ]
    for (const [what, source, expected] of failures) {
      it(`reports ${what}`, async () => {
        const outcome = await run(spec(source))
        expect(outcome).toMatchObject({ ok: false, error: expected })
        expect(JSON.stringify(outcome)).not.toMatch(/node_modules|isolated-vm|daemon\/|\/app/)
      })
    }

    it('delivers console lines in order with their level', async () => {
      const lines: LogLine[] = []
      await run(
        spec(`export default () => { console.log('a', 1); console.error('b'); console.debug({ c: [1] }) }`),
        null,
        { onLog: (line) => lines.push(line) },
      )
      expect(lines.map((line) => line.level)).toEqual(['log', 'error', 'debug'])
      expect(lines[0]?.text).toBe('a 1')
    })

    it('delivers what was logged before a limit', async () => {
      const lines: LogLine[] = []
      const job = spec(`export default () => { console.log('before'); for (;;) {} }`)
      const outcome = await run({ ...job, limits: { ...job.limits, wallMs: 200 } }, null, {
        onLog: (line) => lines.push(line),
      })
      expect(outcome).toMatchObject({ ok: false, error: { code: 'E_DEADLINE' } })
      expect(lines).toEqual([{ level: 'log', text: 'before' }])
    })

    it('serves host functions, concurrently, and counts them', async () => {
      const job = spec(
        'export default async (n, env) => Promise.all(Array.from({ length: n }, (_, i) => env.double(i)))',
        { hostFunctions: ['double'] },
      )
      const outcome = await run(job, 100, {
        onHostCall: async (_, args) => String(Number(args.slice(1, -1)) * 2),
      })
      expect(outcome.ok && JSON.parse(outcome.output)).toEqual(Array.from({ length: 100 }, (_, i) => i * 2))
      expect(outcome.usage.hostCalls).toBe(100)
    })

    it('offers only the host functions named', async () => {
      const job = spec('export default (_, env) => [Object.keys(env), typeof env.other]', { hostFunctions: ['one'] })
      expect(await run(job)).toMatchObject({ ok: true, output: '[["one"],"undefined"]' })
    })

    it('fails a host call that nobody serves', async () => {
      const job = spec('export default (_, env) => env.one()', { hostFunctions: ['one'] })
      expect(await run(job)).toMatchObject({ ok: false, error: { code: 'E_HOST_CALL' } })
    })

    it('cancels, at once, and tells host calls in progress', async () => {
      const abort = new AbortController()
      const inner = Promise.withResolvers<AbortSignal>()
      const job = spec('export default (_, env) => env.hang()', { hostFunctions: ['hang'] })
      const outcome = run(job, null, {
        signal: abort.signal,
        onHostCall: (_, __, signal) => {
          inner.resolve(signal)
          return new Promise(() => {})
        },
      })
      const signal = await inner.promise
      abort.abort()
      expect(await outcome).toMatchObject({ ok: false, error: { code: 'E_CANCELED' } })
      expect(signal.aborted).toBe(true)
      expect(await run(job, null, { signal: AbortSignal.abort() })).toMatchObject({
        ok: false,
        error: { code: 'E_CANCELED' },
      })
    })

    it('reports what was used', async () => {
      const { usage } = await run(spec('console.log("12345"); export default () => "abc"'))
      expect(usage).toMatchObject({ outputBytes: 5, logBytes: 6, hostCalls: 0, calls: 1 })
      expect(usage.wallMs).toBeGreaterThan(0)
      expect(usage.cpuMs).toBeGreaterThan(0)
    })

    it('keeps state in a session, answers calls out of order, and ends it', async () => {
      const { session, call } = await openSession(
        executor,
        spec(
          'let n = 0; export default async (ms) => { n += 1; const mine = n; await new Promise((r) => setTimeout(r, ms)); return mine }',
        ),
      )
      const order: string[] = []
      await Promise.all(
        [80, 1, 30].map((ms) => call(ms).then((reply) => order.push(reply.ok ? reply.output : reply.error.code))),
      )
      expect(order).toEqual(['2', '3', '1'])
      session.close()
      expect(await session.ended).toMatchObject({ error: undefined, usage: { calls: 3 } })
      expect(await call(1)).toMatchObject({ ok: false, error: { code: 'E_EXECUTOR_LOST' } })
    })

    it('answers thousands of overlapping calls of a session, each its own', async () => {
      const { session, call } = await openSession(
        executor,
        spec('export default async (x) => { if (x % 7 === 0) throw new Error("seven"); return x * 2 }'),
      )
      const replies = await Promise.all(Array.from({ length: 3000 }, (_, i) => call(i)))
      replies.forEach((reply, i) => {
        if (i % 7 === 0) expect(reply).toMatchObject({ ok: false, error: { code: 'E_GUEST', message: 'seven' } })
        else expect(reply).toEqual({ ok: true, output: String(i * 2) })
      })
      session.close()
      await session.ended
    })

    it('does not open a session whose program does not load', async () => {
      const open = (source: string) => executor.open(spec(source), { onReply: () => {} })
      await expect(open('export default (')).rejects.toMatchObject({ code: 'E_SYNTAX' })
      await expect(open('import "./x.js"; export default 1')).rejects.toMatchObject({ code: 'E_IMPORT' })
      await expect(open('throw new Error("no")')).rejects.toMatchObject({ code: 'E_GUEST' })
    })

    it('ends a session by a limit after answering its open calls', async () => {
      const job = spec('export default (x) => { if (x) for (;;) {} return 1 }')
      const { session, call } = await openSession(executor, { ...job, limits: { ...job.limits, wallMs: 300 } })
      expect(await call(0)).toEqual({ ok: true, output: '1' })
      expect(await call(1)).toMatchObject({ ok: false, error: { code: 'E_DEADLINE' } })
      expect((await session.ended).error?.code).toBe('E_DEADLINE')
    })

    it('limits the output of each call of a session and lives on', async () => {
      const job = spec('export default (n) => "x".repeat(n)')
      const { session, call } = await openSession(executor, { ...job, limits: { ...job.limits, outputBytes: 100 } })
      expect(await call(500)).toMatchObject({ ok: false, error: { code: 'E_OUTPUT' } })
      expect(await call(5)).toEqual({ ok: true, output: '"xxxxx"' })
      session.close()
      await session.ended
    })

    it('is idle again after all of this', async () => {
      expect(executor.state().busy).toBe(0)
    })
  })
}
