/** What the SDK promises its users, run against any daemon that speaks the local API. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect, ManyhandsError, type Mesh, verifyReceipt } from '../../sdk/src/index.ts'
import type { SdkTarget } from './sdk-target.ts'

const DOUBLE = 'export default (input) => input * 2'

export function sdkSuite(name: string, start: () => Promise<SdkTarget>): void {
  describe(`SDK on ${name}`, () => {
    let target: SdkTarget
    let mesh: Mesh
    let folder: string
    beforeAll(async () => {
      target = await start()
      mesh = await connect({ home: target.home })
      folder = await mkdtemp(join(tmpdir(), 'mh-program-'))
    })
    afterAll(async () => {
      await mesh?.close()
      await target?.stop()
      await rm(folder, { recursive: true, force: true })
    })

    const failure = async (promise: Promise<unknown>): Promise<ManyhandsError> => {
      const error = await promise.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error).toBeInstanceOf(ManyhandsError)
      return error as ManyhandsError
    }

    it('tells about the node', async () => {
      const [status, peers, doctor, members, config] = await Promise.all([
        mesh.status(),
        mesh.peers(),
        mesh.doctor(),
        mesh.members(),
        mesh.config(),
      ])
      expect(status.mesh.role).toBe('admin')
      expect(Array.isArray(peers)).toBe(true)
      expect(doctor.checks.length).toBeGreaterThan(0)
      expect(members.members.length).toBeGreaterThan(0)
      expect(Object.keys(config.origin).length).toBeGreaterThan(0)
      expect((await mesh.capabilities()).some((one) => one.label === 'isolate')).toBe(true)
      expect((await mesh.invite({ role: 'member' })).invite).not.toBe('')
    })

    it('runs a program and gives its output', async () => {
      expect(await mesh.run<number>(DOUBLE, { input: 21 })).toBe(42)
      expect(await mesh.run('export default () => undefined')).toBe(null)
      expect(await mesh.run(DOUBLE, { input: 3, parse: (value) => `${String(value)}!` })).toBe('6!')
    })

    it('gives the failure of a program with its place in the source', async () => {
      const source = 'export default () => {\n  throw new TypeError("no such thing")\n}'
      const error = await failure(mesh.run({ source, filename: 'bad.js' }))
      expect(error.code).toBe('E_GUEST')
      expect(error.message).toContain('no such thing')
      expect(error.failure).toMatchObject({ name: 'TypeError', file: 'bad.js', line: 2 })
      expect((await failure(mesh.run('export default ('))).code).toBe('E_SYNTAX')
    })

    it('gives logs as they come, and the task with its state', async () => {
      const lines: string[] = []
      const source = 'export default (n) => { for (let i = 0; i < n; i++) console.log("line", i); return n }'
      const task = await mesh.tasks.run(source, { input: 3, onLog: (line) => lines.push(line.text) })
      expect(task.state).toBe('completed')
      expect(lines).toEqual(['line 0', 'line 1', 'line 2'])
    })

    it('lets the program call functions of the caller', async () => {
      const source = 'export default async (n, env) => (await env.add(n, 1)) + (await env.add(n, 2))'
      const output = await mesh.run<number>(source, { input: 10, host: { add: (a: number, b: number) => a + b } })
      expect(output).toBe(23)
      const shy = 'export default async (n, env) => { try { await env.fail() } catch (error) { return error.message } }'
      const host = {
        fail: () => {
          throw new Error('secret detail')
        },
      }
      expect(await mesh.run<string>(shy, { host })).not.toContain('secret detail')
    })

    it('cancels the task when its signal aborts', async () => {
      const forever = 'export default () => new Promise(() => {})'
      const reason = new Error('enough')
      for (const host of [undefined, { noop: () => null }]) {
        const name = `forever-${host ? 'hosted' : 'plain'}`
        const stop = new AbortController()
        const run = mesh.run(forever, { signal: stop.signal, name, host })
        await until(async () => (await mesh.tasks.list({ limit: 500 })).tasks.some((task) => task.name === name))
        stop.abort(reason)
        await expect(run).rejects.toBe(reason)
        await until(async () =>
          (await mesh.tasks.list({ limit: 500 })).tasks.some((task) => task.name === name && task.state === 'canceled'),
        )
      }
      await expect(mesh.run(DOUBLE, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    })

    it('detaches, and waits, watches, explains and proves by the id', async () => {
      const started = await mesh.run(DOUBLE, { input: 4, detach: true, name: 'detached' })
      const ended = await mesh.tasks.wait(started.id)
      expect(ended).toMatchObject({ id: started.id, state: 'completed', output: 8, name: 'detached' })
      const types: string[] = []
      for await (const event of mesh.tasks.watch(started.id)) types.push(event.type)
      expect(types.at(-1)).toBe('end')
      expect(await mesh.tasks.get(started.id)).toMatchObject({ state: 'completed' })
      expect((await mesh.tasks.explain(started.id)).task).toBe(started.id)
      const receipts = await mesh.tasks.receipts(started.id)
      expect(receipts.map(verifyReceipt)).toMatchObject([{ valid: true, task: started.id, outcome: 'completed' }])
      expect((await failure(mesh.tasks.get('no-such-task'))).code).toBe('E_NOT_FOUND')
      expect((await failure(mesh.tasks.get('../status'))).code).toBe('E_NOT_FOUND')
    })

    it('calls a session thousands of times, overlapping, with state kept between calls', async () => {
      const source =
        'let calls = 0; export default (n) => { calls++; if (n === 13) throw new Error("unlucky"); return [n * 2, calls] }'
      const session = await mesh.session<number, [number, number]>(source)
      expect(await session.call(1)).toEqual([2, 1])
      const outputs = await Promise.all(Array.from({ length: 5000 }, (_, n) => session.call(n === 13 ? 14 : n)))
      expect(outputs[100]?.[0]).toBe(200)
      expect(new Set(outputs.map(([, calls]) => calls)).size).toBe(5000)
      expect((await failure(session.call(13))).message).toContain('unlucky')
      expect(await session.call(2)).toEqual([4, 5003])
      expect((await session.close()).state).toBe('completed')
      expect((await failure(session.call(1))).code).toBe('E_CONFLICT')
      const bad = await failure(mesh.session('export default ('))
      expect(bad).toMatchObject({ code: 'E_SYNTAX', failure: { code: 'E_SYNTAX' } })
    })

    it('answers open calls before a session closes, and fails them when it is canceled', async () => {
      const slow = 'export default (n) => new Promise((resolve) => setTimeout(() => resolve(n), n))'
      let late: Promise<number>
      {
        await using session = await mesh.session<number, number>(slow)
        late = session.call(20)
      }
      expect(await late).toBe(20)
      const stop = new AbortController()
      const canceled = await mesh.session<number, number>(slow, { signal: stop.signal })
      const open = canceled.call(20_000)
      stop.abort()
      expect((await failure(open)).code).toBe('E_CANCELED')
    })

    it('gives a session host functions', async () => {
      const source = 'export default async (n, env) => env.triple(n)'
      await using session = await mesh.session<number, number>(source, { host: { triple: (n: number) => n * 3 } })
      expect(await Promise.all([1, 2, 3].map((n) => session.call(n)))).toEqual([3, 6, 9])
    })

    it('maps a program over inputs with results in order', async () => {
      const inputs = Array.from({ length: 1300 }, (_, index) => index)
      const seen: number[] = []
      const run = mesh.map<number>(DOUBLE, inputs, { onProgress: ({ done }) => seen.push(done) })
      expect(await run.all()).toEqual(inputs.map((n) => n * 2))
      const [task] = await run.tasks()
      expect(task).toMatchObject({ kind: 'map', state: 'completed' })
      expect(run.progress.value).toMatchObject({ total: 1300, done: 1300, failed: 0 })
      expect(seen.at(-1)).toBe(1300)
    })

    it('gives results of a map while its inputs are still coming', async () => {
      const more = Promise.withResolvers<void>()
      const source = async function* () {
        yield 1
        yield 2
        await more.promise
        yield 3
      }
      const outputs: unknown[] = []
      for await (const item of mesh.map<number>(DOUBLE, source())) {
        outputs.push(item.ok ? item.output : item.error)
        // nothing more comes before these two have been worked on
        if (outputs.length === 2) more.resolve()
      }
      expect(outputs).toEqual([2, 4, 6])
    })

    it('gives failed inputs of a map as items, and the first of them from all()', async () => {
      const source = 'export default (n) => { if (n % 2) throw new Error("odd " + n); return n }'
      const items = await collect(mesh.map<number>(source, [0, 1, 2, 3]))
      expect(items.map((item) => (item.ok ? item.output : item.error.message))).toEqual([0, 'odd 1', 2, 'odd 3'])
      const error = await failure(mesh.map(source, [0, 2, 5]).all())
      expect(error).toMatchObject({ code: 'E_GUEST', details: { index: 2 } })
    })

    it('fails a map whose program does not load, and ends one that is aborted', async () => {
      expect((await failure(mesh.map('export default (', [1, 2]).all())).code).toBe('E_SYNTAX')
      const stop = new AbortController()
      const reason = new Error('enough')
      const map = mesh.map('export default () => new Promise(() => {})', [1, 2], { signal: stop.signal })
      const all = map.all()
      setTimeout(() => stop.abort(reason), 50)
      await expect(all).rejects.toBe(reason)
      expect(await collect(mesh.map(DOUBLE, []))).toEqual([])
    })

    it('bundles files that import others, and tells failures in terms of them', async () => {
      await writeFile(
        join(folder, 'lib.ts'),
        'export const half = (n: number): number => {\n  if (n < 0) throw new RangeError("below zero")\n  return n / 2\n}\n',
      )
      await writeFile(
        join(folder, 'main.ts'),
        'import { half } from "./lib.ts"\nexport default (n: number) => half(n)\n',
      )
      expect(await mesh.runFile<number>(join(folder, 'main.ts'), { input: 10 })).toBe(5)
      const error = await failure(mesh.runFile(join(folder, 'main.ts'), { input: -1 }))
      expect(error.failure).toMatchObject({ file: 'lib.ts', line: 2, name: 'RangeError' })
      expect(error.failure?.frame).toContain('below zero')
    })

    it('SDK-01 sends and refuses strange values without harm', async () => {
      const echo = 'export default (value) => value'
      const strange = { constructor: { prototype: {} }, a: 1e308, b: '\ud800', c: [], d: '\u0000\u2028', e: -0.5 }
      expect(await mesh.run(echo, { input: strange })).toEqual(strange)
      // Passed on or refused, but never obeyed
      const polluting = JSON.parse('{"__proto__":{"polluted":true}}') as unknown
      const outcome = await mesh
        .run(echo, { input: polluting })
        .then(JSON.stringify, (error: ManyhandsError) => error.code)
      expect([JSON.stringify(polluting), 'E_BAD_REQUEST']).toContain(outcome)
      expect(({} as Record<string, unknown>)['polluted']).toBe(undefined)
      expect(await mesh.run(echo, { input: [Number.NaN, Number.POSITIVE_INFINITY] })).toEqual([null, null])
      const cycle: Record<string, unknown> = {}
      cycle['self'] = cycle
      let deep: unknown = 0
      for (let depth = 0; depth < 1e6; depth++) deep = [deep]
      for (const input of [cycle, 10n, deep])
        expect((await failure(mesh.run(echo, { input }))).code).toBe('E_BAD_REQUEST')
      expect((await failure(mesh.map(echo, [1, cycle]).all())).code).toBe('E_BAD_REQUEST')
    })

    it('SDK-06 gives 50 parallel runs of one key one effect and the same answer', async () => {
      const key = `key-${Math.random()}`
      const source = 'export default () => Math.random()'
      const outputs = await Promise.all(Array.from({ length: 50 }, () => mesh.run(source, { key })))
      expect(new Set(outputs).size).toBe(1)
      expect((await failure(mesh.run(DOUBLE, { key }))).code).toBe('E_KEY_REUSED')
    })

    it('SDK-06 refuses a key that would be another one on another way, before it is sent', async () => {
      for (const key of ['', ' a', 'a\n', 'é', 'ключ']) {
        // A request, a frame, a request of its own, and one for each part
        const ways = [
          () => mesh.run(DOUBLE, { key }),
          () => mesh.run(DOUBLE, { key }),
          () => mesh.run(DOUBLE, { key, host: {} }),
          () => mesh.run(DOUBLE, { key, detach: true }),
          () => mesh.map(DOUBLE, [1], { key }).all(),
        ]
        for (const way of ways) expect((await failure(way())).code, JSON.stringify(key)).toBe('E_BAD_REQUEST')
      }
    })

    it('rejects everything after close, and closes twice', async () => {
      const other = await connect({ home: target.home })
      const events = other.events()[Symbol.asyncIterator]()
      const next = failure(events.next())
      await other.close()
      await other.close()
      expect((await next).code).toBe('E_CONFLICT')
      expect((await failure(other.status())).code).toBe('E_CONFLICT')
      expect((await failure(other.session(DOUBLE))).code).toBe('E_CONFLICT')
    })
  })
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error('What was waited for did not come')
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}
